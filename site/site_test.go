package site

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/seal"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func server(name, url string) Server {
	return Server{Publication: policy.Publication{Name: causeway.ServerName(name)}, URL: url}
}

func gateway() Gateway {
	return Gateway{Name: "main", ServiceName: "gw.example.com", ServicePort: 443, Address: "192.0.2.1", ServiceCAs: [][]byte{{1}},
		Instances: []Instance{{Slot: 0, ID: "gw-1", Name: "gw-1", Address: "192.0.2.2", ChannelPort: 10124}}}
}

func TestStoreKeepsItsKeysAndNames(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	id, key, ca := a.ID(), a.PublicKey(), a.SiteCA().Certificate
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir)
	if b.ID() != id || b.PublicKey() != key || !b.SiteCA().Certificate.Equal(ca) {
		t.Error("a reopened store has other keys")
	}
	for _, f := range []string{databaseFile, sealKeyFile} {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, error %v; want 0600", f, info.Mode(), err)
		}
	}
}

func TestStoreIsUselessWithoutItsSealingKey(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	key := filepath.Join(dir, sealKeyFile)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, nil); err == nil || causeway.Hint(err) == "" {
		t.Errorf("missing key: %v, want an error with a hint", err)
	}
	if err := os.WriteFile(key, bytes.Repeat([]byte{7}, seal.KeyBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, nil); err == nil || causeway.Hint(err) == "" {
		t.Errorf("wrong key: %v, want an error with a hint", err)
	}
}

func TestStoreOfANewerVersionIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), dir, nil); err == nil || causeway.Hint(err) == "" {
		t.Errorf("%v, want an error with a hint", err)
	}
}

func TestSecretsAreNotInTheFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	i, err := s.DeviceCA().IssueDevice("cp", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v := server("secure", "https://10.0.0.5")
	v.ClientCertificate, v.ClientKey = string(i.CertPEM), signed.Secret(i.KeyPEM)
	if err := s.AddServer(t.Context(), "test", v); err != nil {
		t.Fatal(err)
	}
	got, err := s.Servers(t.Context())
	if err != nil || got[0].ClientKey != v.ClientKey {
		t.Fatalf("client key did not come back: %v", err)
	}
	s.Close()
	for _, f := range []string{databaseFile, databaseFile + "-wal"} {
		b, _ := os.ReadFile(filepath.Join(dir, f))
		if bytes.Contains(b, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a key in clear", f)
		}
	}
}

func TestBadServersAreRefusedWhole(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if err := errors.Join(s.PutGateway(ctx, "test", gateway()), s.AddServer(ctx, "test", server("updates", "http://10.0.0.5:8080/base"))); err != nil {
		t.Fatal(err)
	}
	host := server("other", "http://10.0.0.6")
	host.Host = "gw.example.com"
	for _, tt := range []struct {
		name string
		v    Server
	}{
		{"name taken", server("updates", "http://10.0.0.9")},
		{"no name", server("", "http://10.0.0.9")},
		{"reserved name", server("CCM_Proxy_MutualAuth", "http://10.0.0.9")},
		{"name with a slash", server("a/b", "http://10.0.0.9")},
		{"no scheme", server("a", "10.0.0.5:8080")},
		{"ftp", server("a", "ftp://10.0.0.5")},
		{"no host", server("a", "http:///x")},
		{"query", server("a", "http://h/?q=1")},
		{"user", server("a", "http://u:p@h/")},
		{"port", server("a", "http://h:70000/")},
		{"CA for http", Server{Publication: policy.Publication{Name: "a"}, URL: "http://h", CAs: "x"}},
		{"garbage CA", Server{Publication: policy.Publication{Name: "a"}, URL: "https://h", CAs: "x"}},
		{"certificate without key", Server{Publication: policy.Publication{Name: "a"}, URL: "https://h", ClientCertificate: "x"}},
		{"identity form", Server{Publication: policy.Publication{Name: "a"}, URL: "https://h", IdentityForms: []string{"iis"}}},
		{"host header", Server{Publication: policy.Publication{Name: "a"}, URL: "https://h", HostHeader: "both"}},
		{"host of the service itself", host},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.AddServer(ctx, "test", tt.v); !errors.Is(err, causeway.ErrUsage) {
				t.Errorf("%v, want a usage error", err)
			}
		})
	}
	if got, err := s.Servers(ctx); err != nil || len(got) != 1 {
		t.Errorf("%d servers, %v; a refused change must change nothing", len(got), err)
	}
	if log, _ := s.Audit(ctx, 1, 100); len(log) != 3 {
		t.Errorf("%d audit records, want 3: site, gateway, server", len(log))
	}
}

func TestUnknownServerIsNotFound(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.RemoveServer(t.Context(), "test", "x"); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("remove: %v", err)
	}
	_, err := s.SetServer(t.Context(), "test", "x", func(v Server) (Server, error) { return v, nil })
	if !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("set: %v", err)
	}
}

