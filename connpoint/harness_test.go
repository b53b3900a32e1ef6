package connpoint

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testService = "gw.example.com"
	testGateway = causeway.GatewayName("gw")
)

// testCA signs what the tests need.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t testing.TB, name string) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{cert, key}
}

// issue makes a leaf; change may alter the template.
func (ca *testCA) issue(t testing.TB, name string, change func(*x509.Certificate)) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// evidence returns a principal that proves to be the named device.
func (ca *testCA) evidence(t testing.TB, name string) *channel.InboundPrincipal {
	t.Helper()
	der, _ := ca.issue(t, name, nil)
	return &channel.InboundPrincipal{Kind: uint8(identity.KindCertificate), Evidence: identity.EncodeEvidence([][]byte{der}), Source: "203.0.113.9:50000"}
}

// bench is a handler with one published server behind it.
type bench struct {
	t       testing.TB
	ca      *testCA
	doc     signed.ConnectionPointDocument
	handler *handler
	who     *channel.InboundPrincipal
	log     *bytes.Buffer
}

// newBench publishes url as /app/ on the service name; change may alter the document.
func newBench(t testing.TB, url string, change func(*signed.ConnectionPointDocument)) *bench {
	t.Helper()
	b := &bench{t: t, ca: newTestCA(t, "Device CA"), log: new(bytes.Buffer)}
	b.doc = signed.ConnectionPointDocument{
		Site:        "site",
		DeviceTrust: identity.Trust{CAs: []identity.CA{{Name: "devices", Certificate: b.ca.cert.Raw}}},
		Gateways: []signed.Gateway{{
			Name: testGateway, ServiceName: testService, ServicePort: 443, Address: "127.0.0.1", ServiceCAs: [][]byte{b.ca.cert.Raw},
		}},
		Publications: []policy.Publication{{Name: "app"}},
		Servers:      []signed.Server{{Name: "app", URL: url}},
	}
	if change != nil {
		change(&b.doc)
	}
	b.handler = &handler{&inside{
		log: slog.New(slog.NewTextHandler(&lockedWriter{w: b.log}, &slog.HandlerOptions{Level: slog.LevelDebug})), now: time.Now, by: "0123456789ab", debug: true,
	}, testGateway}
	b.handler.warn.limiter = newWarnings()
	b.obey(1)
	b.who = b.ca.evidence(t, "pc-1")
	t.Cleanup(func() { b.handler.config.Load().close() })
	return b
}

// obey puts the bench's document in force.
func (b *bench) obey(generation uint64) {
	b.t.Helper()
	before := b.handler.config.Load()
	h := signed.Header{Kind: signed.KindConnectionPoint, Format: 1, Generation: generation, Issued: time.Now(), ValidUntil: time.Now().Add(time.Hour)}
	c, err := newConfig(h, &b.doc, before, &b.handler.counts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.handler.config.Store(c)
	c.retire(before)
}

func (b *bench) pool() *serverPool { return b.handler.config.Load().targets[0].pool }

// do lets the handler serve one request whose head has these field lines behind Host.
func (b *bench) do(method, target string, fields ...string) *fakeInbound {
	b.t.Helper()
	in := b.request(method, target, fields...)
	b.serve(in)
	return in
}

func (b *bench) request(method, target string, fields ...string) *fakeInbound {
	head := method + " " + target + " HTTP/1.1\r\nHost: " + testService + "\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	return &fakeInbound{t: b.t, id: causeway.NewRequestID(), attempt: 1, who: b.who, head: []byte(head + "\r\n")}
}

func (b *bench) serve(in *fakeInbound) { b.handler.serve(in) }

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// fakeInbound stands in for channel.Inbound.
type fakeInbound struct {
	t         testing.TB
	id        causeway.RequestID
	attempt   int
	who       *channel.InboundPrincipal
	head      []byte
	whole     []byte // the body, if it came with the request
	body      io.Reader
	bodyBytes int64
	trailers  []byte
	upgrade   bool
	bulk      bool // the answer goes over a connection of its own
	onData    func(p []byte)
	onAnswer  func()

	informs        []string
	answer         string
	data           bytes.Buffer
	last           bool
	answerTrailers string
	refused        causeway.Code
	delivery       channel.Delivery
	refusals       int

	mu     sync.Mutex // guards the fields below
	left   bool       // the device is gone
	gone   channel.Interrupter
	cancel context.CancelFunc
}

// leave is the end of the device.
func (f *fakeInbound) leave() {
	f.mu.Lock()
	gone, cancel := f.gone, f.cancel
	f.left, f.gone, f.cancel = true, nil, nil
	f.mu.Unlock()
	if gone != nil {
		gone.Interrupt()
	}
	if cancel != nil {
		cancel()
	}
}

func (f *fakeInbound) Context() context.Context {
	ctx, cancel := context.WithCancel(f.t.Context())
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel = cancel; f.left {
		cancel()
	}
	return ctx
}

func (f *fakeInbound) OnGone(x channel.Interrupter) bool {
	f.mu.Lock()
	left := f.left
	if !left {
		f.gone = x
	}
	f.mu.Unlock()
	if left && x != nil {
		x.Interrupt()
	}
	return left
}

func (f *fakeInbound) Gone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left
}

