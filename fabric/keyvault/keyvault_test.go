package keyvault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testTenant = "11111111-2222-4333-8444-555555555555"
	testSuffix = "vault.test:9443"
	audience   = "https://vault.test:9443"
)

// Who asks: a token is the name.
var principals = map[string]azure.Principal{
	"manager":  {Tenant: testTenant, Object: "aaaaaaaa-0000-4000-8000-000000000001", App: "bbbbbbbb-0000-4000-8000-000000000001"},
	"instance": {Tenant: testTenant, Object: "aaaaaaaa-0000-4000-8000-000000000002", App: "bbbbbbbb-0000-4000-8000-000000000002"},
	"stranger": {Tenant: testTenant, Object: "aaaaaaaa-0000-4000-8000-000000000003", App: "bbbbbbbb-0000-4000-8000-000000000003"},
}

// A fixture is a service with the vault "one", which the manager may use wholly, and the instance to get secrets.
type fixture struct {
	*Service
	t       *testing.T
	dir     string
	state   *state.Store
	server  *httptest.Server
	time    time.Time
	allowed map[string]bool // data actions that roles allow
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), time: time.Now(), allowed: make(map[string]bool)}
	var err error
	if f.state, err = state.Open(t.Context(), f.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.state.Close() })
	f.reopen()
	f.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.ServeHTTP(w, r) }))
	t.Cleanup(f.server.Close)
	f.make(t, "one")
	return f
}

func (f *fixture) reopen() {
	f.t.Helper()
	s, err := Open(f.t.Context(), Config{State: f.state, Now: func() time.Time { return f.time }, Log: slog.New(slog.DiscardHandler), Suffix: testSuffix,
		Authority: "https://login.test:9443/" + testTenant, Tenant: testTenant,
		Verify: func(token string, audiences ...string) (azure.Principal, error) {
			p, ok := principals[token]
			if !ok || audiences[0] != audience {
				return p, azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "no")
			}
			return p, nil
		},
		Allowed: func(p azure.Principal, action string, data bool, on azure.ID) bool {
			return data && p == principals["stranger"] && f.allowed[action] && on.Type() == "Microsoft.KeyVault/vaults"
		}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Service = s
}

func spec(name string) Spec {
	return Spec{Name: name, ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/" + name, Location: "westeurope", Tenant: testTenant, Retention: 7, Policies: []Policy{
		{Tenant: testTenant, Object: principals["manager"].Object, Secrets: []string{"All"}, Certificates: []string{"all"}, Keys: []string{"get"}},
		{Tenant: testTenant, Object: strings.ToUpper(principals["instance"].Object), Secrets: []string{"Get"}},
	}}
}

func (f *fixture) make(t *testing.T, name string) {
	t.Helper()
	if _, made, err := f.PutVault(t.Context(), spec(name)); err != nil || !made {
		t.Fatalf("PutVault(%s) = %v, %v", name, made, err)
	}
}

// client dials the server for whatever host a vault has.
func (f *fixture) client() *http.Client {
	c := f.server.Client()
	transport := c.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.ServerName = "example.com"
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, f.server.Listener.Addr().String())
	}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A reply is an answer of the data plane.
type reply struct {
	status int
	header http.Header
	bundle
	Error struct {
		Code, Message string
		Inner         struct{ Code string } `json:"innererror"`
	}
	Items []bundle `json:"-"`
}

// do sends a request to the vault "one" as somebody; a path without "?" gets a version.
func (f *fixture) do(who, method, path, body string) (a reply) {
	f.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?api-version=7.5"
	}
	r := httptest.NewRequestWithContext(f.t.Context(), method, "https://one."+testSuffix+path, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	return f.send(r)
}

func (f *fixture) send(r *http.Request) (a reply) {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	a.status, a.header = w.Code, w.Header()
	text := w.Body.Bytes()
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a); err != nil {
			var l struct{ Value []bundle }
			if err := json.Unmarshal(text, &l); err != nil {
				f.t.Fatalf("%s %s: %v\n%s", r.Method, r.URL, err, text)
			}
			a.Items = l.Value
		}
	}
	return a
}