func TestDocumentsCarryEverythingAndRise(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	_, cpErr := s.AddConnectionPoint(ctx, "test", "cp-1")
	if err := errors.Join(s.PutGateway(ctx, "test", gateway()), cpErr, s.AddServer(ctx, "test", server("updates", "http://10.0.0.5:8080/base"))); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for range 3 {
		d, err := s.Documents(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if d.Generation <= last {
			t.Errorf("generation %d after %d", d.Generation, last)
		}
		last = d.Generation
		keys := signed.NewKeySet(s.PublicKey())
		var g signed.GatewayDocument
		h, err := signed.Open(d.Gateways["main"], signed.KindGateway, keys, &g)
		if err != nil || h.Generation != last || len(g.Publications) != 1 || len(g.ConnectionPoints) != 1 || len(g.Instances) != 1 || len(g.DeviceTrust.CAs) != 1 {
			t.Errorf("gateway document %+v, %v", g, err)
		}
		if valid := h.ValidUntil.Sub(h.Issued); valid != causeway.DocumentValidity || valid+causeway.DocumentGrace != 72*time.Hour {
			t.Errorf("valid for %v and obeyed for %v, want 72h in all", valid, valid+causeway.DocumentGrace)
		}
		if bytes.Contains(d.Gateways["main"], []byte("10.0.0.5")) {
			t.Error("the gateway document names an inside address")
		}
		var c signed.ConnectionPointDocument
		if _, err := signed.Open(d.ConnectionPoint, signed.KindConnectionPoint, keys, &c); err != nil || len(c.Servers) != 1 || len(c.Gateways) != 1 {
			t.Errorf("connection-point document %+v, %v", c, err)
		} else if g := c.Gateways[0]; g.Address != "192.0.2.1" || g.Instances[0].Address != "192.0.2.2" {
			t.Errorf("connection points dial %+v", g)
		}
	}
}

func TestEveryChangeOfAServerIsAudited(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	a, b, c := server("a", "http://10.0.0.1"), server("b", "http://10.0.0.2"), server("c", "http://10.0.0.3")
	moved := func(v Server) (Server, error) {
		v.URL = "http://10.0.0.22"
		return v, nil
	}
	if err := errors.Join(s.AddServer(ctx, "up", a), s.AddServer(ctx, "up", b), s.RemoveServer(ctx, "up", "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetServer(ctx, "up", "b", moved); err != nil {
		t.Fatal(err)
	}
	if err := s.AddServer(ctx, "up", c); err != nil {
		t.Fatal(err)
	}
	log, err := s.Audit(ctx, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range log {
		got = append(got, r.Action+" "+r.Subject)
	}
	want := []string{"site.create " + string(s.ID()), "server.add a", "server.add b", "server.remove a", "server.set b", "server.add c"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("audit log %q, want %q", got, want)
	}
}

func TestAuditChainShowsTampering(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct{ name, sql string }{
		{"changed", "UPDATE audit SET by = 'nobody' WHERE seq = 2"},
		{"removed", "DELETE FROM audit WHERE seq = 2"},
		{"replaced hash", "UPDATE audit SET hash = 'x' WHERE seq = 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			for i := range 3 {
				if err := s.AddServer(ctx, "test", server(fmt.Sprint("s", i), "http://h")); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.VerifyAudit(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := s.db.Exec(tt.sql); err != nil {
				t.Fatal(err)
			}
			if s.VerifyAudit(ctx) == nil {
				t.Error("the chain still verifies")
			}
		})
	}
}

func TestChangeThatCannotBeAuditedDoesNotHappen(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.db.Exec("DROP TABLE audit"); err != nil {
		t.Fatal(err)
	}
	if s.AddServer(t.Context(), "test", server("a", "http://h")) == nil {
		t.Error("the change was accepted")
	}
	if got, err := s.Servers(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%d servers, %v; want none", len(got), err)
	}
}

func TestActionsWithoutAChangeAreRecorded(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Record(t.Context(), "me", "site.stop", "s"); err != nil {
		t.Fatal(err)
	}
	all, err := s.Audit(t.Context(), 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	if last := all[len(all)-1]; last.By != "me" || last.Action != "site.stop" || last.Subject != "s" {
		t.Errorf("last record is %+v", last)
	}
	if err := s.VerifyAudit(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestInstanceIDsAreNeverReused(t *testing.T) {
	dir := t.TempDir()
	seen := map[causeway.InstanceID]bool{}
	for range 3 {
		s := open(t, dir)
		for range 3 {
			id, err := s.NextInstanceID(t.Context())
			if err != nil || seen[id] {
				t.Fatalf("id %s again, %v", id, err)
			}
			seen[id] = true
		}
		s.Close()
	}
}

const crashDir = "CAUSEWAY_TEST_CRASH_DIR"

// TestMain lets the test binary be the writer that TestKilledWriterLosesNothing kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashWriter(dir)
		return
	}
	os.Exit(m.Run())
}

// crashWriter adds servers for ever and says which were acknowledged.
func crashWriter(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, dir, nil)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("s-%d-%d", os.Getpid(), i)
		if err := s.AddServer(ctx, "crash", server(name, "http://h")); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("ok", name)
	}
}

func TestKilledWriterLosesNothing(t *testing.T) {
	dir := t.TempDir()
	acked := map[causeway.ServerName]bool{}
	for round := range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			word, name, _ := strings.Cut(lines.Text(), " ")
			if word != "ok" {
				t.Errorf("writer: %s", lines.Text())
			}
			acked[causeway.ServerName(name)] = true
			if n == 1+round*3%7 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		s := open(t, dir)
		if err := s.VerifyAudit(t.Context()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		got, err := s.Servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		have := map[causeway.ServerName]bool{}
		for _, v := range got {
			have[v.Name] = true
		}
		for name := range acked {
			if !have[name] {
				t.Errorf("round %d: acknowledged %s is gone", round, name)
			}
		}
		s.Close()
	}
	if len(acked) < 10 {
		t.Errorf("only %s writes were acknowledged", strconv.Itoa(len(acked)))
	}
}
