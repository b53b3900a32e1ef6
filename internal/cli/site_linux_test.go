package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/site"
)

// TestSiteScripts runs a site, a gateway and a connection point as a person would on hosts of their own, each from
// an exported folder. Every script has two addresses, the gateway's and that of another host.
func TestSiteScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/site",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("IP", testAddress())
			env.Setenv("IP2", testAddress())
			env.Setenv("CAUSEWAY_STATE", filepath.Join(env.WorkDir, "state"))
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": scriptReady, "serve": scriptServe, "mode": scriptMode, "certificates": scriptCertificates,
			"request": scriptRequest, "until": scriptUntil, "hangup": scriptHangup,
		},
	})
}

// scriptUntil runs a command again and again until it succeeds; with ! until it fails.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := ts.Exec(args[0], args[1:]...); (err != nil) == neg {
			return
		}
	}
	ts.Fatalf("it did not come to this: %s", strings.Join(args, " "))
}

// scriptHangup sends SIGHUP to the program of ours that was started with these arguments.
func scriptHangup(ts *testscript.TestScript, neg bool, args []string) {
	want := "\x00" + strings.Join(args, "\x00") + "\x00"
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(line), want) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, syscall.SIGHUP))
		return
	}
	ts.Fatalf("no such program runs: %s", strings.Join(args, " "))
}

func TestGatewayAddresses(t *testing.T) {
	const slot2 = 10126
	for text, want := range map[string]struct {
		host string
		port int
	}{
		"gateway.example.com":      {"gateway.example.com", slot2},
		"Gateway.Example.com:8443": {"gateway.example.com", 8443},
		"203.0.113.7":              {"203.0.113.7", slot2},
		"203.0.113.7:1":            {"203.0.113.7", 1},
		"2001:db8::1":              {"2001:db8::1", slot2},
		"[2001:db8::1]":            {"2001:db8::1", slot2},
		"[2001:db8::1]:65535":      {"2001:db8::1", 65535},
	} {
		if host, port, err := parseGatewayAddress(text, slot2); err != nil || host != want.host || port != want.port {
			t.Errorf("%s is %s port %d, %v; want %s port %d", text, host, port, err, want.host, want.port)
		}
	}
	for _, text := range []string{"", ":8443", "host:", "host:0", "host:65536", "host:x", "ho st", "-a.example.com", "0.0.0.0", "[::]:8443",
		"224.0.0.1", "fe80::1%eth0", "[2001:db8::1", "[203.0.113.7]", "[::]", "[[2001:db8::1]]", "https://gateway.example.com", "gateway.example.com:8443:1", "a,b", "a\nb"} {
		if host, port, err := parseGatewayAddress(text, slot2); !errors.Is(err, causeway.ErrUsage) || causeway.Hint(err) == "" {
			t.Errorf("%q is %q port %d, %v; want a usage error with a hint", text, host, port, err)
		}
	}
}

