package connpoint

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/durable"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// site is what an agent needs around it: keys, CAs and a documents folder.
type site struct {
	t      testing.TB
	key    signed.Key
	ca     *testCA // signs service certificates, connection points and devices alike
	dir    string
	doc    signed.ConnectionPointDocument
	gen    uint64
	listen string // where the next instance listens; empty means 127.0.0.1:0
	mu     sync.Mutex
	logged bytes.Buffer
}

func newSite(t testing.TB, serverURL string) *site {
	t.Helper()
	key, err := signed.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, key: key, ca: newTestCA(t, "Site CA"), dir: t.TempDir()}
	s.doc = signed.ConnectionPointDocument{
		Site:         "site",
		DeviceTrust:  identity.Trust{CAs: []identity.CA{{Name: "devices", Certificate: s.ca.cert.Raw}}},
		Publications: []policy.Publication{{Name: "app"}},
		Servers:      []signed.Server{{Name: "app", URL: serverURL}},
	}
	return s
}

func (s *site) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.Write(p)
}

func (s *site) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.String()
}

// seal returns a signed document of the next generation.
func (s *site) seal(kind string, payload any) []byte {
	s.t.Helper()
	s.gen++
	raw, err := signed.Seal(kind, 1, s.gen, time.Now(), time.Now().Add(time.Hour), payload, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

// publish writes the site's connection point document into the folder.
func (s *site) publish() {
	s.t.Helper()
	s.write(signed.KindConnectionPoint, s.seal(signed.KindConnectionPoint, s.doc))
}

func (s *site) write(kind string, raw []byte) {
	s.t.Helper()
	if err := durable.WriteFile(filepath.Join(s.dir, kind+".json"), raw); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) agent() *Agent {
	der, key := s.ca.issue(s.t, "cp-1", nil)
	return &Agent{
		ID: "cp-1", Site: "site", ConnectionID: "secret", SiteKey: s.key.Public(), DocumentsDir: s.dir, Software: "test",
		Transports: []channel.Transport{channel.SlotPort},
		Certificate: func() (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		},
		Logger: slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})), DrainTimeout: 5 * time.Second,
	}
}

// instance is a gateway instance as far as an agent meets it.
type instance struct {
	t    testing.TB
	pool *channel.Pool
	ln   net.Listener
	work sync.WaitGroup
	cert []byte

	config *tls.Config                  // of its channels
	next   atomic.Pointer[channel.Pool] // of the process that comes after this one; nil before it is there

	mu      sync.Mutex
	welcome channel.Welcome
	keys    *signed.KeySet
	hellos  []channel.Hello
	applied []uint64
	stop    context.CancelFunc
}

// newInstance starts an instance with a service certificate for names.
func (s *site) newInstance(slot causeway.Slot, id causeway.InstanceID, ca *testCA, names ...string) *instance {
	s.t.Helper()
	der, key := ca.issue(s.t, "service", func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	ln, err := net.Listen("tcp", cmp.Or(s.listen, "127.0.0.1:0"))
	if err != nil {
		s.t.Fatal(err)
	}
	i := &instance{t: s.t, ln: ln, cert: der, welcome: channel.Welcome{Instance: id, Slot: slot, Software: "test"},
		keys: signed.NewKeySet(s.key.Public())}
	i.pool = channel.NewPool(channel.PoolConfig{Gatekeeper: i, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(s.t.Context())
	i.stop = stop
	config := &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	i.config = config
	i.work.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			i.work.Go(func() {
				defer raw.Close()
				c := tls.Server(channel.Batched(raw), config)
				if c.HandshakeContext(ctx) == nil {
					_ = cmp.Or(i.next.Load(), i.pool).Serve(ctx, c, channel.SlotPort)
				}
			})
		}
	})
	s.t.Cleanup(i.close)
	return i
}

func (i *instance) close() {
	i.stop()
	i.ln.Close()
	i.work.Wait()
}

