package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/siteca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSite     = causeway.SiteID("site-1")
	testGateway  = causeway.GatewayName("main")
	testInstance = causeway.InstanceID("inst-a")
	testName     = "gateway.test"
)

// A testCA issues certificates of every shape, good and bad.
type testCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial = big.NewInt(1)
var serialMu sync.Mutex

func nextSerial() *big.Int {
	serialMu.Lock()
	defer serialMu.Unlock()
	serial = new(big.Int).Add(serial, big.NewInt(1))
	return serial
}

func newCA(t *testing.T, name string) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-24 * time.Hour),
		NotAfter: time.Now().Add(240 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{t, cert, key}
}

// issue makes a device certificate, changed by the functions given.
func (ca *testCA) issue(name string, change ...func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range change {
		c(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func forServer(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	c.DNSNames = []string{testName}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
}

func forConnectionPoint(site causeway.SiteID, id causeway.ConnectionPointID) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.URIs = []*url.URL{siteca.ConnectionPointURI(site, id)}
	}
}

// A fakeBackend stands in for the channels: handle plays connection point and server.
type fakeBackend struct {
	mu       sync.Mutex
	seen     []*seenRequest
	handle   func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error
	notReady bool
	tight    bool
	rechecks int
}

// A seenRequest is a request as it came out of the gateway.
type seenRequest struct {
	*channel.Request
	head http1.Request
	body string // as answerOK read it
}

func (f *fakeBackend) Exchange(ctx context.Context, req *channel.Request, d channel.DeviceSide) error {
	c := *req // the gateway uses its own again
	c.Head = bytes.Clone(req.Head)
	r := &seenRequest{Request: &c}
	if err := r.head.Parse(c.Head, http1.Limits{MaxHeadBytes: 64 << 10}); err != nil {
		return errors.Join(errors.New("gateway wrote a bad head"), err)
	}
	f.mu.Lock()
	f.seen = append(f.seen, r)
	handle, down := f.handle, f.notReady
	f.mu.Unlock()
	if down {
		return &causeway.Refusal{Code: causeway.CodeNoConnectionPoint, Err: causeway.ErrNoChannel, RetryAfter: time.Second}
	}
	if req.Body != nil {
		defer req.Body.Close()
	}
	return handle(ctx, r, d)
}

func (f *fakeBackend) Ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.notReady
}
func (f *fakeBackend) MemoryTight() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tight
}
func (f *fakeBackend) Status() []channel.SetStatus                              { return nil }
func (f *fakeBackend) Serve(context.Context, net.Conn, channel.Transport) error { return nil }
func (f *fakeBackend) Drain(context.Context)                                    {}
func (f *fakeBackend) MemoryUsedBytes() int64                                   { return 4096 }
func (f *fakeBackend) MemoryBudgetBytes() int64                                 { return 1 << 20 }
func (f *fakeBackend) Room() channel.RoomStatus                                 { return channel.RoomStatus{} }
func (f *fakeBackend) Recheck() {
	f.mu.Lock()
	f.rechecks++
	f.mu.Unlock()
}

func (f *fakeBackend) requests() []*seenRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*seenRequest(nil), f.seen...)
}

func (f *fakeBackend) serve(h func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error) {
	f.mu.Lock()
	f.handle = h
	f.mu.Unlock()
}

// answerOK reads the whole body and answers with it.
func answerOK(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
	var body []byte
	if r.Body != nil && !r.Upgrade {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return err
		}
		r.body = string(body)
	}
	if string(r.head.Method) == "HEAD" {
		return d.Answer(head("200 OK", "Content-Length: 5"), nil, true)
	}
	return d.Answer(head("200 OK", "Content-Type: text/plain"), append([]byte("hello "), body...), true)
}

