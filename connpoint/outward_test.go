package connpoint

import (
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// mapped returns the outward mapper of a document with four servers:
//
//	app   http://app.corp.local:8080         https://gw.example.com/app/
//	deep  https://app.corp.local/base/dir    https://gw.example.com/deep/
//	host  http://10.0.0.5                    https://updates.example.com/
//	told  http://10.0.0.6/web, outside Host  https://told.example.com/
//	mp    http://mp                          https://gw.example.com/CCM_Proxy_MutualAuth/72057594037927937/
func mapped(t *testing.T, port int, name string) outward {
	t.Helper()
	b := newBench(t, "", func(d *signed.ConnectionPointDocument) {
		d.Gateways[0].ServicePort = port
		d.Publications = []policy.Publication{{Name: "app"}, {Name: "deep"}, {Name: "host", Host: "updates.example.com"}, {Name: "told", Host: "told.example.com"}, {Name: "mp", ManagementPoint: 1}}
		d.Servers = []signed.Server{
			{Name: "app", URL: "http://app.corp.local:8080"},
			{Name: "deep", URL: "https://app.corp.local/base/dir/"},
			{Name: "host", URL: "http://10.0.0.5"},
			{Name: "told", URL: "http://10.0.0.6/web", HostHeader: signed.HostOutside},
			{Name: "mp", URL: "http://mp"},
		}
	})
	r := b.handler.config.Load().routes[testGateway]
	for i, p := range r.set.Publications() {
		if string(p.Name) == name {
			return outward{r, i}
		}
	}
	t.Fatalf("no publication %q", name)
	return outward{}
}

// dropped is what a table expects of a field that must not travel.
const dropped = "(dropped)"

func mapField(m outward, name, value string) string {
	var r http1.Response
	if err := r.Parse([]byte("HTTP/1.1 200 OK\r\n"+name+": "+value+"\r\nContent-Length: 0\r\n\r\n"), []byte("GET"), http1.Limits{}); err != nil {
		return err.Error()
	}
	out := string(m.appendFields(nil, &r, []byte("/dir/page?x=/y")))
	if out == "" {
		return dropped
	}
	return strings.TrimSuffix(strings.TrimPrefix(out, name+": "), "\r\n")
}

func TestLocationIsMapped(t *testing.T) {
	for _, tt := range []struct{ name, server, in, want string }{
		{"inside absolute", "app", "http://app.corp.local:8080/login?a=b#c", "https://gw.example.com/app/login?a=b#c"},
		{"inside absolute, other case", "app", "HTTP://App.Corp.Local:8080/Login", "https://gw.example.com/app/Login"},
		{"inside absolute, no path", "app", "http://app.corp.local:8080", "https://gw.example.com/app/"},
		{"inside absolute, query alone", "app", "http://app.corp.local:8080?x", "https://gw.example.com/app/?x"},
		{"network path", "app", "//app.corp.local:8080/x", "https://gw.example.com/app/x"},
		{"absolute path", "app", "/login", "/app/login"},
		{"root", "app", "/", "/app/"},
		{"escapes stay", "app", "/a%20b/%2f;c", "/app/a%20b/%2f;c"},
		{"relative", "app", "next", "next"},
		{"relative upwards", "app", "../next", "../next"},
		{"query", "app", "?page=2", "?page=2"},
		{"another published server", "app", "https://app.corp.local/base/dir/x", "https://gw.example.com/deep/x"},
		{"another published server by host", "app", "http://10.0.0.5/x", "https://updates.example.com/x"},
		{"below the prefix", "deep", "https://app.corp.local/base/dir/x", "https://gw.example.com/deep/x"},
		{"below the prefix, other port default", "deep", "https://app.corp.local:443/base/dir/x", "https://gw.example.com/deep/x"},
		{"absolute path below the prefix", "deep", "/base/dir/x", "/deep/x"},
		{"the prefix itself", "deep", "/base/dir", "/deep/"},
		{"beside the prefix", "deep", "/base/directory", dropped},
		{"above the prefix", "deep", "/base/", dropped},
		{"same host, port nobody published", "app", "http://app.corp.local:9090/x", dropped},
		{"published by host", "host", "http://10.0.0.5/x", "https://updates.example.com/x"},
		{"published by host, path", "host", "/x", "/x"},
		{"management point", "mp", "http://mp/SMS_MP/x", "https://gw.example.com/CCM_Proxy_MutualAuth/72057594037927937/SMS_MP/x"},
		{"told its outside name", "told", "http://told.example.com/web/x", "https://told.example.com/x"},
		{"told, other scheme", "told", "https://told.example.com/web/x", "https://told.example.com/x"},
		{"told, already mapped", "told", "https://told.example.com/x", "https://told.example.com/x"},
		{"outside URL of its own", "app", "https://gw.example.com/app/x", "https://gw.example.com/app/x"},
		{"outside URL, plain http", "app", "http://gw.example.com/app/x", "https://gw.example.com/app/x"},
		{"the internet", "app", "https://login.example.org/authorize?x=1", "https://login.example.org/authorize?x=1"},
		{"name without a dot", "app", "http://intranet/x", dropped},
		{"inside ending", "app", "http://wiki.corp.local/x", dropped},
		{"private address", "app", "http://192.168.1.1/x", dropped},
		{"private address, IPv6", "app", "http://[fd00::1]:8080/x", dropped},
		{"mapped private address", "app", "http://[::ffff:10.1.2.3]/x", dropped},
		{"loopback", "app", "http://127.0.0.1:8080/x", dropped},
		{"metadata service", "app", "http://169.254.169.254/latest", dropped},
		{"user information", "app", "http://admin:pw@app.corp.local:8080/x", dropped},
		{"user information hiding the host", "app", "http://example.org@app.corp.local:8080/", dropped},
		{"backslash host", "app", `/\app.corp.local/x`, dropped},
		{"backslashes", "app", `\\app.corp.local\x`, dropped},
		{"scheme without slashes", "app", "http:app.corp.local", dropped},
		{"another scheme", "app", "mailto:admin@example.org", "mailto:admin@example.org"},
		{"empty", "app", "", dropped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mapped(t, 443, tt.server)
			for _, field := range []string{"Location", "Content-Location"} {
				if got := mapField(m, field, tt.in); got != tt.want {
					t.Errorf("%s: %s becomes %s, want %s", field, tt.in, got, tt.want)
				}
			}
		})
	}
}

