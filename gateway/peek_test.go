package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/signed"
)

// channelAt dials the devices' port as a connection point does that has no other. Its bytes go through wrap.
func (in *instance) channelAt(t *testing.T, protos []string, wrap func(net.Conn) net.Conn, change ...func(*channel.Hello)) (*channel.Session, channel.Welcome, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(in.serverCA.cert)
	raw, err := net.Dial("tcp", in.devices.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if wrap == nil {
		wrap = func(c net.Conn) net.Conn { return c }
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*longWait)
	defer cancel()
	c := tls.Client(channel.Batched(wrap(raw)), &tls.Config{RootCAs: roots, ServerName: testName, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"))}, NextProtos: protos})
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, channel.Welcome{}, err
	}
	h := channel.Hello{Site: testSite, Gateway: testGateway, ConnectionPoint: "cp-1", ConnectionID: "secret-1", Slot: 3, Instance: testInstance,
		Set: "set-1", Count: 1, Software: "test"}
	for _, f := range change {
		f(&h)
	}
	return channel.Connect(ctx, c, h, channel.SessionConfig{Logger: in.log, HandshakeTimeout: longWait})
}

// byByte writes one byte at a time.
type byByte struct{ net.Conn }

func (b byByte) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestChannelOnTheDevicesPortIsServed(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"whole":       nil,
		"by the byte": func(c net.Conn) net.Conn { return byByte{c} },
	} {
		t.Run(name, func(t *testing.T) {
			in := prepareReal(t)
			in.apply(nil)
			in.start()
			s, w, err := in.channelAt(t, []string{channel.ALPN(3)}, wrap)
			if err != nil || w.Slot != 3 || w.Instance != testInstance {
				t.Fatalf("welcome %+v: %v", w, err)
			}
			in.serveOn(s, echo{in.doc.DeviceTrust})
			waitFor(t, in.exchanger.Ready)
			in.wantsChannelBy(t, channel.SinglePort)
			in.dial("pc-1").ask(get("/app/x")).wants(t, 200, 0)
			if open, pending := in.sources.open(); open != 1 || pending != 0 {
				t.Errorf("%d connections and %d handshakes count as devices', want the one device", open, pending)
			}
		})
	}
}

// A device may offer whatever protocols it likes, and send its ClientHello as slowly as before.
func TestDevicesAreServedAsBeforeWhateverTheyOffer(t *testing.T) {
	in := run(t)
	for _, protos := range [][]string{nil, {"http/1.1"}, {"causeway-channel/1/99", "http/1.1"}, {"causeway-channel/1/", "http/1.1"}, {"x", "http/1.1", strings.Repeat("y", 200)}} {
		cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
		cfg.NextProtos = protos
		in.dialTLS(cfg).ask(get("/app/")).wants(t, 200, 0)
	}
	raw, err := net.Dial("tcp", in.devices.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(byByte{raw}, in.clientTLS(in.deviceCA.issue("pc-1")))
	_ = c.SetDeadline(time.Now().Add(longWait))
	if err := c.Handshake(); err != nil {
		t.Errorf("a ClientHello in pieces: %v", err)
	}

	// A ClientHello that is larger than any channel's is a device's, and what it gets is TLS's answer.
	cfg := in.clientTLS()
	cfg.NextProtos = []string{channel.ALPN(3)}
	for range 80 {
		cfg.NextProtos = append(cfg.NextProtos, strings.Repeat("z", 250))
	}
	_, err = tls.Dial("tcp", in.devices.Addr().String(), cfg)
	if err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("a ClientHello of 20 KB: %v, want the refusal of its protocols", err)
	}
	if n := len(in.backend.requests()); n != 5 {
		t.Errorf("%d requests, want 5", n)
	}
}

// Nothing of this instance's may be in the way of a connection that is meant for another: the certificate it shows
// proves that TLS ends there.
func TestChannelForASiblingIsJoinedToIt(t *testing.T) {
	front, other := prepareReal(t), prepareReal(t, func(c *Config) { c.Slot, c.Instance = 5, "inst-b" })
	other.apply(func(d *signed.GatewayDocument) { d.Instances = besideTestInstance })
	other.start()
	front.apply(func(d *signed.GatewayDocument) {
		d.Instances = []signed.Instance{{Slot: 3, ID: testInstance}, {Slot: 5, ID: "inst-b", PrivateAddress: other.channels.Addr().String()}}
	})
	front.start()
	// It dials front and proves itself to other.
	there := *other
	there.devices = front.devices
	s, w, err := there.channelAt(t, []string{channel.ALPN(5)}, nil, func(h *channel.Hello) { h.Slot, h.Instance = 5, "inst-b" })
	if err != nil || w.Instance != "inst-b" {
		t.Fatalf("welcome %+v: %v", w, err)
	}
	stop := other.serveOn(s, echo{other.doc.DeviceTrust})
	waitFor(t, other.exchanger.Ready)
	other.wantsChannelBy(t, channel.SinglePort)
	body := strings.Repeat("x", 100_000)
	if r := other.dial("pc-1").ask(get("/app/x")); r.StatusCode != 200 {
		t.Errorf("status %d", r.StatusCode)
	}
	d := other.dial("pc-1")
	d.send("POST /app/x HTTP/1.1\r\nHost: " + testName + "\r\nContent-Length: 100000\r\n\r\n" + body)
	if r := d.receive("POST"); !strings.HasSuffix(r.body, body) {
		t.Errorf("a body of 100 kB came back as %d bytes", len(r.body))
	}
	if front.exchanger.Ready() {
		t.Error("the instance in front took a channel that was not for it")
	}
	stop()
	waitFor(t, func() bool { return front.openChannels() == 0 && other.openChannels() == 0 })
}

// besideTestInstance is a document's instances for a test that has another one in front: who comes from there was passed on.
var besideTestInstance = []signed.Instance{{Slot: 3, ID: testInstance, PrivateAddress: "127.0.0.1"}, {Slot: 5, ID: "inst-b"}}

// wantsChannelBy fails the test unless the one channel that there is came by a transport, in status and metrics.
func (in *instance) wantsChannelBy(t *testing.T, want channel.Transport) {
	t.Helper()
	st := in.exchanger.Status()
	if len(st) != 1 || st[0].Transports[want] != 1 || len(st[0].Transports) != 1 {
		t.Errorf("status %+v, want one channel by %s", st, want)
	}
}

// What came on the devices' port to somebody else says so by how it is given, whatever is said within.
func TestForwardedChannelsKeepTheirTransport(t *testing.T) {
	in := prepareReal(t)
	in.apply(func(d *signed.GatewayDocument) {
		d.Instances = []signed.Instance{{Slot: 3, ID: testInstance}, {Slot: 5, ID: "inst-b", PrivateAddress: "192.0.2.5"}}
	})
	from := func(address string) net.Conn {
		return fromAddress{address: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}
	}
	for _, tt := range []struct {
		name string
		conn net.Conn
		want channel.Transport
	}{
		{"the slot's port", from("192.0.2.9:4711"), channel.SlotPort},
		{"the devices' port", &begun.Conn{Conn: from("192.0.2.9:4711"), Head: []byte("hello")}, channel.SinglePort},
		{"a WebSocket", &begun.Conn{Conn: from("192.0.2.9:4711"), Source: &net.TCPAddr{}}, channel.WebSocket},
		{"another instance", from("192.0.2.5:4711"), passedOn},
	} {
		if got := in.cameBy(tt.conn); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// fromAddress is a connection of which only the other side's address matters.
type fromAddress struct {
	net.Conn
	address net.Addr
}

func (c fromAddress) RemoteAddr() net.Addr { return c.address }

func (in *instance) openChannels() int {
	in.channelGate.mu.Lock()
	defer in.channelGate.mu.Unlock()
	return len(in.channelGate.waiting.places) + in.channelGate.admitted + in.channelGate.joined
}

func TestChannelForNobodyEnds(t *testing.T) {
	dead := listen(t)
	address := dead.Addr().String()
	dead.Close()
	in := run(t)
	in.apply(func(d *signed.GatewayDocument) {
		d.Instances = []signed.Instance{{Slot: 3, ID: testInstance}, {Slot: 5, ID: "inst-b", PrivateAddress: address}, {Slot: 6, ID: "inst-c"}}
	})
	for _, slot := range []causeway.Slot{5, 6, 7} {
		if _, _, err := in.channelAt(t, []string{channel.ALPN(slot)}, nil); err == nil {
			t.Errorf("slot %d, where nobody is, was reached", slot)
		}
	}
	waitFor(t, func() bool { return in.openChannels() == 0 })
}

// What never becomes a channel is under the limits of the channel listener, wherever it came in.
func TestUnfinishedChannelsOnTheDevicesPortAreBoundedAndEnd(t *testing.T) {
	in := prepareReal(t, func(c *Config) {
		c.Limits.MaxChannelHandshakes, c.Timeouts.Handshake = 4, 2*time.Second
	})
	in.apply(nil)
	in.start()
	hello := clientHello(t, channel.ALPN(3))
	var conns []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", in.devices.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns { // each of them ends, at once or after the handshake's time
		_ = c.SetReadDeadline(time.Now().Add(longWait))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection that says nothing is kept")
		}
	}
	if !strings.Contains(in.logs.String(), "channel handshake failed") {
		t.Error("no handshake was given up, so this shows nothing")
	}
	waitFor(t, func() bool { return in.openChannels() == 0 })
}

// clientHello is the first flight of a client that offers a protocol.
func clientHello(t *testing.T, proto string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		_ = tls.Client(b, &tls.Config{ServerName: testName, NextProtos: []string{proto}, MinVersion: tls.VersionTLS13}).Handshake()
		b.Close()
	}()
	buf := make([]byte, 8<<10)
	n, err := a.Read(buf)
	if err != nil || !bytes.Contains(buf[:n], []byte(proto)) {
		t.Fatalf("no ClientHello: %v", err)
	}
	return buf[:n]
}

