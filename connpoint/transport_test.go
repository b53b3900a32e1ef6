package connpoint

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// A front is the devices' port of an instance, as far as channels come there.
type front struct {
	i     *instance
	ln    net.Listener
	outer tls.Certificate // of the WebSocket
	plain bool            // it takes no channels by ALPN: a middle box is in between

	mu    sync.Mutex
	asked []string // paths and hosts of WebSocket requests
	conns []net.Conn
}

// newFront makes the devices' port of i. outer is the CA of the certificate around WebSockets.
func (s *site) newFront(i *instance, outer *testCA, plain bool) *front {
	s.t.Helper()
	ln, err := net.Listen("tcp", cmp.Or(s.listen, "127.0.0.1:0"))
	if err != nil {
		s.t.Fatal(err)
	}
	f := &front{i: i, ln: ln, plain: plain, outer: serverCertificate(s.t, outer, testService)}
	ctx, stop := context.WithCancel(s.t.Context())
	i.work.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, raw)
			f.mu.Unlock()
			i.work.Go(func() { defer raw.Close(); f.serve(ctx, raw) })
		}
	})
	s.t.Cleanup(func() { stop(); f.close() })
	return f
}

func (f *front) close() {
	f.ln.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
}

func serverCertificate(t testing.TB, ca *testCA, names ...string) tls.Certificate {
	der, key := ca.issue(t, "front", func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (f *front) port() int { return f.ln.Addr().(*net.TCPAddr).Port }

func (f *front) serve(ctx context.Context, raw net.Conn) {
	proto := channel.ALPN(f.i.welcome.Slot)
	c := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if !f.plain && slices.Contains(h.SupportedProtos, proto) {
			config := f.i.config.Clone()
			config.NextProtos = []string{proto}
			return config, nil
		}
		return &tls.Config{Certificates: []tls.Certificate{f.outer}, NextProtos: []string{"http/1.1"}}, nil
	}})
	if c.HandshakeContext(ctx) != nil {
		return
	}
	if c.ConnectionState().NegotiatedProtocol == proto {
		_ = f.i.pool.Serve(ctx, c, channel.SlotPort)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(f.webSocket), BaseContext: func(net.Listener) context.Context { return ctx }}
	_ = srv.Serve(&onceListener{conn: c})
	<-ctx.Done()
}

func (f *front) webSocket(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.Path+" of "+r.Host)
	f.mu.Unlock()
	if slot, ok := channel.ParseWebSocketPath(r.URL.Path); !ok || slot != f.i.welcome.Slot {
		http.Error(w, "no", http.StatusNotFound)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{channel.WebSocketProtocol}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	c := tls.Server(websocket.NetConn(r.Context(), ws, websocket.MessageBinary), f.i.config)
	if c.HandshakeContext(r.Context()) == nil {
		_ = f.i.pool.Serve(r.Context(), c, channel.SlotPort)
	}
}

// onceListener accepts one connection.
type onceListener struct{ conn net.Conn }

func (l *onceListener) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *onceListener) Close() error   { return nil }
func (l *onceListener) Addr() net.Addr { return &net.TCPAddr{} }

// transportOf is the transport of the only slot.
func transportOf(a *Agent) (channel.Transport, ChannelStatus) {
	all := a.Status().Channels
	if len(all) == 0 {
		return "", ChannelStatus{}
	}
	return all[0].Transport, all[0]
}

// connected counts the sessions of the only slot as the agent sees them.
func connected(a *Agent) int { _, st := transportOf(a); return st.Connected }