func TestTheCertificateBeforeStaysPinned(t *testing.T) {
	gateway := func(pins ...string) []site.Gateway {
		return []site.Gateway{{Name: "other", ServiceCertificateSHA256: []string{"foreign"}}, {Name: gatewayName, ServiceCertificateSHA256: pins}}
	}
	for _, tt := range []struct {
		name string
		old  []site.Gateway
		want []string
	}{
		{"first start", nil, []string{"new"}},
		{"same certificate", gateway("new", "old"), []string{"new", "old"}},
		{"renewed", gateway("old", "older"), []string{"new", "old"}},
		{"from the site's own CA", gateway(), []string{"new"}},
	} {
		if got := pins("new", tt.old); !slices.Equal(got, tt.want) {
			t.Errorf("%s: pins are %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What is exported must be read again as it was meant, whatever stands in it.
func TestExportedConfigurationsAreRead(t *testing.T) {
	const odd = `a: "b" # \ 'c'` + "\t{}[]&*!|>%@`"
	key := signed.PublicKey{1}.String()
	dir := t.TempDir()
	g := gatewayConfig{Site: odd, SiteKey: key, Gateway: odd, Instance: odd, Slot: 7, DevicesListen: "[::]:443", ChannelsListen: "0.0.0.0:10131"}
	p := connectionPointConfig{Site: odd, SiteKey: key, ID: odd, ConnectionID: odd}
	for _, systemd := range []bool{false, true} {
		var gotG gatewayConfig
		readBack(t, dir, gatewayYAML(&g, systemd), &gotG)
		if err := gotG.check(filepath.Join(dir, "config.yaml")); err != nil {
			t.Errorf("gateway: %v", err)
		}
		if gotG.Site != odd || gotG.SiteKey != key || gotG.Gateway != odd || gotG.Instance != odd || gotG.Slot != 7 ||
			gotG.DevicesListen != g.DevicesListen || gotG.ChannelsListen != g.ChannelsListen {
			t.Errorf("gateway reads %+v", gotG)
		}
		var gotP connectionPointConfig
		readBack(t, dir, connectionPointYAML(&p, systemd), &gotP)
		if err := gotP.check(filepath.Join(dir, "config.yaml")); err != nil {
			t.Errorf("connection point: %v", err)
		}
		if gotP.Site != odd || gotP.SiteKey != key || gotP.ID != odd || gotP.ConnectionID != odd {
			t.Errorf("connection point reads %+v", gotP)
		}
		for _, path := range []string{gotG.DocumentsDir, gotP.DocumentsDir, gotG.Role.AdminSocket, gotP.Role.AdminSocket} {
			if inside := strings.HasPrefix(path, dir); inside == systemd {
				t.Errorf("systemd %t: %s", systemd, path)
			}
		}
	}
}

// What is switched off in an exported file must be right when somebody switches it on.
func TestExportedConfigurationsCanBeSwitchedOn(t *testing.T) {
	dir := t.TempDir()
	on := func(text string) string {
		for _, field := range []string{"health_listen", "log_dir", "user", "connections", "memory_limit", "memory_budget"} {
			text = strings.ReplaceAll(text, "# "+field+":", field+":")
		}
		return text
	}
	var g gatewayConfig
	readBack(t, dir, on(gatewayYAML(&gatewayConfig{Site: "s", SiteKey: signed.PublicKey{1}.String(), Gateway: "g", Instance: "i", DevicesListen: "0.0.0.0:443",
		ChannelsListen: "0.0.0.0:10124"}, false)), &g)
	if err := g.check(filepath.Join(dir, "config.yaml")); err != nil || g.HealthListen == "" || g.Role.LogDir == "" || g.Role.User == 0 || g.Role.MemoryLimit != 512<<20 || g.MemoryBudget != 256<<20 {
		t.Errorf("gateway: %v, %+v", err, g)
	}
	var p connectionPointConfig
	readBack(t, dir, on(connectionPointYAML(&connectionPointConfig{Site: "s", SiteKey: signed.PublicKey{1}.String(), ID: "i", ConnectionID: "c"}, false)), &p)
	if err := p.check(filepath.Join(dir, "config.yaml")); err != nil || p.Connections == 0 || p.Role.LogDir == "" || p.Role.User == 0 || p.Role.MemoryLimit != 512<<20 || p.MemoryBudget != 256<<20 {
		t.Errorf("connection point: %v, %+v", err, p)
	}
}

// A setting that stands nowhere is one that nobody finds.
func TestEverySettingIsDescribed(t *testing.T) {
	docs, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	for text, config := range map[string]reflect.Type{
		gatewayYAML(&gatewayConfig{}, false):                 reflect.TypeFor[gatewayConfig](),
		connectionPointYAML(&connectionPointConfig{}, false): reflect.TypeFor[connectionPointConfig](),
	} {
		for _, tag := range settings(config) {
			if !regexp.MustCompile(`(?m)^(# *)?` + tag + `:`).MatchString(text) {
				t.Errorf("%s: no line of an exported file names %s", config, tag)
			}
			if !strings.Contains(string(docs), "| `"+tag+"` |") {
				t.Errorf("%s: docs/settings.md has no row for %s", config, tag)
			}
		}
	}
}

// settings lists the names of all fields that a file may have.
func settings(config reflect.Type) (names []string) {
	for f := range config.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			names = append(names, settings(f.Type)...)
		case name != "":
			names = append(names, name)
			if f.Type.Kind() == reflect.Struct {
				names = append(names, settings(f.Type)...)
			}
		}
	}
	return names
}

func readBack(t *testing.T, dir, text string, into any) {
	t.Helper()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readConfig(file, into); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// A connection point that is broken may put a link where its documents were. The site, often root, must not write
// through it.
func TestTheSiteFollowsNoLinkOfAConnectionPoint(t *testing.T) {
	dir, precious := t.TempDir(), t.TempDir()
	s := &siteRun{}
	for _, target := range []string{precious, "../" + filepath.Base(precious), "inner"} {
		link := filepath.Join(dir, "documents")
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "inner"), 0o700), os.Symlink(target, link)); err != nil {
			t.Fatal(err)
		}
		if f, err := s.openHome(link); err == nil {
			f.close()
			t.Errorf("a link to %s was opened", target)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "documents"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.openHome(filepath.Join(dir, "documents")); err == nil {
		t.Error("a file was opened as a folder")
	}
	if _, err := s.openHome(filepath.Join(dir, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is gone: %v", err)
	}
}
