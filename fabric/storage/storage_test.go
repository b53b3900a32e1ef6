package storage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	blobHost  = "blob.storage.test:9443"
	tableHost = "table.storage.test:9443"
	tenant    = "11111111-1111-4111-8111-111111111111"
)

func guid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// Principals of the tests, by what they may do.
var (
	owner    = guid(1) // all data of account "first"
	reader   = guid(2) // reads its blobs and tables
	nobody   = guid(3)
	adder    = guid(4) // may add blobs and entities, and do nothing else
	firstID  = must(azure.GroupID("s", "g").Resource("Microsoft.Storage/storageAccounts", "first"))
	secondID = must(azure.GroupID("s", "g").Resource("Microsoft.Storage/storageAccounts", "second"))
)

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// A clock goes where it is set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A fixture is a service with the accounts "first" and "second", behind TLS.
type fixture struct {
	*Service
	t      *testing.T
	dir    string
	store  *state.Store
	clock  *clock
	access *access.Control
	blobs  *httptest.Server
}

func open(t *testing.T) *fixture {
	f := &fixture{t: t, dir: t.TempDir(), clock: &clock{t: time.Now().Truncate(time.Second)}}
	f.store = must(state.Open(t.Context(), f.dir))
	f.access = must(access.Open(t.Context(), f.store, f.clock.now))
	t.Cleanup(func() { f.store.Close() })
	f.start()
	all := Settings{AllowSharedKeyAccess: true, AllowBlobPublicAccess: true}
	must(f.CreateAccount(t.Context(), "first", firstID, all))
	must(f.CreateAccount(t.Context(), "second", secondID, all))
	adding := access.Role{ID: guid(90), Name: "adder", Scopes: []string{"/subscriptions/s"}, Permissions: []access.Permission{{DataActions: []string{
		blobActions + "add/action", "Microsoft.Storage/storageAccounts/tableServices/tables/entities/add/action"}}}}
	if err := f.access.PutRole(t.Context(), adding); err != nil {
		t.Fatal(err)
	}
	for i, a := range []struct{ who, role string }{{owner, access.StorageBlobDataOwner}, {owner, access.StorageTableDataContrib}, {reader, access.StorageBlobDataReader},
		{reader, access.StorageTableDataReader}, {adder, guid(90)}} {
		must(f.access.Assign(t.Context(), access.Assignment{ID: guid(100 + i), Scope: firstID.String(), Role: a.role, Principal: a.who}))
	}
	return f
}

// start begins or restarts the service on the same state.
func (f *fixture) start() {
	f.Service = must(New(f.t.Context(), Config{State: f.store, Dir: filepath.Join(f.dir, "blobs"), BlobHost: blobHost, TableHost: tableHost, Authority: "https://login.test/" + tenant,
		Verify: verify, Allowed: f.access.Allowed, Now: f.clock.now, Log: slog.New(slog.DiscardHandler)}))
	f.blobs = f.serve(f.BlobHandler())
}

func (f *fixture) serve(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	f.t.Cleanup(s.Close)
	return s
}

// verify takes "audience object" for a token.
func verify(token string, audiences ...string) (azure.Principal, error) {
	audience, object, _ := strings.Cut(token, " ")
	if !slices.Contains(audiences, audience) {
		return azure.Principal{}, azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "no")
	}
	return azure.Principal{Tenant: tenant, Object: object, Type: "ServicePrincipal"}, nil
}

func bearer(object string) string { return "Authorization: Bearer " + storageAudience + " " + object }

// client returns one that reaches a server by any name.
func client(s *httptest.Server) *http.Client {
	address := s.Listener.Addr().String()
	transport := s.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.ServerName = "example.com" // of httptest's certificate
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// An answer is one that was read to its end.
type answer struct {
	*http.Response
	body string
}

// do sends a request to the blob plane of "first", with headers as "Name: value".
func (f *fixture) do(method, path, body string, headers ...string) answer {
	f.t.Helper()
	return f.send(f.blobs, "https://first."+blobHost, method, path, body, headers...)
}

func (f *fixture) send(s *httptest.Server, base, method, path, body string, headers ...string) answer {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	c := client(s)
	defer c.CloseIdleConnections()
	resp, err := c.Do(r)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp, string(text)}
}