func TestMappedLinksNameTheServicePort(t *testing.T) {
	if got, want := mapField(mapped(t, 8443, "app"), "Location", "http://app.corp.local:8080/x"), "https://gw.example.com:8443/app/x"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOtherFieldsWithURLs(t *testing.T) {
	for _, tt := range []struct{ name, field, in, want string }{
		{"refresh", "Refresh", "5; url=http://app.corp.local:8080/x", "5; url=https://gw.example.com/app/x"},
		{"refresh, quoted", "Refresh", `0;URL='/x'`, `0; url=/app/x`},
		{"refresh alone", "Refresh", "30", "30"},
		{"refresh to an inside host", "Refresh", "0; url=http://intranet/", dropped},
		{"refresh that cannot be read", "Refresh", "0; http://intranet/", dropped},
		{"link", "Link", `<http://app.corp.local:8080/a>; rel="next", </b>; rel=prev`, `<https://gw.example.com/app/a>; rel="next", </app/b>; rel=prev`},
		{"link with a quoted bracket", "Link", `</a>; title="x < y, \" >"`, `</app/a>; title="x < y, \" >"`},
		{"link to an inside host", "Link", `</a>; rel=next, <http://intranet/>; rel=up`, dropped},
		{"link not closed", "Link", `<http://intranet/`, dropped},
		{"link with an anchor", "Link", `</a>; anchor="http://intranet/"`, dropped},
		{"origin", "Access-Control-Allow-Origin", "http://app.corp.local:8080", "https://gw.example.com"},
		{"any origin", "Access-Control-Allow-Origin", "*", "*"},
		{"origin on the internet", "Access-Control-Allow-Origin", "https://example.org", "https://example.org"},
		{"origin inside", "Access-Control-Allow-Origin", "http://intranet", dropped},
		{"alternative service", "Alt-Svc", `h3="app.corp.local:443"`, dropped},
		{"hop by hop", "Keep-Alive", "timeout=5", dropped},
		{"proxy", "Proxy-Authenticate", "Basic", dropped},
		{"our own names", "X-Causeway-Anything", "x", dropped},
		{"old cookies", "Set-Cookie2", "a=b", dropped},
		{"WebDAV", "DAV", "1, 2", "1, 2"},
		{"anything else", "X-Powered-By", "ASP.NET", "ASP.NET"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mapField(mapped(t, 443, "app"), tt.field, tt.in); got != tt.want {
				t.Errorf("%s: %s becomes %s, want %s", tt.field, tt.in, got, tt.want)
			}
		})
	}
}