func (f *fixture) want(a reply, status int, code string) {
	f.t.Helper()
	got := a.Error.Code
	if a.Error.Inner.Code != "" {
		got += "/" + a.Error.Inner.Code
	}
	if a.status != status || got != code {
		f.t.Errorf("answer is %d %q (%s), want %d %q", a.status, got, a.Error.Message, status, code)
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return azure.AsError(err).Code
}

func TestWhoHasNoTokenIsToldWhereToGetOne(t *testing.T) {
	f := newFixture(t)
	for who, message := range map[string]string{"": "AKV10000", "nobody": "AKV10022"} {
		a := f.do(who, "GET", "/secrets", "")
		f.want(a, 401, "Unauthorized")
		if want := `Bearer authorization="https://login.test:9443/` + testTenant + `", resource="` + audience + `"`; a.header.Get("WWW-Authenticate") != want {
			t.Errorf("challenge %q, want %q", a.header.Get("WWW-Authenticate"), want)
		}
		if !strings.HasPrefix(a.Error.Message, message) {
			t.Errorf("message %q, want %s", a.Error.Message, message)
		}
	}
}

func TestPoliciesSayWhoMayDoWhat(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("manager", "PUT", "/secrets/password", `{"value":"p"}`), 200, "")
	if got := f.do("instance", "GET", "/secrets/password", ""); got.status != 200 || *got.Value != "p" {
		t.Errorf("the instance gets %d", got.status)
	}
	for _, op := range operations {
		if op.kind == secrets && op.allow == "get" && strings.HasPrefix(op.path, "secrets") {
			continue
		}
		path := "/" + strings.NewReplacer("{name}", "password", "{version}", strings.Repeat("a", 32)).Replace(op.path)
		if op.path == "deletedsecrets/{name}" && op.method == "GET" {
			f.want(f.do("instance", op.method, path, "{}"), 404, "DeletedSecretNotFound")
		} else {
			f.want(f.do("instance", op.method, path, "{}"), 403, "Forbidden/AccessDenied")
		}
		f.want(f.do("stranger", op.method, path, "{}"), 403, "Forbidden/AccessDenied")
	}
	a := f.do("stranger", "GET", "/secrets/password", "")
	p := principals["stranger"]
	want := "The user, group or application 'appid=" + p.App + ";oid=" + p.Object + ";iss=https://login.test:9443/" + testTenant + "' does not have secrets get permission on key vault 'one;location=westeurope'."
	if !strings.HasPrefix(a.Error.Message, want) {
		t.Errorf("message %q, want %q…", a.Error.Message, want)
	}
}

func TestRolesSayItWhereTheVaultWantsThem(t *testing.T) {
	f := newFixture(t)
	s := spec("one")
	s.RBAC = true
	if _, _, err := f.PutVault(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("manager", "PUT", "/secrets/password", `{"value":"p"}`), 403, "Forbidden/ForbiddenByRbac")
	f.want(f.do("stranger", "PUT", "/secrets/password", `{"value":"p"}`), 403, "Forbidden/ForbiddenByRbac")
	f.allowed["Microsoft.KeyVault/vaults/secrets/setSecret/action"] = true
	f.want(f.do("stranger", "PUT", "/secrets/password", `{"value":"p"}`), 200, "")
	f.want(f.do("stranger", "GET", "/secrets/password", ""), 403, "Forbidden/ForbiddenByRbac")
}