func (i *instance) Apply(raw []byte) (string, uint64, error) {
	var d signed.GatewayDocument
	i.mu.Lock()
	defer i.mu.Unlock()
	if kind, _ := signed.KindOf(raw); kind == signed.KindSiteKey {
		longer, err := i.keys.Follow(raw)
		if err == nil {
			i.keys = longer
		}
		return kind, 1, err
	}
	h, err := signed.Open(raw, signed.KindGateway, i.keys, &d)
	if err == nil {
		i.applied = append(i.applied, h.Generation)
	}
	return signed.KindGateway, h.Generation, err
}

func (i *instance) Admit(h channel.Hello, peer []*x509.Certificate) (channel.Welcome, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hellos = append(i.hellos, h)
	if h.ConnectionID != "secret" || len(peer) == 0 || peer[0].Subject.CommonName != "cp-1" {
		return channel.Welcome{}, causeway.Refuse(causeway.CodeForbidden, "who are you")
	}
	return i.welcome, nil
}

func (i *instance) entry() signed.GatewayInstance {
	i.mu.Lock()
	defer i.mu.Unlock()
	return signed.GatewayInstance{Slot: i.welcome.Slot, ID: i.welcome.Instance, ChannelPort: i.ln.Addr().(*net.TCPAddr).Port}
}

// greeted returns how many hellos came.
func (i *instance) greeted() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.hellos)
}

func (i *instance) connections() int {
	n := 0
	for _, s := range i.pool.Status() {
		n += s.Connections
	}
	return n
}

// awaitAtMost bounds every wait for something that comes; a slow machine with other work takes its time.
const awaitAtMost = time.Minute

// await waits until f is true. Both ends of a connection learn of a change in their own time.
func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(awaitAtMost)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, awaitAtMost)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// gateway describes instances to the agent.
func (s *site) gateway(name causeway.GatewayName, instances ...*instance) signed.Gateway {
	g := signed.Gateway{Name: name, ServiceName: testService, ServicePort: 443, Address: "127.0.0.1", ServiceCAs: [][]byte{s.ca.cert.Raw}}
	for _, i := range instances {
		g.Instances = append(g.Instances, i.entry())
	}
	return g
}

// run runs an agent until the test is over or stop is called; stop waits for it.
func run(t testing.TB, a *Agent) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// device is the gateway's side of one exchange.
type device struct {
	informs, head, trailers string
	body                    bytes.Buffer
	last                    bool
}

func (d *device) Informational(head []byte) error { d.informs += string(head); return nil }
func (d *device) Answer(head, body []byte, last bool) error {
	d.head = string(head)
	return d.Data(body, last)
}
func (d *device) Data(p []byte, last bool) error { d.body.Write(p); d.last = last; return nil }
func (d *device) Trailers(fields []byte) error   { d.trailers, d.last = string(fields), true; return nil }

// exchange sends one request through the instance as a device would.
func (s *site) exchange(i *instance, method, target string, body []byte, known bool) (*device, error) {
	s.t.Helper()
	return s.exchangeOn(i.pool, method, target, body, known)
}

func (s *site) exchangeOn(pool *channel.Pool, method, target string, body []byte, known bool) (*device, error) {
	s.t.Helper()
	der, _ := s.ca.issue(s.t, "pc-1", nil)
	p := channel.NewPrincipal(1, identity.EncodeEvidence([][]byte{der}), "203.0.113.9:50000")
	defer p.Close()
	head := method + " " + target + " HTTP/1.1\r\nHost: " + testService + "\r\n"
	req := &channel.Request{ID: causeway.NewRequestID(), Principal: p, Idempotent: method == "GET"}
	if body != nil {
		req.Body, req.BodyBytes = io.NopCloser(bytes.NewReader(body)), -1
		if known {
			req.BodyBytes = int64(len(body))
			head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		}
	}
	req.Head = []byte(head + "\r\n")
	d := new(device)
	return d, pool.Exchange(s.t.Context(), req, d)
}

