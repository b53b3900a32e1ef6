package connpoint

import (
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// A broken gateway asks for all kinds of places. Whatever it writes, the connection point either refuses or asks its
// own server, below the prefix of its own document.
func TestRequestsCannotChooseTheirServer(t *testing.T) {
	forbidden := newRawServer(t, func(s *rawServer, _ int, c net.Conn) { s.readHead(c) })
	victim := strings.TrimPrefix(forbidden.url(), "http://")
	srv := answering(t, ok)
	for _, tt := range []struct{ name, line, host string }{
		{"absolute URI of another host", "GET http://" + victim + "/ HTTP/1.1", testService},
		{"absolute URI of loopback with its Host", "GET http://" + victim + "/ HTTP/1.1", victim},
		{"absolute URI of the metadata service", "GET http://169.254.169.254/latest HTTP/1.1", "169.254.169.254"},
		{"Host of loopback", "GET /app/ HTTP/1.1", victim},
		{"Host of loopback by name", "GET /app/ HTTP/1.1", "localhost"},
		{"Host of the metadata service", "GET /latest/meta-data HTTP/1.1", "169.254.169.254"},
		{"Host of the server itself", "GET / HTTP/1.1", strings.TrimPrefix(srv.url(), "http://")},
		{"Host with user information", "GET /app/ HTTP/1.1", testService + "@" + victim},
		{"another port of our name", "GET /app/ HTTP/1.1", testService + ":8080"},
		{"@ in the target", "GET @" + victim + "/ HTTP/1.1", testService},
		{"@ in the path", "GET /app@" + victim + "/ HTTP/1.1", testService},
		{"@ in an absolute URI", "GET http://" + testService + "@" + victim + "/ HTTP/1.1", testService},
		{"target without a slash", "GET app/ HTTP/1.1", testService},
		{"network path", "GET //" + victim + "/ HTTP/1.1", testService},
		{"CONNECT", "CONNECT " + victim + " HTTP/1.1", victim},
		{"another scheme", "GET file:///etc/passwd HTTP/1.1", testService},
		{"gopher", "GET gopher://" + victim + "/_x HTTP/1.1", testService},
		{"dot segments", "GET /app/../admin HTTP/1.1", testService},
		{"encoded dot segments", "GET /app/%2e%2e/admin HTTP/1.1", testService},
		{"encoded slash and dots", "GET /app/..%2fadmin HTTP/1.1", testService},
		{"backslash", `GET /app/..\admin HTTP/1.1`, testService},
		{"double slash", "GET /app//" + victim + "/ HTTP/1.1", testService},
		{"name that is not published", "GET /other/ HTTP/1.1", testService},
		{"name that begins like ours", "GET /application/ HTTP/1.1", testService},
		{"asterisk", "OPTIONS * HTTP/1.1", testService},
		{"TRACE", "TRACE /app/ HTTP/1.1", testService},
		{"line break in the target", "GET /app/\r\nHost: x HTTP/1.1", testService},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, srv.url()+"/only/here", nil)
			in := b.request("GET", "/app/")
			in.head = []byte(tt.line + "\r\nHost: " + tt.host + "\r\n\r\n")
			b.serve(in)
			if in.answer != "" || in.refusals != 1 || in.delivery != channel.Final || in.refused < 100 {
				t.Errorf("answer %q, refused %d times with %v %d", in.answer, in.refusals, in.refused, in.delivery)
			}
		})
	}
	if forbidden.connections() > 0 || srv.connections() > 0 {
		t.Errorf("%d connections to the forbidden place, %d to the server", forbidden.connections(), srv.connections())
	}
}

// A Host header and forwarding fields that policy lets pass still choose nothing.
func TestServerIsAlwaysThatOfTheDocument(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url()+"/only/here", nil)
	b.do("GET", "/app/x", "X-Forwarded-Host: 127.0.0.1", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Forwarded: host=127.0.0.1").wantAnswer(t, 200, "ok")
	if head := srv.lastHead(); !strings.HasPrefix(head, "GET /only/here/x HTTP/1.1\r\n") || strings.Contains(head, "/admin") || strings.Contains(head, "host=127") {
		t.Errorf("server got %q", head)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	forbidden := newRawServer(t, func(s *rawServer, _ int, c net.Conn) { s.readHead(c) })
	for _, status := range []string{"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "305 Use Proxy"} {
		srv := answeringOnce(t, "HTTP/1.1 "+status+"\r\nLocation: "+forbidden.url()+"/secret\r\nContent-Length: 0\r\n\r\n")
		in := newBench(t, srv.url(), nil).do("GET", "/app/x")
		if !strings.HasPrefix(in.answer, "HTTP/1.1 "+status[:3]) || strings.Contains(in.answer, "127.0.0.1") {
			t.Errorf("%s became %q", status, in.answer)
		}
	}
	if forbidden.connections() > 0 {
		t.Error("a redirect was followed")
	}
}

func TestNoProxyEnvironment(t *testing.T) {
	proxy := newRawServer(t, func(s *rawServer, _ int, c net.Conn) { s.readHead(c) })
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, proxy.url())
	}
	newBench(t, answering(t, ok).url(), nil).do("GET", "/app/x").wantAnswer(t, 200, "ok")
	if proxy.connections() > 0 {
		t.Error("a proxy from the environment was used")
	}
}