func head(status string, fields ...string) []byte {
	return []byte("HTTP/1.1 " + status + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n")
}

// An instance is a running Server with a fake backend and a document in force.
type instance struct {
	*Server
	t        *testing.T
	devices  net.Listener
	channels net.Listener
	backend  *fakeBackend
	logs     *syncBuffer
	serverCA *testCA
	deviceCA *testCA
	siteCA   *testCA
	key      signed.Key
	doc      signed.GatewayDocument
	gen      uint64
	stop     context.CancelFunc
	done     chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// prepare makes an instance that does not run yet and has no document.
func prepare(t *testing.T, change ...func(*Config)) *instance {
	t.Helper()
	in := &instance{t: t, backend: &fakeBackend{handle: answerOK}, logs: &syncBuffer{},
		serverCA: newCA(t, "Service CA"), deviceCA: newCA(t, "Device CA"), siteCA: newCA(t, "Site CA"), done: make(chan error, 1)}
	var err error
	if in.key, err = signed.NewKey(); err != nil {
		t.Fatal(err)
	}
	store, _, err := signed.OpenStore("", in.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	in.devices, in.channels = listen(t), listen(t)
	cfg := Config{Devices: in.devices, Channels: in.channels, Certificates: FixedCertificate(in.serverCA.issue(testName, forServer)),
		Documents: store, Site: testSite, Gateway: testGateway, Instance: testInstance, Slot: 3, Software: "test",
		Logger: slog.New(slog.NewTextHandler(in.logs, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	for _, c := range change {
		c(&cfg)
	}
	if in.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	in.Server.exchanger = in.backend
	in.doc = signed.GatewayDocument{
		Site: testSite, Gateway: testGateway, ServiceName: testName, ServicePort: 443,
		DeviceTrust:      identity.Trust{CAs: []identity.CA{{Name: "devices", Certificate: in.deviceCA.cert.Raw}}},
		SiteCAs:          [][]byte{in.siteCA.cert.Raw},
		ConnectionPoints: []signed.ConnectionPoint{{ID: "cp-1", ConnectionID: "secret-1"}},
		Publications: []policy.Publication{
			{Name: "app", Rules: []policy.Rule{{Path: "/"}, {Path: "/small", MaxBodyBytes: 10}, {Path: "/ws", WebSocket: true}}},
			{Name: "repo", Host: "repo.test"},
			{Name: "mp", ManagementPoint: 1},
		},
	}
	return in
}

// run starts an instance with its document applied.
func run(t *testing.T, change ...func(*Config)) *instance {
	t.Helper()
	in := prepare(t, change...)
	in.apply(nil)
	in.start()
	return in
}

func (in *instance) start() {
	ctx, cancel := context.WithCancel(in.t.Context())
	in.stop = cancel
	go func() { in.done <- in.Run(ctx) }()
	in.t.Cleanup(func() {
		cancel()
		if err := <-in.done; err != nil {
			in.t.Errorf("Run: %v", err)
		}
		in.done <- nil
	})
}

// seal makes the next document.
func (in *instance) seal(change func(*signed.GatewayDocument)) []byte {
	in.t.Helper()
	if change != nil {
		change(&in.doc)
	}
	in.gen++
	raw, err := signed.Seal(signed.KindGateway, signed.FormatGateway, in.gen, time.Now(), time.Now().Add(time.Hour), in.doc, in.key)
	if err != nil {
		in.t.Fatal(err)
	}
	return raw
}

func (in *instance) apply(change func(*signed.GatewayDocument)) {
	in.t.Helper()
	if _, gen, err := in.Apply(in.seal(change)); err != nil || gen != in.gen {
		in.t.Fatalf("Apply: generation %d, err %v", gen, err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func (in *instance) clientTLS(certs ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(in.serverCA.cert)
	return &tls.Config{RootCAs: roots, ServerName: testName, Certificates: certs, NextProtos: []string{"http/1.1"}}
}

// A device is a raw HTTP/1.1 client.
type device struct {
	t  *testing.T
	c  *tls.Conn
	br *bufio.Reader
}

// dial connects as a device of the name, with a good certificate.
func (in *instance) dial(name string) *device {
	in.t.Helper()
	return in.dialTLS(in.clientTLS(in.deviceCA.issue(name)))
}

func (in *instance) dialTLS(cfg *tls.Config) *device {
	in.t.Helper()
	c, err := tls.Dial("tcp", in.devices.Addr().String(), cfg)
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(4 * longWait))
	return &device{in.t, c, bufio.NewReader(c)}
}

func (d *device) send(s string) {
	d.t.Helper()
	if _, err := io.WriteString(d.c, s); err != nil {
		d.t.Fatalf("send: %v", err)
	}
}

// A reply is one answer, read whole.
type reply struct {
	*http.Response
	body string
	err  error // of reading the body
}

func (d *device) receive(method string) *reply {
	d.t.Helper()
	resp, err := http.ReadResponse(d.br, &http.Request{Method: method})
	if err != nil {
		d.t.Fatalf("no answer: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	return &reply{resp, string(b), err}
}

// ask sends raw bytes and reads one answer.
func (d *device) ask(raw string) *reply {
	d.t.Helper()
	d.send(raw)
	method, _, _ := strings.Cut(raw, " ")
	return d.receive(method)
}

func get(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + testName + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// closed reports whether the gateway has ended the connection.
func (d *device) closed() bool {
	_ = d.c.SetReadDeadline(time.Now().Add(longWait))
	_, err := d.br.ReadByte()
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func (r *reply) wants(t *testing.T, status int, code causeway.Code) {
	t.Helper()
	if r.StatusCode != status {
		t.Errorf("status %d, want %d; body %q", r.StatusCode, status, r.body)
	}
	if code == causeway.CodeNone {
		return
	}
	if !strings.Contains(r.body, `"code":"`+code.String()+`"`) {
		t.Errorf("body %q, want code %s", r.body, code)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
	if id := r.Header.Get("X-Request-Id"); len(id) != 32 || !strings.Contains(r.body, id) {
		t.Errorf("X-Request-Id %q does not stand in %q", id, r.body)
	}
}