// want checks the status, and the error code if there is one ("201", "409 BlobAlreadyExists").
func (a answer) want(t *testing.T, want string) answer {
	t.Helper()
	got := strings.TrimSpace(fmt.Sprint(a.StatusCode) + " " + a.Header.Get("x-ms-error-code"))
	if got != want {
		t.Errorf("%s %s: %s, want %s: %s", a.Request.Method, a.Request.URL.Path, got, want, a.body)
	}
	for _, name := range []string{"x-ms-request-id", "x-ms-version", "Date"} {
		if a.Header.Get(name) == "" {
			t.Errorf("%s %s: %s is missing", a.Request.Method, a.Request.URL.Path, name)
		}
	}
	return a
}

// put makes a blob as its owner.
func (f *fixture) put(path, body string, headers ...string) answer {
	f.t.Helper()
	return f.do("PUT", path, body, append([]string{bearer(owner), "x-ms-blob-type: BlockBlob"}, headers...)...)
}

func (f *fixture) get(path string, headers ...string) answer {
	f.t.Helper()
	return f.do("GET", path, "", append([]string{bearer(owner)}, headers...)...)
}

func (f *fixture) container(name string) {
	f.t.Helper()
	if err := f.CreateContainer(f.t.Context(), "first", name, "", nil); err != nil {
		f.t.Fatal(err)
	}
}

// files counts what lies on the shelf.
func (f *fixture) files() (n int) {
	f.t.Helper()
	for _, name := range must(filepath.Glob(filepath.Join(f.dir, "blobs", "*", "*"))) {
		if info := must(os.Stat(name)); info.Mode().Perm() != 0o600 {
			f.t.Errorf("%s has mode %v", name, info.Mode())
		}
		n++
	}
	return n
}

func isAzure(err error, code string) bool {
	e, ok := errors.AsType[*azure.Error](err)
	return ok && e.Code == code
}