func TestBadRequests(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("manager", "PUT", "/secrets/s", `{"value":"v"}`), 200, "")
	tags := make(map[string]string)
	for i := range mostTags + 1 {
		tags[fmt.Sprint(i)] = ""
	}
	many, _ := json.Marshal(map[string]any{"value": "v", "tags": tags})
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"no version":             {"GET", "/secrets?", "", 400, "BadParameter"},
		"a version of no time":   {"GET", "/secrets?api-version=2", "", 400, "BadParameter"},
		"a name that is none":    {"PUT", "/secrets/a_b", `{"value":"v"}`, 400, "BadParameter"},
		"a name too long":        {"PUT", "/secrets/" + strings.Repeat("a", 128), `{"value":"v"}`, 400, "BadParameter"},
		"another operation":      {"POST", "/secrets/s", `{}`, 404, "NotFound"},
		"beyond the vault":       {"GET", "/secrets/../../two/secrets/s", "", 404, "NotFound"},
		"no body":                {"PUT", "/secrets/s", "", 400, "BadParameter"},
		"no JSON":                {"PUT", "/secrets/s", `{"value":`, 400, "BadParameter"},
		"no value":               {"PUT", "/secrets/s", `{}`, 400, "BadParameter"},
		"too long a value":       {"PUT", "/secrets/s", `{"value":"` + strings.Repeat("v", mostValueBytes+1) + `"}`, 400, "BadParameter"},
		"too long a type":        {"PUT", "/secrets/s", `{"value":"v","contentType":"` + strings.Repeat("v", 257) + `"}`, 400, "BadParameter"},
		"too much":               {"PUT", "/secrets/s", strings.Repeat(" ", maxRequestBytes+1), 413, "RequestTooLarge"},
		"too many tags":          {"PUT", "/secrets/s", string(many), 400, "BadParameter"},
		"ended before it began":  {"PUT", "/secrets/s", `{"value":"v","attributes":{"nbf":5,"exp":5}}`, 400, "BadParameter"},
		"pages of nothing":       {"GET", "/secrets?api-version=7.5&maxresults=0", "", 400, "BadParameter"},
		"pages too large":        {"GET", "/secrets?api-version=7.5&maxresults=26", "", 400, "BadParameter"},
		"a page that is none":    {"GET", "/secrets?api-version=7.5&$skiptoken=%25", "", 400, "BadParameter"},
		"no such secret":         {"GET", "/secrets/t", "", 404, "SecretNotFound"},
		"no such version":        {"GET", "/secrets/s/" + strings.Repeat("0", 32), "", 404, "SecretNotFound"},
		"not deleted":            {"DELETE", "/deletedsecrets/s", "", 404, "DeletedSecretNotFound"},
		"a key that there isn't": {"GET", "/keys/s", "", 404, "CertificateNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			g := *f
			g.t = t
			g.want(g.do("manager", tt.method, tt.path, tt.body), tt.status, tt.code)
		})
	}
}

func TestVaultsAreFoundByHostAndByPath(t *testing.T) {
	f := newFixture(t)
	f.make(t, "two")
	f.want(f.do("manager", "PUT", "/secrets/s", `{"value":"of one"}`), 200, "")
	for url, status := range map[string]int{
		"https://one.vault.test:9443/secrets/s": 200,
		"https://ONE.Vault.Test/secrets/S":      200,
		"https://127.0.0.1:9443/one/secrets/s":  200,
		"https://127.0.0.1:9443/two/secrets/s":  404,
		"https://two.vault.test/secrets/s":      404,
		"https://three.vault.test/secrets/s":    404,
		"https://127.0.0.1/":                    404,
		"https://one.vault.test/one/secrets/s":  404,
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", url+"?api-version=7.5", nil)
		r.Header.Set("Authorization", "Bearer manager")
		if a := f.send(r); a.status != status {
			t.Errorf("%s: %d, want %d", url, a.status, status)
		}
	}
}

