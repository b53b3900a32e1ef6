package connpoint

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// parseHead reads a head as Go's own server would.
func parseHead(t *testing.T, head string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		t.Fatalf("head %q: %v", head, err)
	}
	return r
}

func TestServerSeesWhoAsksAndHow(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url()+"/base", nil)
	in := b.do("GET", "/app/x%2by/./z?q=%2F&r", "Accept: */*", "X_Under_Score: stays", "Range: bytes=0-1",
		"CCMClientID: GUID:1", "CCMClientIDSignature: s", "CCMClientTimestamp: t", "CCMClientTimestampsSignature: u")
	in.wantAnswer(t, 200, "ok")
	r := parseHead(t, srv.lastHead())
	if want := "/base/x%2by/./z?q=%2F&r"; r.RequestURI != want {
		t.Errorf("target %q, want %q", r.RequestURI, want)
	}
	if want := strings.TrimPrefix(srv.url(), "http://"); r.Host != want {
		t.Errorf("Host %q, want %q", r.Host, want)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Trim(r.Header.Get("Client-Cert"), ":"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := x509.ParseCertificate(der); err != nil || c.Subject.CommonName != "pc-1" {
		t.Errorf("Client-Cert is of %v, %v", c.Subject, err)
	}
	for name, want := range map[string]string{
		"X-Causeway-Device-Id": `^pc-1$`,
		"Forwarded":            `^for="203\.0\.113\.9:50000";proto=https;host="gw\.example\.com";by=_0123456789ab$`,
		"X-Request-Id":         "^" + in.id.String() + "$",
		"Traceparent":          "^00-" + in.id.String() + "-[0-9a-f]{16}-00$",
		"Range":                `^bytes=0-1$`, "Ccmclientid": `^GUID:1$`, "Ccmclientidsignature": `^s$`,
		"Ccmclienttimestamp": `^t$`, "Ccmclienttimestampssignature": `^u$`,
	} {
		got := r.Header.Values(name)
		if len(got) != 1 || !regexp.MustCompile(want).MatchString(got[0]) {
			t.Errorf("%s is %q, want one %s", name, got, want)
		}
	}
	if !strings.Contains(srv.lastHead(), "X_Under_Score: stays\r\n") {
		t.Error("a field with underscores that is nobody's identity was dropped")
	}
}

func TestVerbsPassUnchanged(t *testing.T) {
	srv := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	b := newBench(t, srv.url(), nil)
	for _, method := range []string{"GET", "HEAD", "POST", "CCM_POST", "BITS_POST", "PROPFIND", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		b.do(method, "/app/x").wantAnswer(t, 200, "")
		if !strings.HasPrefix(srv.lastHead(), method+" /x HTTP/1.1\r\n") {
			t.Errorf("%s became %.40q", method, srv.lastHead())
		}
	}
}

func TestHostOutsideIsSentWhenAsked(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) { d.Servers[0].HostHeader = signed.HostOutside })
	b.do("GET", "/app/").wantAnswer(t, 200, "ok")
	if r := parseHead(t, srv.lastHead()); r.Host != testService {
		t.Errorf("Host %q, want %q", r.Host, testService)
	}
}

// A broken gateway may forget what it has to drop. Whatever it passes on under a name that speaks of the device's
// identity or the way it came, in any spelling, does not reach a server.
func TestForgedFieldsAreDropped(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) { d.Servers[0].IdentityForms = []string{"nginx", "apache"} })
	var forged []string
	for _, name := range append(identityNames, "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via", "Proxy-Authorization", "Proxy",
		"TE", "Keep-Alive", "Expect", "X-Original-URL", "Connection") {
		if name == "Expect" {
			forged = append(forged, "Expect: 100-continue")
			continue
		}
		if name == "Connection" {
			forged = append(forged, "Connection: X-Causeway-Device-Id, Client-Cert, X-Mine\r\nX-Mine: forged")
			continue
		}
		forged = append(forged, name+": forged", strings.ReplaceAll(name, "-", "_")+": forged", strings.ToUpper(name)+": forged", strings.ToLower(strings.ReplaceAll(name, "-", "_"))+": forged")
	}
	for _, line := range forged {
		in := b.do("GET", "/app/x", line)
		if in.refused != 0 {
			continue // what cannot even be parsed did not reach the server either
		}
		in.wantAnswer(t, 200, "ok")
		if head := srv.lastHead(); strings.Contains(head, "forged") || strings.Contains(head, "100-continue") {
			t.Errorf("%s reached the server:\n%s", line, head)
		}
	}
	if got := parseHead(t, srv.lastHead()).Header.Get("X-Causeway-Device-Id"); got != "pc-1" {
		t.Errorf("naming our field in Connection left %q", got)
	}
}