// What a name resolves to is judged on the address that is connected to, so that an answer of the name server that
// changes after a check (DNS rebinding) gains nothing.
func TestResolvedAddressIsJudgedAtTheDial(t *testing.T) {
	for _, tt := range []struct {
		address string
		good    bool
	}{
		{"10.0.0.5:80", true}, {"[fd00::5]:443", true}, {"127.0.0.1:8080", true}, // a server on the same host
		{"169.254.169.254:80", false}, {"[::ffff:169.254.169.254]:80", false}, {"[fe80::1]:80", false}, {"[fe80::1%eth0]:80", false},
		{"0.0.0.0:80", false}, {"[::]:80", false}, {"224.0.0.1:80", false}, {"[ff02::1]:80", false}, {"255.255.255.255:80", false},
		{"metadata.internal:80", false},
	} {
		if err := controlAddress("tcp", tt.address, nil); (err == nil) != tt.good {
			t.Errorf("%s: %v, want good %v", tt.address, err, tt.good)
		}
	}
	if err := signed.CheckAddress(netip.MustParseAddr("fd00:ec2::254")); err != nil {
		t.Errorf("private IPv6: %v", err)
	}
}

func TestEveryDialResolvesAnew(t *testing.T) {
	srv := answeringOnce(t, "HTTP/1.0 200 OK\r\n\r\nok")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.url(), "http://"))
	b := newBench(t, "http://localhost:"+port, nil)
	for range 2 {
		b.do("GET", "/app/").wantAnswer(t, 200, "ok")
	}
	if b.pool().address != "localhost:"+port {
		t.Errorf("the pool dials %s, want the name as published", b.pool().address)
	}
}

// A compromised gateway is an assumed case: it holds a device's proof and asks for what this device may not.
func TestPolicyIsDecidedAgain(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/public", Methods: []string{"GET", "POST"}, MaxBodyBytes: 4}}
	})
	for _, tt := range []struct {
		name, method, target string
		body                 int64
		code                 causeway.Code
	}{
		{"path", "GET", "/app/private", 0, causeway.CodeConnectorNotPublished},
		{"method", "DELETE", "/app/public", 0, causeway.CodeConnectorForbidden},
		{"body limit", "POST", "/app/public", 5, causeway.CodeConnectorForbidden},
		{"upgrade", "GET", "/app/public", -2, causeway.CodeConnectorForbidden},
		{"answered at the gateway", "GET", "/CCM_Proxy_MutualAuth/ServiceMetadata", 0, causeway.CodeConnectorNotPublished},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := b.request(tt.method, tt.target)
			if tt.body > 0 {
				in = b.request(tt.method, tt.target, "Content-Length: 5")
				in.bodyBytes = tt.body
			}
			in.upgrade = tt.body == -2
			b.serve(in)
			in.wantRefused(t, tt.code, channel.Final)
		})
	}
	if srv.connections() > 0 {
		t.Error("a refused request reached the server")
	}
}

func TestBodyLongerThanAllowedIsCut(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		s.readHead(c)
	})
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", MaxBodyBytes: 1000}}
	})
	in := b.request("POST", "/app/x")
	in.bodyBytes, in.body = -1, strings.NewReader(strings.Repeat("x", 5000))
	b.serve(in)
	in.wantRefused(t, causeway.CodeConnectorForbidden, channel.Final)
}

func TestStaleDocumentServesNobody(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), nil)
	der, _ := b.ca.issue(t, "pc-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * 24 * time.Hour) })
	b.who.Evidence = identity.EncodeEvidence([][]byte{der})
	ends := b.handler.config.Load().header.ValidUntil
	b.handler.now = func() time.Time { return ends.Add(time.Minute) }
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	b.handler.now = func() time.Time { return ends.Add(causeway.DocumentGrace + time.Minute) }
	b.do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorForbidden, channel.Final)
	if !strings.Contains(b.log.String(), "the signed document ended") {
		t.Errorf("the log does not say why:\n%s", b.log)
	}
}

