package signed

import (
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func TestPublishedURLs(t *testing.T) {
	for _, tt := range []struct {
		url  string
		good bool
		dial string
	}{
		{"http://10.0.0.5", true, "10.0.0.5:80"},
		{"https://wsus.corp.local/base/", true, "wsus.corp.local:443"},
		{"http://[fd00::1]:8080/a%20b", true, "[fd00::1]:8080"},
		{"http://localhost:8080", true, "localhost:8080"},
		{"ftp://10.0.0.5/", false, ""}, {"file:///etc/passwd", false, ""}, {"unix:///run/x.sock", false, ""}, {"10.0.0.5:8080", false, ""}, {"//10.0.0.5", false, ""}, {"", false, ""},
		{"http://user:pw@10.0.0.5/", false, ""}, {"http://10.0.0.5/?a=b", false, ""}, {"http://10.0.0.5/#x", false, ""}, {"http://10.0.0.5?", false, ""},
		{"http://10.0.0.5:/", false, ""}, {"http://10.0.0.5:99999/", false, ""}, {"http://10.0.0.5:http/", false, ""},
		{"http://169.254.169.254/latest", false, ""}, {"http://[fe80::1]/", false, ""}, {"http://0.0.0.0:8080/", false, ""}, {"http://224.0.0.1/", false, ""},
		{"http://10.0.0.5/a/../b", false, ""}, {"http://10.0.0.5/a/%2e%2e/b", false, ""}, {"http://10.0.0.5//b", false, ""}, {"http://a b/", false, ""}, {"http://10.0.0.5/a\nb", false, ""},
		{"http://10.0.0.5:0/", false, ""}, {"http://10.0.0.5:+80/", false, ""}, {"http://user:pw@a b/", false, ""}, {"http://user:pw@h:pw/", false, ""},
		{"http://[fe80::1%25eth0]/", false, ""}, {"http://[::ffff:169.254.169.254]/", false, ""}, {"http://255.255.255.255/", false, ""}, {"http://%zz/", false, ""},
	} {
		p, err := ParsePlace(tt.url)
		if (err == nil) != tt.good {
			t.Errorf("%s: %v, want good %v", tt.url, err, tt.good)
		}
		if err == nil {
			if got := p.Address(); got != tt.dial {
				t.Errorf("%s dials %s, want %s", tt.url, got, tt.dial)
			}
		} else if causeway.Hint(err) == "" || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: no hint, or the password shows: %v", tt.url, err)
		}
	}
}

func TestBadServersAreExplained(t *testing.T) {
	for _, tt := range []struct {
		server Server
		want   string // empty: nothing is wrong
	}{
		{Server{URL: "http://h"}, ""},
		{Server{URL: "https://h", HostHeader: HostOutside, IdentityForms: []string{FormNginx, FormApache}}, ""},
		{Server{URL: "http://h", IdentityForms: []string{FormNone}}, ""},
		{Server{URL: "gopher://h"}, "does not start with http"},
		{Server{URL: "http://h", HostHeader: "both"}, "neither inside nor outside"},
		{Server{URL: "http://h", IdentityForms: []string{"iis"}}, `"iis" is not known`},
		{Server{URL: "http://h", IdentityForms: []string{FormNginx, FormNone}}, "cannot be combined"},
		{Server{URL: "http://h", IdentityForms: []string{FormNginx, FormNginx}}, "stands twice"},
		{Server{URL: "http://h", CAs: "x"}, "no use to an http:// server"},
		{Server{URL: "http://h", ClientKey: "x"}, "no use to an http:// server"},
		{Server{URL: "https://h", CAs: "x"}, "no certificate in its CAs"},
		{Server{URL: "https://h", ClientCertificate: "x"}, "come together"},
		{Server{URL: "https://h", ClientKey: "x"}, "come together"},
		{Server{URL: "https://h", ClientCertificate: "x", ClientKey: "hush"}, "client certificate: "},
	} {
		tt.server.Name = "app"
		err := tt.server.Check()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.server, err)
		case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "server app: ") || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: %v, want %q", tt.server, err, tt.want)
		case tt.want != "" && (causeway.Hint(err) == "" || strings.Contains(err.Error(), "hush")):
			t.Errorf("%+v: no hint, or the key shows: %v", tt.server, err)
		}
	}
}