func TestALifeOfAVault(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("manager", "PUT", "/secrets/s", `{"value":"secret of the first"}`), 200, "")
	if reason, _ := f.CheckName("ONE"); reason != "AlreadyExists" {
		t.Errorf("CheckName = %q", reason)
	}
	if err := f.PurgeVault(t.Context(), "one"); code(err) != "DeletedVaultNotFound" {
		t.Errorf("a live vault is purged: %v", err)
	}
	if err := f.DeleteVault(t.Context(), "One"); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("manager", "GET", "/secrets/s", ""), 404, "VaultNotFound")
	if _, _, err := f.PutVault(t.Context(), spec("one")); code(err) != "ConflictError" {
		t.Errorf("a deleted vault is made again: %v", err)
	}
	f.reopen()
	if d := f.DeletedVaults(); len(d) != 1 || d[0].Name != "one" || d[0].PurgeAfter.Sub(d[0].Deleted) != 7*24*time.Hour {
		t.Errorf("deleted vaults %+v", d)
	}
	if err := f.RecoverVault(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("manager", "GET", "/secrets/s", ""), 200, "")
	if err := errors.Join(f.DeleteVault(t.Context(), "one"), f.PurgeVault(t.Context(), "one")); err != nil {
		t.Fatal(err)
	}
	if reason, _ := f.CheckName("one"); reason != "" {
		t.Errorf("CheckName = %q", reason)
	}
	f.make(t, "one")
	f.want(f.do("manager", "GET", "/secrets/s", ""), 404, "SecretNotFound")
	for _, bucket := range []string{objectBucket, versionBucket, valueBucket} {
		if err := f.state.View(t.Context(), func(tx *state.Tx) error {
			for e := range tx.Scan(bucket, "", "") {
				t.Errorf("%s still has %s", bucket, e.Key)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestVaultsThatAreRefused(t *testing.T) {
	f := newFixture(t)
	no, yes := false, true
	for want, change := range map[string]func(*Spec){
		"VaultNameNotValid":  func(s *Spec) { s.Name = "a--b" },
		"BadRequest tenant":  func(s *Spec) { s.Tenant = "another" },
		"BadRequest purge":   func(s *Spec) { s.Protected = &no },
		"BadRequest days":    func(s *Spec) { s.Retention = 6 },
		"BadRequest same":    func(s *Spec) { s.Retention = 8 },
		"BadRequest object":  func(s *Spec) { s.Policies[0].Object = "me" },
		"BadRequest get":     func(s *Spec) { s.Policies[0].Secrets = []string{"fetch"} },
		"VaultAlreadyExists": func(s *Spec) { s.ID += "x" },
	} {
		s := spec("one")
		change(&s)
		if _, _, err := f.PutVault(t.Context(), s); code(err) != strings.Fields(want)[0] {
			t.Errorf("%s: %v", want, err)
		}
	}
	s := spec("one")
	s.Protected = &yes
	if _, _, err := f.PutVault(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if v, _, err := f.PutVault(t.Context(), spec("one")); err != nil || !v.Protected {
		t.Errorf("purge protection is taken back: %v", err)
	}
	if err := errors.Join(f.DeleteVault(t.Context(), "one")); err != nil {
		t.Fatal(err)
	}
	if err := f.PurgeVault(t.Context(), "one"); code(err) != "DeletedVaultPurge" {
		t.Errorf("a protected vault is purged: %v", err)
	}
}

func TestWhatIsDeletedGoesWhenItsTimeIsOver(t *testing.T) {
	f := newFixture(t)
	f.make(t, "two")
	f.want(f.do("manager", "PUT", "/secrets/s", `{"value":"v"}`), 200, "")
	f.want(f.do("manager", "PUT", "/secrets/stays", `{"value":"v"}`), 200, "")
	if got := f.do("manager", "DELETE", "/secrets/s", ""); got.PurgeDate-got.DeletedDate != 7*24*3600 || got.Value != nil {
		t.Errorf("deleted: %+v", got)
	}
	if err := f.DeleteVault(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	sweep := func() {
		t.Helper()
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	f.want(f.do("manager", "GET", "/deletedsecrets/s", ""), 200, "")
	f.time = f.time.AddDate(0, 0, 7).Add(time.Second)
	sweep()
	f.want(f.do("manager", "GET", "/deletedsecrets/s", ""), 404, "DeletedSecretNotFound")
	f.want(f.do("manager", "GET", "/secrets/stays", ""), 200, "")
	if _, ok := f.DeletedVault("two"); ok {
		t.Error("the deleted vault is still there")
	}
}

func TestValuesAreSealedOnDisk(t *testing.T) {
	f := newFixture(t)
	const secret = "correct-horse-battery-staple"
	f.want(f.do("manager", "PUT", "/secrets/s", `{"value":"`+secret+`"}`), 200, "")
	if err := f.state.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(f.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("PUT", "/secrets/s", "api-version=7.5", `{"value":"v"}`)
	f.Add("GET", "/one/certificates/c/policy", "api-version=7.5&maxresults=3", "")
	f.Add("POST", "/certificates/c/import", "api-version=2025-07-01", `{"value":"-----BEGIN","pwd":""}`)
	s, err := state.Open(context.Background(), f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	v, err := Open(context.Background(), Config{State: s, Now: time.Now, Log: slog.New(slog.DiscardHandler), Suffix: testSuffix, Tenant: testTenant,
		Verify: func(string, ...string) (azure.Principal, error) { return principals["manager"], nil }})
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := v.PutVault(context.Background(), spec("one")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		r := httptest.NewRequest("GET", "https://one.vault.test/", strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header.Set("Authorization", "Bearer manager")
		w := httptest.NewRecorder()
		v.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		if text, _ := io.ReadAll(w.Body); len(text) > 0 && !json.Valid(text) {
			t.Errorf("answer is no JSON: %q", text)
		}
	})
}