func TestAgentCarriesRequests(t *testing.T) {
	srv := echoServer(t)
	s := newSite(t, srv.URL)
	one, two := s.newInstance(0, "i-1", s.ca, testService), s.newInstance(1, "i-2", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one, two)}
	s.publish()
	a := s.agent()
	stop := run(t, a)
	for _, i := range []*instance{one, two} {
		await(t, "two connections", func() bool { return i.connections() == 2 })
		for _, n := range []int{0, 1, 100, 20_000, 1 << 20} {
			for _, known := range []bool{true, false} {
				body := bytes.Repeat([]byte{'x'}, n)
				d, err := s.exchange(i, "POST", "/app/echo", body, known)
				if err != nil || !d.last || !bytes.Equal(d.body.Bytes(), body) || !strings.HasPrefix(d.head, "HTTP/1.1 200 ") {
					t.Fatalf("%d bytes, length known %v: %v, %q with %d bytes", n, known, err, d.head, d.body.Len())
				}
			}
		}
	}
	if _, err := s.exchange(one, "GET", "/other/", nil, true); causeway.CodeOf(err) != causeway.CodeConnectorNotPublished {
		t.Errorf("unpublished URL: %v", err)
	}
	st := a.Status()
	if !st.Ready || len(st.Channels) != 2 || st.Channels[0].Connected != 2 || st.Servers[0].State != "Reachable" || st.Traffic.EndPoints[0].TotalRequests != 20 {
		t.Errorf("status %+v", st)
	}
	stop()
	await(t, "gateways to notice", func() bool { return one.connections()+two.connections() == 0 })
}

func TestAnswerBeforeBodyOverTheChannel(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		s.readHead(c)
	})
	s := newSite(t, srv.url())
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	run(t, s.agent())
	await(t, "channel", i.pool.Ready)
	d, err := s.exchange(i, "POST", "/app/x", make([]byte, 16<<20), false)
	if err != nil || d.body.String() != "no" || !d.last {
		t.Errorf("%v, %q %q", err, d.head, d.body.String())
	}
}

func TestAgentFollowsTheDocument(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	one, two, three := s.newInstance(0, "i-1", s.ca, testService), s.newInstance(1, "i-2", s.ca, testService), s.newInstance(0, "j-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one)}
	s.publish()
	a := s.agent()
	run(t, a)
	await(t, "first instance", func() bool { return one.connections() == 2 })

	// A new slot, and another gateway that has a slot 0 of its own.
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one, two), s.gateway("second", three)}
	s.publish()
	a.Reload()
	await(t, "new instances", func() bool { return two.connections() == 2 && three.connections() == 2 })
	if one.connections() != 2 || one.greeted() != 2 {
		t.Errorf("the first instance was dialled again: %d hellos", one.greeted())
	}

	s.doc.Gateways = []signed.Gateway{s.gateway("gw", two)}
	s.publish()
	a.Reload()
	await(t, "removed instances to be left", func() bool { return one.connections() == 0 && three.connections() == 0 })
	if two.connections() != 2 {
		t.Errorf("the instance that stayed has %d connections", two.connections())
	}

	// The slot's instance is replaced by another one.
	four := s.newInstance(1, "i-3", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", four)}
	s.publish()
	a.Reload()
	await(t, "replaced instance", func() bool { return two.connections() == 0 && four.connections() == 2 })
}

func TestBadDocumentsKeepTheLastGoodOne(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	good := s.gen
	a := s.agent()
	run(t, a)
	await(t, "channel", func() bool { return i.connections() == 2 })
	other := newSite(t, "http://127.0.0.1:2")
	other.gen = 100
	empty := s.doc
	empty.Gateways = nil
	foreign := empty
	foreign.Site = "elsewhere"
	unserved := empty
	unserved.Servers = nil
	old, err := signed.Seal(signed.KindConnectionPoint, 1, 1, time.Now(), time.Now().Add(time.Hour), empty, s.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		raw  []byte
	}{
		{"another key", other.seal(signed.KindConnectionPoint, empty)},
		{"garbage", []byte("{}")},
		{"cut short", s.seal(signed.KindConnectionPoint, empty)[:200]},
		{"older generation", old},
		{"another kind", s.seal(signed.KindGateway, signed.GatewayDocument{Site: "site"})},
		{"another site", s.seal(signed.KindConnectionPoint, foreign)},
		{"publication without server", s.seal(signed.KindConnectionPoint, unserved)},
	} {
		before := strings.Count(s.log(), "level=ERROR")
		s.write(signed.KindConnectionPoint, tt.raw)
		a.Reload()
		if tt.name != "older generation" {
			await(t, "alarm for "+tt.name, func() bool { return strings.Count(s.log(), "level=ERROR") > before })
		}
		if g := a.Status().Configuration.Generation; g != good || i.connections() != 2 {
			t.Errorf("%s: generation %d in force, want %d; %d connections", tt.name, g, good, i.connections())
		}
	}
	s.publish()
	a.Reload()
	await(t, "next good document", func() bool { return a.Status().Configuration.Generation == s.gen })
}