func TestOurNamesAreInTheSharedDropList(t *testing.T) {
	for _, name := range identityNames {
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			if !http1.DroppedInward(spelling) || !ownName([]byte(spelling)) {
				t.Errorf("%s passes from outside", spelling)
			}
		}
	}
}

func TestIdentityForms(t *testing.T) {
	srv := answering(t, ok)
	for _, tt := range []struct {
		forms []string
		want  map[string]string
	}{
		{nil, map[string]string{"X-Client-Verify": "", "X-SSL-Client-Verify": ""}},
		{[]string{"none"}, map[string]string{"X-Client-Verify": "", "X-SSL-Client-Verify": ""}},
		{[]string{"nginx"}, map[string]string{"X-Client-Verify": "SUCCESS", "X-Client-DN": "CN=pc-1", "X-SSL-Client-Verify": ""}},
		{[]string{"apache"}, map[string]string{"X-Client-Verify": "", "X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "/CN=pc-1",
			"X-SSL-Client-I-DN": "/CN=Device CA", "X-SSL-Client-M-Serial": "1267"}},
		{[]string{"nginx", "apache"}, map[string]string{"X-Client-Verify": "SUCCESS", "X-SSL-Client-Verify": "SUCCESS"}},
	} {
		b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) { d.Servers[0].IdentityForms = tt.forms })
		b.do("GET", "/app/").wantAnswer(t, 200, "ok")
		h := parseHead(t, srv.lastHead()).Header
		for name, want := range tt.want {
			if got := h.Get(name); got != want {
				t.Errorf("forms %v: %s is %q, want %q", tt.forms, name, got, want)
			}
		}
		if v := h.Get("X-Client-Cert"); v != "" {
			text, err := url.QueryUnescape(v)
			if block, _ := pem.Decode([]byte(text)); err != nil || block == nil || strings.Contains(v, "+") {
				t.Errorf("X-Client-Cert is no URL-encoded PEM: %v %s", err, v)
			}
		}
		if v := h.Get("X-SSL-Client-Cert"); v != "" {
			body, found := strings.CutPrefix(v, "-----BEGIN CERTIFICATE----- ")
			body, found2 := strings.CutSuffix(body, " -----END CERTIFICATE-----")
			if der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, " ", "")); !found || !found2 || err != nil || len(der) == 0 {
				t.Errorf("X-SSL-Client-Cert is no one-line PEM: %s", v)
			}
		}
	}
}

func TestTraceContextContinues(t *testing.T) {
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	id := causeway.NewRequestID()
	for _, tt := range []struct {
		name    string
		parents int
		parent  string
		state   string
		want    string
	}{
		{"continued", 1, "00-" + trace + "-" + parent + "-01", "v=1", "^Traceparent: 00-" + trace + "-[0-9a-f]{16}-01\r\nTracestate: v=1\r\n$"},
		{"begun", 0, "", "v=1", "^Traceparent: 00-" + id.String() + "-[0-9a-f]{16}-00\r\n$"},
		{"two", 2, "00-" + trace + "-" + parent + "-01", "", "^Traceparent: 00-" + id.String()},
		{"upper case", 1, "00-" + strings.ToUpper(trace) + "-" + parent + "-01", "v=1", "^Traceparent: 00-" + id.String() + "-[0-9a-f]{16}-00\r\n$"},
		{"zero trace", 1, "00-" + strings.Repeat("0", 32) + "-" + parent + "-01", "", "^Traceparent: 00-" + id.String()},
		{"zero parent", 1, "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", "", "^Traceparent: 00-" + id.String()},
		{"version ff", 1, "ff-" + trace + "-" + parent + "-01", "", "^Traceparent: 00-" + id.String()},
		{"long state", 1, "00-" + trace + "-" + parent + "-00", "v=" + strings.Repeat("x", 600), "^Traceparent: 00-" + trace + "-[0-9a-f]{16}-00\r\n$"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := string(appendTrace(nil, tt.parents, []byte(tt.parent), []byte(tt.state), id))
			if !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("got %q, want %s", got, tt.want)
			}
			if strings.Contains(got, parent) {
				t.Errorf("%q repeats the parent's span as ours", got)
			}
		})
	}
}