func TestEachTransportCarriesChannels(t *testing.T) {
	for _, transport := range channel.Transports {
		t.Run(string(transport), func(t *testing.T) {
			s := newSite(t, echoServer(t).URL)
			i := s.newInstance(3, "i-1", s.ca, testService)
			f := s.newFront(i, s.ca, false)
			g := s.gateway("gw", i)
			g.ServicePort = f.port()
			s.doc.Gateways = []signed.Gateway{g}
			s.publish()
			a := s.agent()
			a.Transports = []channel.Transport{transport}
			stop := run(t, a)
			await(t, "two connections", func() bool { return i.connections() == 2 && connected(a) == 2 })
			if got, st := transportOf(a); got != transport || len(st.Better) != 0 || st.Address != (aim{gateway: g, instance: g.Instances[0]}).place(transport) {
				t.Errorf("status says %+v, want %s", st, transport)
			}
			for _, n := range []int{0, 1000, 3 << 20} {
				body := strings.Repeat("x", n)
				d, err := s.exchange(i, "POST", "/app/echo", []byte(body), true)
				if err != nil || d.body.String() != body {
					t.Errorf("a body of %d bytes came back with %d: %v", n, d.body.Len(), err)
				}
			}
			stop()
			await(t, "the end of the connections", func() bool { return i.connections() == 0 })
			if transport == channel.WebSocket && !slices.Contains(f.asked, fmt.Sprintf("/causeway-channel/1/3 of %s:%d", testService, f.port())) {
				t.Errorf("asked for %q", f.asked)
			}
		})
	}
}

// The outer TLS may be anybody's whom the administrator trusts; the inner one is the instance's in any case.
func TestMiddleBoxMayEndTheTLSAroundTheWebSocketOnly(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		s := newSite(t, okServer(t))
		i := s.newInstance(0, "i-1", s.ca, testService)
		box := newTestCA(t, "middle box")
		f := s.newFront(i, box, true)
		g := s.gateway("gw", i)
		g.ServicePort = f.port()
		s.doc.Gateways = []signed.Gateway{g}
		s.publish()
		a := s.agent()
		a.Transports = []channel.Transport{channel.SinglePort, channel.WebSocket}
		if trusted {
			a.ExtraCAs = x509.NewCertPool()
			a.ExtraCAs.AddCert(box.cert)
		}
		stop := run(t, a)
		if !trusted {
			await(t, "an error that names the setting", func() bool { return strings.Contains(s.log(), "extra_ca_file") })
			stop()
			continue
		}
		await(t, "two connections", func() bool { return i.connections() == 2 && connected(a) == 2 })
		got, st := transportOf(a)
		if got != channel.WebSocket || len(st.Better) != 1 || st.Better[0].Transport != channel.SinglePort || !strings.Contains(st.Better[0].Error, "TLS") {
			t.Errorf("status says %+v, want a WebSocket because TLS ends elsewhere", st)
		}
		if text := s.log(); !strings.Contains(text, "channel up by a lesser transport") || !strings.Contains(text, "single-port: ") {
			t.Error("the log does not say why the better transport is not in use")
		}
		stop()
	}
}

// A gateway with a certificate that the site does not know is no box on the way, whose CA would help.
func TestWrongServiceCertificateHasItsHint(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		s := newSite(t, okServer(t))
		other := newTestCA(t, "self-signed")
		i := s.newInstance(0, "i-1", other, testService)
		f := s.newFront(i, other, false)
		f.outer = i.config.Certificates[0]
		g := s.gateway("gw", i)
		g.ServicePort = f.port()
		if pinned {
			g.ServiceCAs, g.ServiceCertificateSHA256 = nil, []string{strings.Repeat("ab", 32)}
		}
		s.doc.Gateways = []signed.Gateway{g}
		s.publish()
		a := s.agent()
		a.Transports = channel.Transports
		stop := run(t, a)
		await(t, "failures of all transports", func() bool { _, st := transportOf(a); return len(st.Better) == 3 })
		_, st := transportOf(a)
		if hint := Hints(st.Better); !strings.HasPrefix(hint, "if this is the gateway's own certificate") {
			t.Errorf("the hint for %+v is %q", st.Better, hint)
		}
		stop()
		if strings.Contains(s.log(), "extra_ca_file") || !strings.Contains(s.log(), "export the gateway's folder again") {
			t.Errorf("the log says: %s", s.log())
		}
	}
}

