package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/connpoint"
)

func noEnvironment(string) string { return "" }

func TestTransportSettingsOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for _, tt := range []struct {
		text string
		want []channel.Transport
	}{
		{"transports: auto", []channel.Transport{channel.SlotPort, channel.SinglePort, channel.WebSocket}},
		{"transports: websocket", []channel.Transport{channel.WebSocket}},
		{"transports: single-port, websocket", []channel.Transport{channel.SinglePort, channel.WebSocket}},
		{"transports: [websocket, slot-port]", []channel.Transport{channel.WebSocket, channel.SlotPort}},
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
		if err := cfg.Transport.apply(&a, file, noEnvironment); err != nil || len(a.Transports) != len(tt.want) || a.Transports[0] != tt.want[0] {
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
		{transportConfig{Proxy: "ftp://proxy.test"}, "config.yaml: proxy: proxy"},
		{transportConfig{Proxy: "proxy.test:3128"}, "proxy: it does not start with http"},
		{transportConfig{Proxy: "127.0.0.1:3128"}, "proxy: it does not start with http"},
		{transportConfig{Proxy: "http://"}, "proxy: it names no host"},
		{transportConfig{Transports: []string{"auto", "websocket"}}, "transports: auto is all transports, so it stands alone"},
		{transportConfig{Proxy: "http://proxy.test:99999"}, "port 99999 does not exist"},
		{transportConfig{Proxy: "http://proxy.test", NoProxy: "10.0.0.0/99"}, `no_proxy: "10.0.0.0/99" names no host`},
		{transportConfig{Transports: []string{"quic"}, said: map[string]string{"transports": "--transport"}}, `--transport: transport "quic" does not exist`},
		{transportConfig{Proxy: "none", NoProxy: "x", said: map[string]string{"no_proxy": "--no-proxy"}}, "--no-proxy: there is no proxy"},
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
	file := transportConfig{Transports: []string{"slot-port"}, Proxy: "http://a.test:1", NoProxy: "x.test", ProxyCredentialsFile: "c"}
	for _, tt := range []struct {
		args []string
		want transportConfig
	}{
		{nil, file},
		{[]string{"--transport", "websocket", "--proxy", "http://b.test:2"},
			transportConfig{Transports: []string{"websocket"}, Proxy: "http://b.test:2", NoProxy: "x.test", ProxyCredentialsFile: "c"}},
		{[]string{"--proxy", ""}, transportConfig{Transports: file.Transports}},
		{[]string{"--proxy", "none"}, transportConfig{Transports: file.Transports, Proxy: "none"}},
		{[]string{"--no-proxy", ""}, transportConfig{Transports: file.Transports, Proxy: file.Proxy, ProxyCredentialsFile: "c"}},
	} {
		var flags transportConfig
		cmd := &cobra.Command{}
		flags.flags(cmd)
		if err := errors.Join(cmd.ParseFlags(tt.args), flags.given(cmd.Flags())); err != nil {
			t.Fatal(err)
		}
		got := file
		got.override(flags)
		got.said = nil
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v: %+v, want %+v", tt.args, got, tt.want)
		}
		if p := got.proxy(noEnvironment); (p == nil) != (got.Proxy == "" || got.Proxy == "none") || got.check("config.yaml", noEnvironment) != nil {
			t.Errorf("%v: proxy %+v, %v", tt.args, p, got.check("config.yaml", noEnvironment))
		}
	}
}

func TestBadTransportFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--transport", ""}, {"--proxy", "http://user:hidden@proxy.test:1"}} {
		var flags transportConfig
		cmd := &cobra.Command{}
		flags.flags(cmd)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		err := flags.given(cmd.Flags())
		if err == nil || causeway.Hint(err) == "" || !strings.Contains(err.Error(), args[0]) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v: error %v, hint %q", args, err, causeway.Hint(err))
		}
	}
}

// A wrong variable is blamed, and not the file that points there.
func TestBadProxyOfTheEnvironmentIsNamed(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"HTTPS_PROXY": "ftp://proxy.test", "NO_PROXY": "10.0.0.0/99"}[name]
	}
	c := transportConfig{Proxy: "environment"}
	if err := c.check("config.yaml", env); err == nil || !strings.HasPrefix(err.Error(), "HTTPS_PROXY: ") {
		t.Errorf("error %v", err)
	}
	if c.missingProxy(env) || !c.missingProxy(noEnvironment) || (&transportConfig{}).missingProxy(noEnvironment) {
		t.Error("an environment without a proxy is not told from one with")
	}
}

func TestSecretsThatOthersReadAreWarnedOf(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		file := filepath.Join(dir, fmt.Sprint("f", uint32(mode)))
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		warnOfOpenFiles(slog.New(slog.NewTextHandler(&log, nil)), "", file)
		if got := strings.Contains(log.String(), "chmod 600 "+file); got != want {
			t.Errorf("mode %s: warned %v", mode, got)
		}
	}
}

func TestBudgetAboveTheLimitIsWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		budget, limit memorySize
		memory        int64
		want          bool
	}{
		{128 << 20, 64 << 20, 0, true}, {64 << 20, 64 << 20, 0, false}, {2 << 30, 0, 1 << 30, true}, {2 << 30, 0, 0, false}, {0, 64 << 20, 0, false},
	} {
		var log strings.Builder
		r := &roleProcess{memory: tt.memory}
		r.warnOfBudget(slog.New(slog.NewTextHandler(&log, nil)), tt.budget, tt.limit)
		if got := log.Len() > 0; got != tt.want {
			t.Errorf("%+v: warned %v: %s", tt, got, log.String())
		}
	}
}
