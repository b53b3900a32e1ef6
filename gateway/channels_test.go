package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/signed"
)

// prepareReal makes an instance whose channels are real.
func prepareReal(t *testing.T, change ...func(*Config)) *instance {
	in := prepare(t, change...)
	in.Server.exchanger = channel.NewPool(channel.PoolConfig{Gatekeeper: gatekeeper{in.Server}, Logger: in.log, HandshakeTimeout: 20 * time.Second})
	return in
}

// connect dials the channel listener as a connection point does.
func (in *instance) connect(ctx context.Context, cert tls.Certificate, change ...func(*channel.Hello)) (*channel.Session, channel.Welcome, error) {
	roots := x509.NewCertPool()
	roots.AddCert(in.serverCA.cert)
	raw, err := net.Dial("tcp", in.channels.Addr().String())
	if err != nil {
		return nil, channel.Welcome{}, err
	}
	c := tls.Client(channel.Batched(raw), &tls.Config{RootCAs: roots, ServerName: testName, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, channel.Welcome{}, err
	}
	h := channel.Hello{Site: testSite, Gateway: testGateway, ConnectionPoint: "cp-1", ConnectionID: "secret-1", Slot: 3, Instance: testInstance,
		Set: "set-1", Count: 1, Software: "test"}
	for _, f := range change {
		f(&h)
	}
	s, w, err := channel.Connect(ctx, c, h, channel.SessionConfig{Logger: in.log, HandshakeTimeout: longWait})
	if err != nil {
		c.Close()
	}
	return s, w, err
}

// serveOn serves a session until the test ends.
func (in *instance) serveOn(s *channel.Session, h channel.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(in.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(ctx, h) })
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	in.t.Cleanup(stop)
	return stop
}

// An echo answers with what it got: the device's id as the evidence says, and the body.
type echo struct{ trust identity.Trust }

func (e echo) Handle(r *channel.Inbound) {
	var req http1.Request
	if err := req.Parse(r.Head(), http1.Limits{}); err != nil {
		r.Refuse(causeway.CodeConnectorBadRequest, channel.Final)
		return
	}
	v, err := identity.NewVerifier(e.trust)
	if err != nil {
		r.Refuse(causeway.CodeConnectorInternalError, channel.Final)
		return
	}
	chain, err := identity.DecodeEvidence(r.Principal().Evidence)
	if err != nil {
		r.Refuse(causeway.CodeConnectorForbidden, channel.Final)
		return
	}
	d, err := v.Verify(chain, time.Now())
	if err != nil {
		r.Refuse(causeway.CodeConnectorForbidden, channel.Final)
		return
	}
	if r.Upgrade() {
		e.upgrade(r)
		return
	}
	if strings.HasSuffix(string(req.Target), "/stream") {
		e.stream(r)
		return
	}
	body, err := io.ReadAll(r.Body())
	if err != nil {
		return
	}
	out := fmt.Appendf(nil, "%s %s %s", d.ID, req.Target, body)
	_ = r.Answer(head("200 OK", fmt.Sprintf("Content-Length: %d", len(out))), out, true)
}

// stream sends back each part of the body as it comes.
func (e echo) stream(r *channel.Inbound) {
	if r.Answer(head("200 OK"), nil, false) != nil {
		return
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Body().Read(buf)
		if n > 0 && r.Data(buf[:n], false) != nil {
			return
		}
		if err == io.EOF {
			_ = r.Data(nil, true)
			return
		}
		if err != nil {
			return
		}
	}
}

func (e echo) upgrade(r *channel.Inbound) {
	if r.Answer(head("101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"), nil, false) != nil {
		return
	}
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Body().Read(buf)
		if n > 0 && r.Data(buf[:n], false) != nil {
			return
		}
		if err != nil {
			_ = r.Data(nil, true)
			return
		}
	}
}