func TestUnknownGatewayReachesNothing(t *testing.T) {
	b := newBench(t, "http://127.0.0.1:1", nil)
	other := &handler{b.handler.inside, "another"}
	in := b.request("GET", "/app/x")
	other.serve(in)
	in.wantRefused(t, causeway.CodeConnectorNotPublished, channel.Final)
}

func TestBadDocumentsAreRefusedWhole(t *testing.T) {
	good := newBench(t, "http://127.0.0.1:1", nil)
	for _, tt := range []struct {
		name   string
		change func(d *signed.ConnectionPointDocument)
	}{
		{"publication without a server", func(d *signed.ConnectionPointDocument) {
			d.Publications = append(d.Publications, policy.Publication{Name: "b"})
		}},
		{"server twice", func(d *signed.ConnectionPointDocument) { d.Servers = append(d.Servers, d.Servers[0]) }},
		{"server URL", func(d *signed.ConnectionPointDocument) { d.Servers[0].URL = "ftp://x" }},
		{"host header", func(d *signed.ConnectionPointDocument) { d.Servers[0].HostHeader = "both" }},
		{"identity form", func(d *signed.ConnectionPointDocument) { d.Servers[0].IdentityForms = []string{"iis"} }},
		{"identity form twice", func(d *signed.ConnectionPointDocument) { d.Servers[0].IdentityForms = []string{"nginx", "nginx"} }},
		{"none with another form", func(d *signed.ConnectionPointDocument) { d.Servers[0].IdentityForms = []string{"nginx", "none"} }},
		{"CAs without TLS", func(d *signed.ConnectionPointDocument) { d.Servers[0].CAs = "x" }},
		{"CAs that are none", func(d *signed.ConnectionPointDocument) { d.Servers[0].URL, d.Servers[0].CAs = "https://x", "x" }},
		{"client certificate without key", func(d *signed.ConnectionPointDocument) {
			d.Servers[0].URL, d.Servers[0].ClientCertificate = "https://x", "x"
		}},
		{"device CA", func(d *signed.ConnectionPointDocument) {
			d.DeviceTrust.CAs = []identity.CA{{Name: "x", Certificate: []byte("x")}}
		}},
		{"reserved name", func(d *signed.ConnectionPointDocument) {
			d.Publications[0].Name, d.Servers[0].Name = "CCM_STS", "CCM_STS"
		}},
		{"gateway without trust", func(d *signed.ConnectionPointDocument) { d.Gateways[0].ServiceCAs = nil }},
		{"gateway CA", func(d *signed.ConnectionPointDocument) { d.Gateways[0].ServiceCAs = [][]byte{[]byte("x")} }},
		{"gateway pin", func(d *signed.ConnectionPointDocument) { d.Gateways[0].ServiceCertificateSHA256 = []string{"abc"} }},
		{"gateway twice", func(d *signed.ConnectionPointDocument) { d.Gateways = append(d.Gateways, d.Gateways[0]) }},
		{"gateway without address", func(d *signed.ConnectionPointDocument) { d.Gateways[0].Address = "" }},
		{"slot", func(d *signed.ConnectionPointDocument) {
			d.Gateways[0].Instances = []signed.GatewayInstance{{Slot: 16, ID: "x", ChannelPort: 1}}
		}},
		{"slot twice", func(d *signed.ConnectionPointDocument) {
			d.Gateways[0].Instances = []signed.GatewayInstance{{ID: "x", ChannelPort: 1}, {ID: "y", ChannelPort: 2}}
		}},
		{"channel port", func(d *signed.ConnectionPointDocument) { d.Gateways[0].Instances = []signed.GatewayInstance{{ID: "x"}} }},
		{"instance id", func(d *signed.ConnectionPointDocument) {
			d.Gateways[0].Instances = []signed.GatewayInstance{{ChannelPort: 1}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := good.doc
			d.Publications, d.Servers, d.Gateways = append([]policy.Publication(nil), d.Publications...), append([]signed.Server(nil), d.Servers...), append([]signed.Gateway(nil), d.Gateways...)
			tt.change(&d)
			if _, err := newConfig(signed.Header{Generation: 2}, &d, nil, &trafficBook{}); err == nil {
				t.Error("it was taken over")
			}
		})
	}
}