func TestGatewayDocumentsArePushed(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	s.write(signed.KindGateway, s.seal(signed.KindGateway, signed.GatewayDocument{Site: "site", Gateway: "gw"}))
	first := s.gen
	a := s.agent()
	run(t, a)
	inForce := func() uint64 {
		for _, c := range a.Status().Channels {
			for _, x := range c.Applied {
				if x.Error == "" {
					return x.Generation
				}
			}
		}
		return 0
	}
	await(t, "document of the hello", func() bool { return inForce() == first })
	s.write(signed.KindGateway, s.seal(signed.KindGateway, signed.GatewayDocument{Site: "site", Gateway: "gw"}))
	a.Reload()
	await(t, "pushed document", func() bool { return inForce() == s.gen })

	// Another gateway's document is none of this one's business.
	s.write(signed.KindGateway, s.seal(signed.KindGateway, signed.GatewayDocument{Site: "site", Gateway: "second"}))
	a.Reload()
	await(t, "document of another gateway", func() bool { return a.Status().GatewayDocument == s.gen })
	i.mu.Lock()
	defer i.mu.Unlock()
	if slices.Contains(i.applied, s.gen) {
		t.Error("it was sent to the wrong gateway")
	}
}

// A site that rotates its key hands the rotation to gateways that live and to those that come later.
func TestRotatedSiteKeyReachesGateways(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	one := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one)}
	s.publish()
	a := s.agent()
	run(t, a)
	await(t, "channel", func() bool { return one.connections() == 2 })
	two := s.newInstance(1, "i-2", s.ca, testService) // it knows the first key alone

	next, err := signed.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	rotation := s.seal(signed.KindSiteKey, signed.SiteKeyDocument{Next: next.Public(), OldValidUntil: time.Now().Add(time.Hour)})
	s.write(signed.KindSiteKey+".1", rotation)
	s.key = next
	s.write(signed.KindGateway, s.seal(signed.KindGateway, signed.GatewayDocument{Site: "site", Gateway: "gw"}))
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one, two)}
	s.publish()
	a.Reload()
	for _, i := range []*instance{one, two} {
		await(t, "document of the new key", func() bool {
			i.mu.Lock()
			defer i.mu.Unlock()
			return len(i.applied) > 0
		})
	}
}

func TestOtherInstanceThanMeantIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name    string
		welcome channel.Welcome
	}{
		{"another instance", channel.Welcome{Instance: "i-2", Slot: 0}},
		{"another slot", channel.Welcome{Instance: "i-1", Slot: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, "http://127.0.0.1:1")
			i := s.newInstance(0, "i-1", s.ca, testService)
			s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
			right := i.welcome
			i.mu.Lock()
			i.welcome = tt.welcome
			i.mu.Unlock()
			s.publish()
			a := s.agent()
			run(t, a)
			await(t, "refusal", func() bool { return strings.Contains(s.log(), "meant was") })
			if a.Status().Ready {
				t.Error("the agent took it for its instance")
			}
			i.mu.Lock()
			i.welcome = right
			i.mu.Unlock()
			await(t, "right instance", func() bool { return i.connections() == 2 })
		})
	}
}