type siblings struct {
	pass func(n causeway.Slot, conn net.Conn, head []byte) error
	dial func(n causeway.Slot, from net.Conn) (net.Conn, error)
}

func (s siblings) Pass(n causeway.Slot, c net.Conn, head []byte) error { return s.pass(n, c, head) }
func (s siblings) Dial(n causeway.Slot, from net.Conn) (net.Conn, error) {
	return s.dial(n, from)
}

// Where somebody stands between the instances, he gets the connection as it came, also for this very instance.
func TestChannelIsPassedAsItCame(t *testing.T) {
	type passed struct {
		slot causeway.Slot
		conn net.Conn
		head []byte
	}
	got := make(chan passed, 1)
	in := run(t, func(c *Config) {
		c.Siblings = siblings{pass: func(n causeway.Slot, conn net.Conn, head []byte) error {
			got <- passed{n, conn, bytes.Clone(head)}
			return nil
		}}
	})
	hello := clientHello(t, channel.ALPN(3))
	c, err := net.Dial("tcp", in.devices.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	p := <-got
	defer p.conn.Close()
	if _, ok := p.conn.(*net.TCPConn); !ok || p.slot != 3 || !bytes.Equal(p.head, hello) {
		t.Errorf("passed a %T for slot %d with %d bytes, want the TCP connection for 3 with the ClientHello of %d", p.conn, p.slot, len(p.head), len(hello))
	}
	if _, err := p.conn.Write([]byte("ours")); err != nil {
		t.Error(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ours" {
		t.Errorf("the first bytes of the answer are %q: %v; nobody else may have spoken", b, err)
	}
}