func TestAccountsAreMadeChangedAndDeleted(t *testing.T) {
	f, ctx := open(t), t.Context()
	for _, name := range []string{"", "ab", "Abc", "a-b", strings.Repeat("a", 25), "a.b", "../x"} {
		if _, err := f.CreateAccount(ctx, name, firstID, Settings{}); !isAzure(err, "AccountNameInvalid") {
			t.Errorf("CreateAccount(%q) = %v", name, err)
		}
	}
	if _, err := f.CreateAccount(ctx, "first", secondID, Settings{}); !isAzure(err, "StorageAccountAlreadyTaken") {
		t.Errorf("another's account: %v", err)
	}
	if err := f.CheckName("first"); !isAzure(err, "StorageAccountAlreadyTaken") {
		t.Errorf("CheckName = %v", err)
	}
	if _, err := f.SetAccount(ctx, "first", Settings{MinimumTLSVersion: "TLS1_0"}); err == nil {
		t.Error("an old TLS was taken")
	}
	before := must(f.Keys("first"))
	if err := f.RegenerateKey(ctx, "first", "KEY2"); err != nil {
		t.Fatal(err)
	}
	again := must(f.CreateAccount(ctx, "first", firstID, Settings{AllowSharedKeyAccess: true}))
	f.start()
	after := must(f.Keys("first"))
	if before[0] != after[0] || before[1].Value == after[1].Value || len(after[0].Value) != 88 {
		t.Errorf("keys are %v, then %v", before, after)
	}
	if got := must(f.Account("first")); got.AllowBlobPublicAccess || !got.AllowSharedKeyAccess || got.Name != again.Name || got.MinimumTLSVersion != "TLS1_2" {
		t.Errorf("Account = %+v", got)
	}
	if blob, table := f.Endpoints("first"); blob != "https://first."+blobHost+"/" || table != "https://first."+tableHost+"/" {
		t.Errorf("Endpoints = %s, %s", blob, table)
	}
	f.container("box")
	f.put("/box/a", "text").want(t, "201")
	if u := must(f.Usage(ctx, "first")); u.Blobs != 1 || u.Capacity != 4 || u.Ingress < 4 {
		t.Errorf("Usage = %+v", u)
	}
	if err := f.DeleteAccount(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Account("first"); !isAzure(err, "ResourceNotFound") || f.files() != 0 {
		t.Errorf("after its end: %v, %d files", err, f.files())
	}
	must(f.CreateAccount(ctx, "first", firstID, Settings{}))
	f.get("/box/a").want(t, "404 ContainerNotFound")
}

func TestContainersAreListedByTheControlPlane(t *testing.T) {
	f, ctx := open(t), t.Context()
	for _, name := range []string{"aaa", "bbb", "ccc"} {
		if err := f.CreateContainer(ctx, "first", name, "Blob", map[string]string{"K": "v"}); err != nil {
			t.Fatal(err)
		}
	}
	list, next, err := f.Containers(ctx, "first", "", 2)
	if err != nil || len(list) != 2 || next != "ccc" || list[0].PublicAccess != "Blob" || list[0].Metadata["k"] != "v" {
		t.Errorf("Containers = %v, %q, %v", list, next, err)
	}
	if err := f.CreateContainer(ctx, "first", "bbb", "None", nil); err != nil {
		t.Fatal(err)
	}
	if c, err := f.Container(ctx, "first", "bbb"); err != nil || c.PublicAccess != "None" || len(c.Metadata) != 0 || c.ETag == list[1].ETag {
		t.Errorf("Container = %+v, %v, after %+v", c, err, list[1])
	}
	if _, err := f.Container(ctx, "first", "none"); !isAzure(err, "ContainerNotFound") {
		t.Errorf("Container = %v", err)
	}
	if err := f.DeleteContainer(ctx, "first", "aaa"); err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteContainer(ctx, "first", "aaa"); !isAzure(err, "ContainerNotFound") {
		t.Errorf("deleted twice: %v", err)
	}
	if list, next, err := f.Containers(ctx, "first", "b", 0); err != nil || len(list) != 2 || next != "" {
		t.Errorf("Containers = %v, %q, %v", list, next, err)
	}
	if _, err := f.SetAccount(ctx, "first", Settings{}); err != nil {
		t.Fatal(err)
	}
	if err := f.CreateContainer(ctx, "first", "ddd", "Container", nil); !isAzure(err, "PublicAccessNotPermitted") {
		t.Errorf("a public container: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	f := open(t)
	for _, c := range []Config{{}, {State: f.store}, {State: f.store, Dir: "x"}, {State: f.store, Dir: "x", BlobHost: "b", TableHost: "t"}} {
		if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "config") {
			t.Errorf("New = %v", err)
		}
	}
}

func TestOnlyGoodConnectionsAreServed(t *testing.T) {
	f := open(t)
	if _, err := f.SetAccount(t.Context(), "first", Settings{MinimumTLSVersion: "TLS1_3"}); err != nil {
		t.Fatal(err)
	}
	ask := func(state *tls.ConnectionState, host string) string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "https://"+host+"/first/?comp=list", nil)
		r.TLS, r.Host = state, host
		f.BlobHandler().ServeHTTP(w, r)
		return w.Header().Get("x-ms-error-code")
	}
	for _, tt := range []struct {
		state      *tls.ConnectionState
		host, want string
	}{
		{nil, "127.0.0.1", "AccountRequiresHttps"},
		{&tls.ConnectionState{Version: tls.VersionTLS12}, "127.0.0.1", "TlsVersionNotPermitted"},
		{&tls.ConnectionState{Version: tls.VersionTLS13}, "127.0.0.1", "NoAuthenticationInformation"},
		{&tls.ConnectionState{Version: tls.VersionTLS13}, "[::1]:443", "NoAuthenticationInformation"},
		{&tls.ConnectionState{Version: tls.VersionTLS13}, blobHost, "NoAuthenticationInformation"},
		{&tls.ConnectionState{Version: tls.VersionTLS13}, "evil.example", "InvalidUri"},
		{&tls.ConnectionState{Version: tls.VersionTLS13}, "x.evil." + blobHost, "ResourceNotFound"},
		{&tls.ConnectionState{Version: tls.VersionTLS13}, tableHost, "InvalidUri"},
	} {
		if got := ask(tt.state, tt.host); got != tt.want {
			t.Errorf("%s over %v: %s, want %s", tt.host, tt.state, got, tt.want)
		}
	}
}