func TestServiceCertificateIsVerified(t *testing.T) {
	for _, tt := range []struct {
		name   string
		other  bool // another CA signs the certificate
		dns    string
		change func(g *signed.Gateway, cert []byte)
		good   bool
	}{
		{"CA and name", false, testService, func(*signed.Gateway, []byte) {}, true},
		{"CA, name and pin", false, testService, func(g *signed.Gateway, cert []byte) { pin(g, cert) }, true},
		{"pin alone", true, "any.example.com", func(g *signed.Gateway, cert []byte) { g.ServiceCAs = nil; pin(g, cert) }, true},
		{"another CA", true, testService, func(*signed.Gateway, []byte) {}, false},
		{"another name", false, "other.example.com", func(*signed.Gateway, []byte) {}, false},
		{"another pin", false, testService, func(g *signed.Gateway, cert []byte) { pin(g, cert[1:]) }, false},
		{"pin does not help another CA", true, testService, func(g *signed.Gateway, cert []byte) { pin(g, cert) }, false},
		{"another pin alone", false, testService, func(g *signed.Gateway, cert []byte) { g.ServiceCAs = nil; pin(g, cert[1:]) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, "http://127.0.0.1:1")
			ca := s.ca
			if tt.other {
				ca = newTestCA(t, "another")
			}
			i := s.newInstance(0, "i-1", ca, tt.dns)
			g := s.gateway("gw", i)
			tt.change(&g, i.cert)
			s.doc.Gateways = []signed.Gateway{g}
			s.publish()
			run(t, s.agent())
			if tt.good {
				await(t, "channel", func() bool { return i.connections() == 2 })
				return
			}
			await(t, "refusal", func() bool { return strings.Contains(s.log(), "channel down") })
			if i.greeted() > 0 {
				t.Error("the gateway got a hello with the connection id")
			}
		})
	}
}

func pin(g *signed.Gateway, cert []byte) {
	sum := sha256.Sum256(cert)
	g.ServiceCertificateSHA256 = []string{hex.EncodeToString(sum[:])}
}

func TestRequestUnderWayOutlivesTheStop(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, "late")
	}))
	defer srv.Close()
	s := newSite(t, srv.URL)
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	a := s.agent()
	stop := run(t, a)
	await(t, "channel", i.pool.Ready)
	got := make(chan string, 1)
	go func() {
		d, err := s.exchange(i, "GET", "/app/x", nil, true)
		got <- fmt.Sprint(d.body.String(), err)
	}()
	<-asked
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	await(t, "instance to be told", func() bool { return !i.pool.Ready() })
	await(t, "line that says what it waits for", func() bool { return strings.Contains(s.log(), "msg=stopping in_flight=1 drain_ms=5000") })
	await(t, "state", func() bool { return a.Status().State == draining })
	if st := a.Status(); st.Ready || st.Channels[0].State != draining || len(st.Channels[0].Better) > 0 {
		t.Errorf("status says %+v of who drains", st)
	}
	close(answer)
	if g := <-got; g != "late<nil>" {
		t.Errorf("the request under way ended with %s", g)
	}
	<-stopped
}

func TestLeavingGatewayIsDialledAgain(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	run(t, s.agent())
	await(t, "channel", func() bool { return i.connections() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), awaitAtMost)
	defer cancel()
	i.pool.Drain(ctx)
	await(t, "redial", func() bool { return i.greeted() > 2 })
}

// Instances of one gateway may be on hosts of their own; what has no address of its own is at the gateway's.
func TestInstancesAreDialledAtTheirOwnAddresses(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	here, there := s.newInstance(0, "i-1", s.ca, testService), s.newInstance(1, "i-2", s.ca, testService)
	g := s.gateway("gw", here, there)
	g.Instances[1].Address = "gw-2.example"
	s.doc.Gateways = []signed.Gateway{g}
	s.publish()
	a := s.agent()
	port := strconv.Itoa(g.Instances[1].ChannelPort)
	a.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		switch address {
		case net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Instances[0].ChannelPort)):
		case "gw-2.example:" + port:
			address = "127.0.0.1:" + port
		default:
			t.Errorf("dialled %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	run(t, a)
	await(t, "both instances", func() bool { return here.connections() == 2 && there.connections() == 2 })

	// The same addresses, said in another way: nobody moved.
	moved := g
	moved.Address, moved.Instances = "gw-2.example", slices.Clone(g.Instances)
	moved.Instances[0].Address, moved.Instances[1].Address = "127.0.0.1", ""
	before, after := (&config{gateways: s.doc.Gateways}).aims(), (&config{gateways: []signed.Gateway{moved}}).aims()
	for i := range before {
		if !before[i].same(after[i]) {
			t.Errorf("%s would be dialled anew as %s", before[i].place(channel.SlotPort), after[i].place(channel.SlotPort))
		}
	}
	if before[1].same((&config{gateways: []signed.Gateway{s.gateway("gw", here, there)}}).aims()[1]) {
		t.Error("an instance that moved would not be dialled anew")
	}
}