func TestWholeWayThroughARealChannel(t *testing.T) {
	in := prepareReal(t)
	in.start()
	// The hello brings the instance its first document.
	document := in.seal(nil)
	s, w, err := in.connect(t.Context(), in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1")), func(h *channel.Hello) { h.Documents = [][]byte{document} })
	if err != nil {
		t.Fatal(err)
	}
	if w.Instance != testInstance || w.Slot != 3 || len(w.Applied) != 1 || w.Applied[0].Generation != 1 {
		t.Errorf("welcome %+v", w)
	}
	stop := in.serveOn(s, echo{in.doc.DeviceTrust})
	waitFor(t, in.exchanger.Ready)
	in.wantsChannelBy(t, channel.SlotPort)

	d := in.dial("pc-1")
	if r := d.ask(get("/app/x?y")); r.body != "pc-1 /app/x?y " {
		t.Errorf("got %q", r.body)
	}
	if r := d.ask("POST /app/x HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"); r.StatusCode != 100 {
		t.Errorf("got %d", r.StatusCode)
	}
	if r := d.ask("5\r\nhello\r\n0\r\n\r\n"); r.body != "pc-1 /app/x hello" {
		t.Errorf("got %q", r.body)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB up and down at once
	go func() {
		_, _ = fmt.Fprintf(d.c, "POST /app/stream HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: %d\r\n\r\n%s", len(big), big)
	}()
	if r := d.receive("POST"); r.body != big || r.err != nil {
		t.Errorf("stream came back with %d bytes, %v", len(r.body), r.err)
	}

	h2 := in.dialHTTP2(t, in.deviceCA.issue("pc-2"))
	id := h2.open(false, h2request("POST", testName, "/app/x")...)
	_ = h2.fr.WriteData(id, true, []byte("hello"))
	if r := h2.receive(id); r.body != "pc-2 /app/x hello" {
		t.Errorf("HTTP/2: %+v", r)
	}

	ws := in.dial("pc-3")
	ws.send(get("/app/ws", "Connection: Upgrade", "Upgrade: websocket"))
	resp, err := http.ReadResponse(ws.br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	ws.send("ping")
	b := make([]byte, 4)
	if _, err := io.ReadFull(ws.br, b); err != nil || string(b) != "ping" {
		t.Errorf("websocket: %q, %v", b, err)
	}
	ws.c.Close()

	stop()
	waitFor(t, func() bool { return !in.exchanger.Ready() })
	r := in.dial("pc-1").ask(get("/app/x"))
	r.wants(t, 503, causeway.CodeNoConnectionPoint)
	if r.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
	}
}

func TestChannelLossCutsTheAnswer(t *testing.T) {
	in := prepareReal(t)
	in.apply(nil)
	in.start()
	s, _, err := in.connect(t.Context(), in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1")))
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	in.serveOn(s, handler(func(r *channel.Inbound) {
		_ = r.Answer(head("200 OK"), []byte("part"), false)
		close(begun)
		<-r.Context().Done()
	}))
	waitFor(t, in.exchanger.Ready)
	d := in.dial("pc-1")
	d.send(get("/app/"))
	resp, err := http.ReadResponse(d.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	in.apply(func(doc *signed.GatewayDocument) { doc.ConnectionPoints = nil }) // no longer on the list: cut at once
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("device took %q for the whole answer", b)
	}
}

type handler func(*channel.Inbound)

func (h handler) Handle(r *channel.Inbound) { h(r) }

func TestChannelListenerRefusesStrangers(t *testing.T) {
	in := prepareReal(t)
	in.apply(nil)
	in.start()
	other := newCA(t, "Site CA")
	for name, cert := range map[string]tls.Certificate{
		"another site's CA": other.issue("cp-1", forConnectionPoint(testSite, "cp-1")),
		"a device":          in.deviceCA.issue("pc-1"),
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := in.connect(t.Context(), cert)
			if err == nil {
				in.serveOn(s, echo{})
				t.Fatal("admitted")
			}
			if r, ok := errors.AsType[*causeway.Refusal](err); !ok || r.Code != causeway.CodeForbidden {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		if _, _, err := in.connect(t.Context(), tls.Certificate{}); err == nil {
			t.Error("admitted")
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		cfg := in.clientTLS(in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1")))
		cfg.MaxVersion = tls.VersionTLS12
		if c, err := tls.Dial("tcp", in.channels.Addr().String(), cfg); err == nil {
			c.Close()
			t.Error("handshake succeeded")
		}
	})
	t.Run("HTTP", func(t *testing.T) {
		c, err := tls.Dial("tcp", in.channels.Addr().String(), in.clientTLS(in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"))))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, get("/app/"))
		_ = c.SetDeadline(time.Now().Add(longWait))
		b, err := io.ReadAll(c)
		if timedOut(err) || bytes.Contains(b, []byte("HTTP/")) {
			t.Errorf("got %q, %v", b, err)
		}
	})
	if in.exchanger.Ready() {
		t.Error("a stranger's channel takes requests")
	}
}

func TestUnfinishedChannelHandshakesAreBounded(t *testing.T) {
	in := prepareReal(t)
	in.apply(nil)
	in.start()
	for range 2 * maxChannelsPerSource {
		c, err := net.Dial("tcp", in.channels.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	waiting := func() int {
		in.channelGate.mu.Lock()
		defer in.channelGate.mu.Unlock()
		return len(in.channelGate.waiting.places)
	}
	waitFor(t, func() bool { return waiting() == maxChannelsPerSource })
	in.stop() // half-open connections do not delay it
	if err := <-in.done; err != nil {
		t.Error(err)
	}
	in.done <- nil
}

func TestStrangersLeaveRoomForTheSite(t *testing.T) {
	g := &channelGate{}
	var releases []func()
	for range maxStrangers {
		release, ok := g.stranger()
		if !ok {
			t.Fatal("refused below the limit")
		}
		releases = append(releases, release)
	}
	if _, ok := g.stranger(); ok {
		t.Error("admitted above the limit")
	}
	releases[0]()
	releases[0]()
	if _, ok := g.stranger(); !ok || g.strangers != maxStrangers {
		t.Errorf("%d strangers", g.strangers)
	}
}

func TestDocumentPushedOverTheChannelTakesEffectAtOnce(t *testing.T) {
	in := prepareReal(t)
	in.apply(nil)
	in.start()
	s, _, err := in.connect(t.Context(), in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1")))
	if err != nil {
		t.Fatal(err)
	}
	in.serveOn(s, echo{in.doc.DeviceTrust})
	waitFor(t, in.exchanger.Ready)
	d := in.dial("pc-1")
	d.ask(get("/app/")).wants(t, 200, 0)
	if err := s.Push(in.seal(func(doc *signed.GatewayDocument) { doc.DeviceTrust.Blocked = []identity.Block{{DeviceID: "pc-1"}} })); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return in.snapshot.Load().header.Generation == in.gen })
	d.ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateBlocked)
}

// A log of them is for faults. Those of large bodies end with their devices, and none of them is a refused request.
func TestEndsOfChannelConnectionsAreNoRefusals(t *testing.T) {
	in := prepare(t)
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	from := netip.MustParseAddr("192.0.2.1")
	for range maxRefusalLines + 5 {
		in.channelEnded(t.Context(), conn, from, fmt.Errorf("%w: connection reset by peer", channel.ErrBulkEnded))
	}
	if logs := in.logs.String(); logs != "" {
		t.Errorf("bulk connections that ended with their streams:\n%s", logs)
	}
	for range maxRefusalLines + 5 {
		in.channelEnded(t.Context(), conn, from, io.ErrUnexpectedEOF)
	}
	in.channelEnds.flush(true)
	logs := in.logs.String()
	if got := strings.Count(logs, `msg="channel connection ended"`); got != maxRefusalLines {
		t.Errorf("%d lines, want %d:\n%s", got, maxRefusalLines, logs)
	}
	if !strings.Contains(logs, `msg="more channel connections ended" source=192.0.2.1 suppressed=5`) || strings.Contains(logs, "code") ||
		strings.Contains(logs, "refused") {
		t.Errorf("the log speaks of refusals, or not of the rest:\n%s", logs)
	}
	in.channelEnded(t.Context(), conn, from, causeway.Refuse(causeway.CodeForbidden, "who are you"))
	for range maxRefusalLines {
		in.channelEnded(t.Context(), conn, from, causeway.Refuse(causeway.CodeForbidden, "who are you"))
	}
	in.channelEnds.flush(true)
	if logs := in.logs.String(); !strings.Contains(logs, "last_code=CMGService_Forbidden") {
		t.Errorf("the code of a refused connection is not told:\n%s", logs)
	}
}