func TestCookiesAreMapped(t *testing.T) {
	for _, tt := range []struct{ name, server, in, want string }{
		{"no path", "app", "a=b", "a=b; Path=/app/dir"},
		{"root path", "app", "a=b; Path=/", "a=b; Path=/app/"},
		{"path", "app", "a=b; path=/x", "a=b; Path=/app/x"},
		{"all attributes stay", "app", "a=b; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=5; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Partitioned",
			"a=b; Path=/app/; HttpOnly; Secure; SameSite=Lax; Max-Age=5; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Partitioned"},
		{"domain of the server on a shared name", "app", "a=b; Domain=app.corp.local; Path=/", "a=b; Path=/app/"},
		{"domain of the service", "app", "a=b; Domain=gw.example.com; Path=/", "a=b; Path=/app/"},
		{"domain above the service", "app", "a=b; Domain=example.com; Path=/", "a=b; Path=/app/"},
		{"two paths", "app", "a=b; Path=/x; Path=/y", "a=b; Path=/app/x; Path=/app/y"},
		{"path that is none", "app", "a=b; Path=x", "a=b; Path=/app/dir"},
		{"empty path", "app", "a=b; Path", "a=b; Path=/app/dir"},
		{"path climbing to a neighbour", "app", "a=b; Path=/../deep", dropped},
		{"path climbing, encoded", "app", "a=b; Path=/%2e%2E/deep", dropped},
		{"path above the prefix", "deep", "a=b; Path=/", "a=b; Path=/deep/"},
		{"path above the prefix, segment", "deep", "a=b; Path=/base/", "a=b; Path=/deep/"},
		{"path of the prefix", "deep", "a=b; Path=/base/dir", "a=b; Path=/deep/"},
		{"path below the prefix", "deep", "a=b; Path=/base/dir/x", "a=b; Path=/deep/x"},
		{"path beside the prefix", "deep", "a=b; Path=/other", dropped},
		{"published by host", "host", "a=b", "a=b"},
		{"published by host, root", "host", "a=b; Path=/", "a=b; Path=/"},
		{"published by host, own domain", "host", "a=b; Domain=10.0.0.5", "a=b; Domain=updates.example.com"},
		{"published by host, outside domain", "host", "a=b; Domain=.Updates.Example.com", "a=b; Domain=updates.example.com"},
		{"published by host, wider domain", "host", "a=b; Domain=example.com", "a=b"},
		{"published by host, inside parent", "host", "a=b; Domain=corp.local", "a=b"},
		{"management point", "mp", "a=b; Path=/", "a=b; Path=/CCM_Proxy_MutualAuth/72057594037927937/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mapField(mapped(t, 443, tt.server), "Set-Cookie", tt.in); got != tt.want {
				t.Errorf("%s becomes %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

// Whatever path an inside server asks for, its cookie stays below its own publication.
func FuzzCookieStaysBelowItsPublication(f *testing.F) {
	for _, s := range []string{"a=b; Path=/", "a=b; path=/../deep", "a=b;Path=/x;Path=/;domain=x", "a=b; Path=//", "=; Path=/%2e/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !http1.IsFieldValue(value) {
			return
		}
		m := fuzzMapper(t)
		out, ok := m.appendCookie(nil, []byte(value), []byte("/dir/page"))
		if !ok {
			return
		}
		paths := 0
		for i, attribute := range strings.Split(string(out), ";") {
			name, v, _ := strings.Cut(strings.TrimSpace(attribute), "=")
			if i == 0 {
				continue
			}
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "path":
				paths++
				if v != "/app" && !strings.HasPrefix(v, "/app/") || strings.Contains(v, "/../") {
					t.Errorf("%q has the path %q", out, v)
				}
			case "domain":
				t.Errorf("%q has a domain", out)
			}
		}
		if paths == 0 {
			t.Errorf("%q has no path", out)
		}
	})
}

func FuzzLocationLeaksNothing(f *testing.F) {
	for _, s := range []string{"/x", "http://10.0.0.5:8080/x", "//10.0.0.5:8080", "HTTP://10.0.0.5:8080", `/\10.0.0.5`, "http:10.0.0.5", "http://x@10.0.0.5:8080/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !http1.IsFieldValue(value) {
			return
		}
		m := fuzzMapper(t)
		out, ok := m.appendURL(nil, []byte(value))
		if !ok {
			return
		}
		if !http1.IsFieldValue(out) {
			t.Errorf("%q is no field value", out)
		}
		low := strings.ToLower(string(out))
		for _, start := range []string{"http://10.0.0.5:8080", "https://10.0.0.5:8080", "//10.0.0.5:8080"} {
			if rest, ok := strings.CutPrefix(low, start); ok && (rest == "" || strings.ContainsAny(rest[:1], "/?#")) {
				t.Errorf("%q became %q", value, out)
			}
		}
	})
}

func fuzzMapper(t *testing.T) outward {
	p, err := signed.ParsePlace("http://10.0.0.5:8080")
	if err != nil {
		t.Fatal(err)
	}
	return outward{&route{
		targets: []*target{{place: newPlace(p)}},
		outside: []outside{{authority: []byte(testService), host: testService, prefix: []byte("/app")}},
	}, 0}
}