// An hour of refused dials: no stampede at its beginning, and never more than five seconds from the return of the
// gateway to the next dial.
func TestRedialBacksOffWithJitter(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	s.doc.Gateways = []signed.Gateway{{Name: "gw", ServiceName: testService, ServicePort: 443, Address: "192.0.2.1", ServiceCAs: [][]byte{s.ca.cert.Raw},
		Instances: []signed.GatewayInstance{{ID: "i-1", ChannelPort: 10124}}}}
	s.publish()
	synctest.Test(t, func(t *testing.T) {
		a := s.agent()
		a.Connections = 1
		a.Logger = slog.New(slog.DiscardHandler)
		var mu sync.Mutex
		var dials []time.Time
		a.Dial = func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials = append(dials, time.Now())
			return nil, errors.New("refused")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(dials); n < 1000 || n > 4000 {
			t.Errorf("%d dials in an hour, want about 1,440", n)
		}
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(dials); i++ {
			gap := dials[i].Sub(dials[i-1])
			gaps[gap] = true
			if gap > redialMost+time.Millisecond {
				t.Errorf("%v between dials", gap)
			}
		}
		if len(gaps) < len(dials)/2 {
			t.Errorf("%d different waits among %d: no jitter", len(gaps), len(dials))
		}
	})
}

// TestNewInstanceIsDialledInThreeSeconds holds the contract's deadline by a clock that nothing else can slow down.
func TestNewInstanceIsDialledInThreeSeconds(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	gateway := signed.Gateway{Name: "gw", ServiceName: testService, ServicePort: 443, Address: "192.0.2.1", ServiceCAs: [][]byte{s.ca.cert.Raw},
		Instances: []signed.GatewayInstance{{ID: "i-1", ChannelPort: 10124}}}
	s.doc.Gateways = []signed.Gateway{gateway}
	s.publish()
	synctest.Test(t, func(t *testing.T) {
		a := s.agent()
		a.Logger = slog.New(slog.DiscardHandler)
		var mu sync.Mutex
		first := map[string]time.Time{}
		a.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if _, ok := first[address]; !ok {
				first[address] = time.Now()
			}
			return nil, errors.New("refused")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		for slot := 1; slot < causeway.MaxSlots; slot++ {
			time.Sleep(7*time.Second + 137*time.Millisecond) // at another moment between two looks each time
			port := 10124 + slot
			gateway.Instances = append(gateway.Instances,
				signed.GatewayInstance{ID: causeway.InstanceID(fmt.Sprint("i-", slot+1)), Slot: causeway.Slot(slot), ChannelPort: port})
			s.doc.Gateways = []signed.Gateway{gateway}
			s.publish()
			published := time.Now()
			time.Sleep(3 * time.Second)
			mu.Lock()
			if at, ok := first[fmt.Sprint("192.0.2.1:", port)]; !ok || at.Before(published) {
				t.Errorf("slot %d: not dialled 3 s after the document that names it", slot)
			}
			mu.Unlock()
		}
		cancel()
		<-done
	})
}

func TestBackoffStartsOverAfterReset(t *testing.T) {
	var b backoff
	for range 20 {
		b.next()
	}
	if b.bound != redialMost {
		t.Errorf("bound %v, want %v", b.bound, redialMost)
	}
	b.reset()
	if d := b.next(); d > redialFirst+time.Millisecond {
		t.Errorf("first wait after a reset is %v", d)
	}
}