func TestPlacesOfAllKinds(t *testing.T) {
	for _, tt := range []struct {
		gateway, instance string
		port              int
		slot, single      string
	}{
		{"gw.test", "", 0, "gw.test:10127", "gw.test:443"},
		{"gw.test", "10.0.0.3", 8443, "10.0.0.3:10127", "10.0.0.3:8443"},
		{"2001:db8::1", "", 443, "[2001:db8::1]:10127", "[2001:db8::1]:443"},
		{"[2001:db8::1]", "[::1]", 443, "[::1]:10127", "[::1]:443"},
	} {
		a := aim{signed.Gateway{Address: tt.gateway, ServicePort: tt.port}, signed.GatewayInstance{Slot: 3, Address: tt.instance, ChannelPort: 10127}}
		if got := a.place(channel.SlotPort); got != tt.slot {
			t.Errorf("slot port at %q, want %q", got, tt.slot)
		}
		for _, other := range []channel.Transport{channel.SinglePort, channel.WebSocket} {
			if got := a.place(other); got != tt.single {
				t.Errorf("%s at %q, want %q", other, got, tt.single)
			}
		}
	}
}

// A testProxy is an HTTP proxy that knows one password.
type testProxy struct {
	*httptest.Server
	mu       sync.Mutex
	tunnels  []string
	password string
	resolve  func(address string) string
}

func newTestProxy(t *testing.T, secure bool, resolve func(string) string) *testProxy {
	p := &testProxy{password: "right", resolve: resolve}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.connect))
	if secure {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Close)
	return p
}

func (p *testProxy) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "no", http.StatusMethodNotAllowed)
		return
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("cp:"+p.password))
	if r.Header.Get("Proxy-Authorization") != want {
		w.Header().Set("Proxy-Authenticate", `Basic realm="test"`)
		http.Error(w, "who are you", http.StatusProxyAuthRequired)
		return
	}
	p.mu.Lock()
	p.tunnels = append(p.tunnels, r.Host)
	p.mu.Unlock()
	to, err := net.Dial("tcp", p.resolve(r.Host))
	if err != nil {
		http.Error(w, "nobody", http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	from, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(to, from); to.Close() }()
	_, _ = io.Copy(from, to)
	from.Close()
}

func (p *testProxy) tunnelled() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.tunnels)
}

func TestEachTransportGoesThroughAProxy(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, transport := range channel.Transports {
			t.Run(fmt.Sprintf("%s, TLS to the proxy %v", transport, secure), func(t *testing.T) {
				s := newSite(t, okServer(t))
				i := s.newInstance(2, "i-1", s.ca, testService)
				f := s.newFront(i, s.ca, false)
				g := s.gateway("gw", i)
				g.ServicePort, g.Address = f.port(), "gw.test"
				s.doc.Gateways = []signed.Gateway{g}
				s.publish()
				p := newTestProxy(t, secure, func(a string) string { return strings.Replace(a, "gw.test", "127.0.0.1", 1) })
				a := s.agent()
				a.Transports = []channel.Transport{transport}
				a.Proxy = &Proxy{URL: strings.Replace(p.URL, "127.0.0.1", "example.com", 1), Credentials: func() (string, string, error) { return "cp", "right", nil }}
				a.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					if !strings.HasPrefix(address, "example.com:") {
						return nil, fmt.Errorf("%s was dialled past the proxy", address)
					}
					return new(net.Dialer).DialContext(ctx, network, strings.Replace(address, "example.com", "127.0.0.1", 1))
				}
				if secure {
					a.ExtraCAs = x509.NewCertPool()
					a.ExtraCAs.AddCert(p.Certificate())
				}
				stop := run(t, a)
				await(t, "two connections", func() bool { return i.connections() == 2 && connected(a) == 2 })
				if d, err := s.exchange(i, "GET", "/app/x", nil, true); err != nil || !strings.HasPrefix(d.head, "HTTP/1.1 200") {
					t.Errorf("answer %q: %v", d.head, err)
				}
				want := (aim{gateway: g, instance: g.Instances[0]}).place(transport)
				if got := p.tunnelled(); !slices.Contains(got, want) {
					t.Errorf("tunnels to %v, want %s", got, want)
				}
				if _, st := transportOf(a); st.Proxy != a.Proxy.URL || !strings.Contains(s.log(), "proxy="+st.Proxy) {
					t.Errorf("status and log do not name the proxy: %q", st.Proxy)
				}
				stop()
				if strings.Contains(s.log(), "right") {
					t.Error("the log holds the password")
				}
			})
		}
	}
}

