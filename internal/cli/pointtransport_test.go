package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
)

func noEnvironment(string) string { return "" }

func TestTransportSettingsOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for _, tt := range []struct {
		text string
		want []connpoint.Transport
	}{
		{"transports: auto", []connpoint.Transport{connpoint.SlotPort, connpoint.SinglePort, connpoint.WebSocket}},
		{"transports: websocket", []connpoint.Transport{connpoint.WebSocket}},
		{"transports: single-port, websocket", []connpoint.Transport{connpoint.SinglePort, connpoint.WebSocket}},
		{"transports: [websocket, slot-port]", []connpoint.Transport{connpoint.WebSocket, connpoint.SlotPort}},
	} {
		if err := os.WriteFile(file, []byte("site: s\n"+tt.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var cfg connectionPointConfig
		if err := readConfig(file, &cfg); err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		var a connpoint.Agent
		if err := cfg.Transport.apply(&a, noEnvironment); err != nil || len(a.Transports) != len(tt.want) || a.Transports[0] != tt.want[0] {
			t.Errorf("%s: %v, %v", tt.text, a.Transports, err)
		}
	}
}

func TestBadTransportSettingsAreNamed(t *testing.T) {
	for _, tt := range []struct {
		cfg  transportConfig
		want string
	}{
		{transportConfig{Transports: []string{"tcp"}}, `transports: transport "tcp" does not exist`},
		{transportConfig{Proxy: "ftp://proxy.test"}, "proxy: proxy"},
		{transportConfig{Proxy: "proxy.test:3128"}, "proxy: proxy"},
		{transportConfig{NoProxy: "x"}, "no_proxy: there is no proxy"},
		{transportConfig{ProxyCredentialsFile: "x"}, "proxy_credentials_file: there is no proxy"},
	} {
		err := tt.cfg.check("config.yaml", noEnvironment)
		if err == nil || !strings.Contains(err.Error(), tt.want) || causeway.Hint(err) == "" {
			t.Errorf("%+v: error %v, hint %q; want %q and a hint", tt.cfg, err, causeway.Hint(err), tt.want)
		}
	}
}

func TestProxyOfTheEnvironmentIsUsedWhenAskedFor(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"https_proxy": "proxy.test:3128", "NO_PROXY": "10.0.0.0/8", "HTTP_PROXY": "http://other.test"}[name]
	}
	if p := (&transportConfig{}).proxy(env); p != nil {
		t.Errorf("unasked: %+v", p)
	}
	if name := (&transportConfig{}).unusedProxy(env); name != "https_proxy" {
		t.Errorf("nobody is told that %q is not used", name)
	}
	p := (&transportConfig{Proxy: "environment"}).proxy(env)
	if p == nil || p.URL != "http://proxy.test:3128" || p.NoProxy != "10.0.0.0/8" || p.Check() != nil {
		t.Errorf("asked for: %+v", p)
	}
	if p := (&transportConfig{Proxy: "environment"}).proxy(noEnvironment); p != nil {
		t.Errorf("from an empty environment: %+v", p)
	}
	if p := (&transportConfig{Proxy: "environment", NoProxy: ".test"}).proxy(env); p == nil || p.NoProxy != ".test" {
		t.Errorf("no_proxy of the file does not go before: %+v", p)
	}
}

func TestCredentialsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.txt")
	for text, want := range map[string]string{
		"user:pass\n": "user|pass", "user:pa:ss": "user|pa:ss", "user:\r\n": "user|",
		"": "", "user": "", ":pass": "", "user:pass\nmore:lines": "", "u:" + strings.Repeat("x", maxCredentialsBytes): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		user, password, err := readCredentials(file)
		switch {
		case want == "" && (err == nil || causeway.Hint(err) == "" || strings.Contains(err.Error(), "pass\n")):
			t.Errorf("%.20q: %q, %v", text, user, err)
		case want != "" && (err != nil || user+"|"+password != want):
			t.Errorf("%.20q: %q:%q, %v", text, user, password, err)
		}
	}
	if _, _, err := readCredentials(file + ".none"); err == nil || causeway.Hint(err) == "" {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestFlagsGoBeforeTheFile(t *testing.T) {
	cfg := transportConfig{Transports: []string{"slot-port"}, Proxy: "http://a.test:1", NoProxy: "x"}
	cfg.override(transportConfig{Transports: []string{"websocket"}, Proxy: "http://b.test:2"})
	if cfg.Transports[0] != "websocket" || cfg.Proxy != "http://b.test:2" || cfg.NoProxy != "x" {
		t.Errorf("%+v", cfg)
	}
}