func TestMissingRoleCertificateIsRetriedEachMinute(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	s.doc.Gateways = []signed.Gateway{{Name: "gw", ServiceName: testService, ServicePort: 443, Address: "192.0.2.1", ServiceCAs: [][]byte{s.ca.cert.Raw},
		Instances: []signed.GatewayInstance{{ID: "i-1", ChannelPort: 10124}}}}
	s.publish()
	synctest.Test(t, func(t *testing.T) {
		a := s.agent()
		var mu sync.Mutex
		good, have, tries, dials := a.Certificate, false, 0, 0
		a.Certificate = func() (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if tries++; !have {
				return nil, errors.New("no such file")
			}
			return good()
		}
		a.Dial = func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials++
			return nil, errors.New("refused")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(10*time.Minute + time.Second)
		mu.Lock()
		if tries != 11 || dials != 0 || strings.Count(s.log(), "missing role certificate") != 11 {
			t.Errorf("%d tries, %d dials in ten minutes", tries, dials)
		}
		if n := strings.Count(s.log(), "Maintaining connections..."); n != 10 {
			t.Errorf("%d lines about the connections in ten minutes", n)
		}
		have = true
		mu.Unlock()
		a.Reload()
		time.Sleep(10 * time.Second)
		mu.Lock()
		if dials == 0 {
			t.Error("no dial after the certificate came")
		}
		mu.Unlock()
		cancel()
		<-done
	})
}

func TestExpiredRoleCertificateIsNotUsed(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	der, key := s.ca.issue(t, "cp-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	src := newCertificateSource(func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	}, slog.New(slog.NewTextHandler(s, nil)), time.Now)
	src.read()
	if c, err := src.state(); c != nil || err == nil {
		t.Errorf("certificate %v, error %v", c, err)
	}
}

func TestBadFieldsAreNamed(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	for _, tt := range []struct {
		field  string
		change func(a *Agent)
	}{
		{"ID", func(a *Agent) { a.ID = "" }},
		{"Site", func(a *Agent) { a.Site = "" }},
		{"ConnectionID", func(a *Agent) { a.ConnectionID = "" }},
		{"SiteKey", func(a *Agent) { a.SiteKey = signed.PublicKey{} }},
		{"DocumentsDir", func(a *Agent) { a.DocumentsDir = "" }},
		{"Certificate", func(a *Agent) { a.Certificate = nil }},
		{"Connections", func(a *Agent) { a.Connections = 5 }},
		{"DrainTimeout", func(a *Agent) { a.DrainTimeout = -1 }},
	} {
		a := s.agent()
		tt.change(a)
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
}

func TestAdminHandler(t *testing.T) {
	s := newSite(t, "http://127.0.0.1:1")
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	a := s.agent()
	h := a.AdminHandler()
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	if get("/livez").Code != 200 || get("/readyz").Code != 503 || get("/status").Code != 200 {
		t.Error("before Run: want alive, not ready")
	}
	s.publish()
	run(t, a)
	await(t, "ready", func() bool { return get("/readyz").Code == 200 })
	await(t, "all connections", func() bool { return i.connections() == 2 && a.Status().Channels[0].Connected == 2 })
	var st Status
	if err := json.Unmarshal(get("/status").Body.Bytes(), &st); err != nil || st.State != "Connected" || st.Channels[0].Instance != "i-1" {
		t.Errorf("%v: %+v", err, st)
	}
	for _, want := range []string{`causeway_connpoint_channel_connections{gateway="gw",slot="0"} 2`, "causeway_connpoint_document_generation 1", `causeway_connpoint_server_reachable{server="app"} 1`} {
		if body := get("/metrics").Body.String(); !strings.Contains(body, want) {
			t.Errorf("metrics lack %s:\n%s", want, body)
		}
	}
	for _, secret := range []string{"secret", "PRIVATE"} {
		if strings.Contains(get("/status").Body.String(), secret) {
			t.Errorf("status shows %s", secret)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("POST", "/status", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /status = %d", w.Code)
	}
}

func TestRequestLineShape(t *testing.T) {
	b := newBench(t, answering(t, ok).url(), nil)
	in := b.do("GET", "/app/x?token=hush")
	want := fmt.Sprintf("MessageID: %s RequestURI: /app/x?… EndpointName: app ResponseHeader: HTTP/1.1 200 ~~ ResponseBodySize: 2 ElapsedTime: ", in.id)
	if got := b.log.String(); !strings.Contains(got, want) || strings.Contains(got, "hush") {
		t.Errorf("log %s lacks %s, or shows the query", got, want)
	}
	if got := shownTarget([]byte("/a\x1b[31m\xff" + strings.Repeat("b", 500))); strings.ContainsRune(got, 0x1b) || strings.IndexByte(got, 0xff) >= 0 || len(got) > 300 {
		t.Errorf("target shown as %q", got)
	}
}