func (f *fakeInbound) Whole() ([]byte, bool)                { return f.whole, f.whole != nil }
func (f *fakeInbound) ID() causeway.RequestID               { return f.id }
func (f *fakeInbound) Attempt() int                         { return f.attempt }
func (f *fakeInbound) Principal() *channel.InboundPrincipal { return f.who }
func (f *fakeInbound) Head() []byte                         { return f.head }
func (f *fakeInbound) BodyBytes() int64                     { return f.bodyBytes }
func (f *fakeInbound) Body() io.Reader                      { return f.body }
func (f *fakeInbound) Trailers() []byte                     { return f.trailers }
func (f *fakeInbound) Upgrade() bool                        { return f.upgrade }

var errFake = errors.New("out of order")

func (f *fakeInbound) Inform(head []byte) error {
	if f.answer != "" {
		return errFake
	}
	f.informs = append(f.informs, string(head))
	return nil
}

func (f *fakeInbound) Answer(head, body []byte, last bool) error {
	if f.answer != "" || f.refusals > 0 {
		return errFake
	}
	f.answer = string(head)
	if f.onAnswer != nil {
		f.onAnswer()
	}
	return f.Data(body, last)
}

func (f *fakeInbound) Data(p []byte, last bool) error {
	if f.answer == "" || f.last || f.refusals > 0 {
		return errFake
	}
	f.data.Write(p)
	f.last = last
	if f.onData != nil {
		f.onData(p)
	}
	return nil
}

func (f *fakeInbound) Bulk() bool { return f.bulk }

func (f *fakeInbound) AnswerTrailers(fields []byte) error {
	if f.answer == "" || f.last {
		return errFake
	}
	f.answerTrailers, f.last = string(fields), true
	return nil
}

func (f *fakeInbound) Refuse(code causeway.Code, d channel.Delivery) {
	f.refusals++
	f.refused, f.delivery = code, d
	f.End() // as the real one does: nobody waits for a body or an answer any more
}

// End ends a Read of a body that is a pipe. No other body of the tests waits.
func (f *fakeInbound) End() {
	if p, ok := f.body.(*io.PipeReader); ok {
		p.CloseWithError(errFake)
	}
	f.leave()
}

// wantRefused fails the test unless the exchange ended so.
func (f *fakeInbound) wantRefused(t testing.TB, code causeway.Code, d channel.Delivery) {
	t.Helper()
	if f.answer != "" || f.refusals != 1 || f.refused != code || f.delivery != d {
		t.Errorf("answer %q, refused %d times with %v %d; want one %v %d", f.answer, f.refusals, f.refused, f.delivery, code, d)
	}
}

// wantAnswer fails the test unless the exchange ended with a complete answer of this status and body.
func (f *fakeInbound) wantAnswer(t testing.TB, status int, body string) {
	t.Helper()
	if !strings.HasPrefix(f.answer, fmt.Sprintf("HTTP/1.1 %d", status)) || f.data.String() != body || !f.last || f.refusals > 0 {
		t.Errorf("answer %q, body %.80q, last %v, refused %v; want %d with %.80q", f.answer, f.data.String(), f.last, f.refused, status, body)
	}
}

// rawServer is a TCP server that does to each connection what the test says.
type rawServer struct {
	t    testing.TB
	ln   net.Listener
	work sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	heads []string
}

// newRawServer serves connection n (from 0) with script.
func newRawServer(t testing.TB, script func(s *rawServer, n int, c net.Conn)) *rawServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{t: t, ln: ln}
	s.work.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.work.Go(func() {
				defer c.Close()
				script(s, n, c)
			})
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *rawServer) close() {
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *rawServer) url() string { return "http://" + s.ln.Addr().String() }

// connections returns how many there were.
func (s *rawServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// readHead reads one request head and remembers it; "" at the end of the connection.
func (s *rawServer) readHead(c net.Conn) string {
	var head []byte
	var one [1]byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := io.ReadFull(c, one[:]); err != nil {
			return ""
		}
		head = append(head, one[0])
	}
	s.mu.Lock()
	s.heads = append(s.heads, string(head))
	s.mu.Unlock()
	return string(head)
}

// requests returns how many heads came.
func (s *rawServer) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heads)
}

// lastHead returns the head of the last request.
func (s *rawServer) lastHead() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heads) == 0 {
		return ""
	}
	return s.heads[len(s.heads)-1]
}

// answering returns a server that answers each request of each connection with these bytes.
func answering(t testing.TB, answer string) *rawServer {
	return newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		for s.readHead(c) != "" {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

// answeringOnce closes the connection behind its bytes.
func answeringOnce(t testing.TB, answer string) *rawServer {
	return newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		if s.readHead(c) != "" {
			io.WriteString(c, answer)
		}
	})
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