func TestProxyFaultsAreSaidClearly(t *testing.T) {
	broken := func(answer string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, answer)
		}
	}
	for name, tt := range map[string]struct {
		serve      func(net.Conn)
		want, hint string
	}{
		"wrong password": {broken("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), "407 Proxy Authentication Required", "proxy_credentials_file"},
		"forbidden":      {broken("HTTP/1.1 403 Forbidden\r\n\r\n"), "403 Forbidden", "have the proxy allow CONNECT"},
		"unreachable":    {broken("HTTP/1.1 503 Service Unavailable\r\n\r\n"), "503 Service Unavailable", "does not reach this host"},
		"no HTTP":        {broken("SSH-2.0-x\r\n"), "answer to CONNECT", ""},
		"closed":         {broken(""), "answer to CONNECT", ""},
		"endless answer": {broken("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 2*maxProxyAnswerBytes) + "\r\n\r\n"), "too long", ""},
		"early bytes":    {broken("HTTP/1.1 200 OK\r\n\r\nhello"), "more than its answer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newRawServer(t, func(_ *rawServer, _ int, c net.Conn) { tt.serve(c) })
			u, _ := url.Parse(srv.url())
			a := &Agent{Proxy: &Proxy{URL: "http://cp:hidden@proxy.test:" + u.Port()}}
			a.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, u.Host)
			}
			_, err := a.dialOut(t.Context(), "gw.test:443")
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.hint != "" && !strings.Contains(causeway.Hint(err), tt.hint) {
				t.Errorf("error %v, hint %q; want %q, %q", err, causeway.Hint(err), tt.want, tt.hint)
			}
			if err != nil && (strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "proxy.test")) {
				t.Errorf("error %v: it should name the proxy, and not the password", err)
			}
		})
	}
}

// A proxy that takes connections and never answers must not hold a dial longer than its time.
func TestProxyThatNeverAnswersIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []net.Conn
		s := raceSet(t, func(context.Context, string) (net.Conn, error) {
			a, b := net.Pipe()
			ends = append(ends, b)
			go func() { _, _ = io.Copy(io.Discard, b) }()
			return a, nil
		})
		s.owner.agent.Proxy = &Proxy{URL: "http://proxy.test:3128"}
		start := time.Now()
		_, err := s.race(t.Context(), []channel.Transport{channel.SlotPort}, 0)
		if err == nil || !strings.Contains(err.Error(), "no answer in time") || time.Since(start) != dialTimeout {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		for _, c := range ends {
			c.Close()
		}
		s.owner.work.Wait()
	})
}

func TestNoProxyMeansADirectDial(t *testing.T) {
	for _, tt := range []struct {
		noProxy, place string
		direct         bool
	}{
		{"", "gw.test:443", false},
		{"gw.test", "gw.test:443", true},
		{".test", "gw.test:10124", true},
		{"gw.test:443", "gw.test:10124", false},
		{"10.0.0.0/8", "10.1.2.3:443", true},
		{"10.0.0.0/8", "11.1.2.3:443", false},
		{"2001:db8::/32", "[2001:db8::5]:443", true},
		{"*", "gw.test:443", true},
	} {
		u, err := (&Proxy{URL: "http://proxy.test:3128", NoProxy: tt.noProxy}).proxyFor(tt.place)
		if err != nil || (u == nil) != tt.direct {
			t.Errorf("no_proxy %q, %s: proxy %v, %v", tt.noProxy, tt.place, u, err)
		}
	}
}