func TestForwardedDoesNotRepeatWhatItCannotRead(t *testing.T) {
	srv := answering(t, ok)
	for _, tt := range []struct{ source, want string }{
		{"203.0.113.9:1", `for="203.0.113.9:1";`},
		{"[2001:db8::1]:443", `for="[2001:db8::1]:443";`},
		{"[::ffff:203.0.113.9]:1", `for="203.0.113.9:1";`},
		{"[fe80::1%eth0]:1", `for="[fe80::1]:1";`},
		{`1.2.3.4";by=x:1`, "for=unknown;"},
		{"", "for=unknown;"},
		{"device.example:1", "for=unknown;"},
	} {
		b := newBench(t, srv.url(), nil)
		b.who.Source = tt.source
		b.do("GET", "/app/").wantAnswer(t, 200, "ok")
		if got := parseHead(t, srv.lastHead()).Header.Get("Forwarded"); !strings.HasPrefix(got, tt.want) {
			t.Errorf("source %q: Forwarded %q, want %q first", tt.source, got, tt.want)
		}
	}
}

func TestWebDAVReferencesAreMapped(t *testing.T) {
	srv := answering(t, ok)
	dav := func(d *signed.ConnectionPointDocument) {
		d.Publications = []policy.Publication{
			{Name: "app", Rules: []policy.Rule{{Path: "/", Methods: []string{"COPY", "MOVE"}}, {Path: "/secret", Methods: []string{"GET"}}}},
			{Name: "other", Rules: []policy.Rule{{Path: "/", Methods: []string{"COPY"}}}},
		}
		d.Servers = append(d.Servers, signed.Server{Name: "other", URL: "http://10.9.9.9"})
	}
	inside := srv.url() + "/base"
	for _, tt := range []struct {
		name, field, value, host string
		want                     string // of the field at the server; "" for a refusal
	}{
		{"absolute", "Destination", "https://gw.example.com/app/b", "", inside + "/b"},
		{"absolute, host kept", "Destination", "https://gw.example.com/app/b", signed.HostOutside, "https://gw.example.com/base/b"},
		{"path", "Destination", "/app/b%20c", "", "/base/b%20c"},
		{"another publication", "Destination", "https://gw.example.com/other/b", "", ""},
		{"another host", "Destination", "https://10.9.9.9/b", "", ""},
		{"an inside URL", "Destination", inside + "/b", "", ""},
		{"plain http", "Destination", "http://gw.example.com/app/b", "", ""},
		{"user information", "Destination", "https://gw.example.com@10.9.9.9/app/b", "", ""},
		{"climbing", "Destination", "https://gw.example.com/app/../other/b", "", ""},
		{"climbing, encoded", "Destination", "/app/%2e%2e/other", "", ""},
		{"where policy says no", "Destination", "/app/secret/x", "", ""},
		{"network path", "Destination", "//10.9.9.9/b", "", ""},
		{"empty", "Destination", "", "", ""},
		{"relative", "Destination", "b", "", ""},
		{"fragment", "Destination", "/app/b#c", "", ""},
		{"tagged list", "If", `<https://gw.example.com/app/b> (<urn:uuid:1> ["etag"]) </app/c> (Not <DAV:no-lock>)`, "",
			`<` + inside + `/b> (<urn:uuid:1> ["etag"]) </base/c> (Not <DAV:no-lock>)`},
		{"tag of somebody else", "If", `<https://example.org/app/b> (<urn:uuid:1>)`, "", `<https://example.org/app/b> (<urn:uuid:1>)`},
		{"tag not closed", "If", `<https://gw.example.com/app/b`, "", `<https://gw.example.com/app/b`},
		{"URL as state token", "If", `(<https://gw.example.com/app/b>)`, "", `(<https://gw.example.com/app/b>)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, inside, func(d *signed.ConnectionPointDocument) { dav(d); d.Servers[0].HostHeader = tt.host })
			before := srv.requests()
			in := b.do("COPY", "/app/a", tt.field+": "+tt.value)
			if tt.want == "" {
				in.wantRefused(t, causeway.CodeConnectorForbidden, channel.Final)
				if srv.requests() != before {
					t.Error("it reached the server")
				}
				return
			}
			in.wantAnswer(t, 200, "ok")
			if got := parseHead(t, srv.lastHead()).Header.Get(tt.field); got != tt.want {
				t.Errorf("%s: %s became %s, want %s", tt.field, tt.value, got, tt.want)
			}
		})
	}
	b := newBench(t, inside, dav)
	b.do("COPY", "/app/a", "Destination: /app/b", "Destination: /app/c").wantRefused(t, causeway.CodeConnectorBadRequest, channel.Final)
}

func TestEvidenceIsVerifiedAgain(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), nil)
	stranger := newTestCA(t, "Somebody else").evidence(t, "pc-1")
	for _, tt := range []struct {
		name string
		who  *channel.InboundPrincipal
	}{
		{"another CA", stranger},
		{"no proof", &channel.InboundPrincipal{Kind: uint8(identity.KindNone)}},
		{"token without support", &channel.InboundPrincipal{Kind: 2, Evidence: []byte("token")}},
		{"unknown kind", &channel.InboundPrincipal{Kind: 77, Evidence: b.who.Evidence}},
		{"no evidence", &channel.InboundPrincipal{Kind: 1}},
		{"garbage", &channel.InboundPrincipal{Kind: 1, Evidence: []byte("garbage")}},
		{"evidence cut short", &channel.InboundPrincipal{Kind: 1, Evidence: b.who.Evidence[:len(b.who.Evidence)-1]}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.who = tt.who
			b.do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorForbidden, channel.Final)
		})
	}
	if srv.connections() > 0 {
		t.Error("a refused request reached the server")
	}
}

func TestBlockedDeviceIsRefusedAtOnce(t *testing.T) {
	b := newBench(t, answering(t, ok).url(), nil)
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	memo := b.who.Memo.Load()
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	if b.who.Memo.Load() != memo {
		t.Error("the verdict was made twice")
	}
	b.doc.DeviceTrust.Blocked = []identity.Block{{DeviceID: "PC-1"}}
	b.obey(2)
	b.do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorForbidden, channel.Final)
	b.doc.DeviceTrust.Blocked = nil
	b.obey(3)
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
}

func TestHeadAndChannelMustAgree(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", WebSocket: true}}
	})
	for _, tt := range []struct {
		name      string
		field     string
		bodyBytes int64
		upgrade   bool
	}{
		{"length without body", "Content-Length: 5", 0, false},
		{"body without length", "X: y", 5, false},
		{"another length", "Content-Length: 5", 6, false},
		{"length of an unknown body", "Content-Length: 5", -1, false},
		{"transfer coding", "Transfer-Encoding: chunked", -1, false},
		{"two lengths", "Content-Length: 5\r\nContent-Length: 5", 5, false},
		{"upgrade the channel does not know", "Connection: Upgrade\r\nUpgrade: websocket", 0, false},
		{"another upgrade", "Connection: Upgrade\r\nUpgrade: h2c", 0, true},
		{"upgrade with a body", "Content-Length: 5", 5, true},
		{"bare LF", "X: y\nX-Causeway-Device-Id: root", 0, false},
		{"folded line", "X: y\r\n z", 0, false},
		{"second head", "X: y\r\n\r\nGET /admin HTTP/1.1\r\nHost: inside", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := b.request("POST", "/app/x", tt.field)
			in.bodyBytes, in.upgrade, in.body = tt.bodyBytes, tt.upgrade, strings.NewReader("hello")
			b.serve(in)
			in.wantRefused(t, causeway.CodeConnectorBadRequest, channel.Final)
		})
	}
	if srv.connections() > 0 {
		t.Error("a refused request reached the server")
	}
}