// A proxy that was asked for is used for a loopback address, too, unless it is named; that of the environment is not.
func TestLoopbackAddressesAndProxies(t *testing.T) {
	for _, tt := range []struct {
		noProxy, place      string
		environment, direct bool
	}{
		{"", "127.7.7.7:443", false, false},
		{"", "localhost:443", false, false},
		{"", "[::1]:443", false, false},
		{"", "127.7.7.7:443", true, true},
		{"", "localhost:443", true, true},
		{"127.0.0.0/8", "127.7.7.7:443", false, true},
		{"x.test, 127.7.7.7", "127.7.7.7:443", false, true},
		{"127.7.7.7:443", "127.7.7.7:10124", false, false},
		{"127.7.7.7:443", "127.7.7.7:443", false, true},
		{"[::1]", "[::1]:443", false, true},
		{"::1", "localhost:443", false, false},
		{"LOCALHOST", "localhost:443", false, true},
		{"*", "127.7.7.7:443", false, true},
	} {
		u, err := (&Proxy{URL: "http://proxy.test:3128", NoProxy: tt.noProxy, Environment: tt.environment}).proxyFor(tt.place)
		if err != nil || (u == nil) != tt.direct {
			t.Errorf("no_proxy %q, %s, of the environment %v: proxy %v, %v", tt.noProxy, tt.place, tt.environment, u, err)
		}
	}
}

func TestNoProxyIsChecked(t *testing.T) {
	for _, good := range []string{"", "*", "gw.test", ".test, *.example.com", "10.0.0.0/8,gw.test:443", "2001:db8::/32", "::1", "[::1]:443", "192.0.2.1:80"} {
		if err := (&Proxy{NoProxy: good}).CheckNoProxy(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"10.0.0.0/99", "http://x", "a b", "gw.test:99999", "gw.test:x", "ok.test,http://u@x"} {
		if err := (&Proxy{NoProxy: bad}).CheckNoProxy(); err == nil || causeway.Hint(err) == "" {
			t.Errorf("%q: error %v, want one with a hint", bad, err)
		}
	}
}

// https:// for a proxy that speaks plain HTTP is said to be so, whether it waits for a request, hangs up or complains.
func TestProxyWithoutTLSIsSaidClearly(t *testing.T) {
	for name, tt := range map[string]struct {
		serve func(net.Conn)
		want  string
	}{
		"silent":   {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "no TLS answer within 5s"},
		"hangs up": {func(c net.Conn) { _, _ = c.Read(make([]byte, 64<<10)); c.Close() }, "does not answer with TLS"},
		"complains": {func(c net.Conn) {
			go io.Copy(io.Discard, c)
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, "does not answer with TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var far net.Conn
				a := &Agent{Proxy: &Proxy{URL: "https://proxy.test:3128"}}
				a.Dial = func(context.Context, string, string) (net.Conn, error) {
					near, other := net.Pipe()
					far = other
					go tt.serve(far)
					return near, nil
				}
				_, err := a.dialOut(t.Context(), "gw.test:443")
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(causeway.Hint(err), "http://") || strings.ContainsRune(err.Error(), '\n') {
					t.Errorf("error %v, hint %q; want %q on one line", err, causeway.Hint(err), tt.want)
				}
				far.Close()
				synctest.Wait()
			})
		})
	}
}

func TestProxySettingsAreChecked(t *testing.T) {
	for _, good := range []string{"http://proxy.test:3128", "https://proxy.test", "http://u:p@[::1]:3128/"} {
		if err := (&Proxy{URL: good}).Check(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "proxy.test:3128", "socks5://proxy.test", "http://", "http://proxy.test:99999", "http://proxy.test:0", "http://u:hidden@proxy.test/path", "http://u:hidden@pro xy", "http://proxy.test?x"} {
		err := (&Proxy{URL: bad}).Check()
		if err == nil || causeway.Hint(err) == "" || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: error %v; want one with a hint and no password", bad, err)
		}
	}
}
