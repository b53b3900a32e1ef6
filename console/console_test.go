package console

import (
	"context"
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

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/unixsock"
	"github.com/causeway-gateway/causeway/policy"
)

func TestMain(m *testing.M) {
	// After a body that is too long, net/http lingers half a second whatever closes the server.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// memory is a site that keeps servers in a map.
type memory struct {
	servers map[causeway.ServerName]Published
	blocks  []Block
	by      []string
	stopped bool
}

func (m *memory) Status(context.Context) (Status, error) {
	return Status{Site: "site-1", Servers: []Published{{ClientKey: "the client key"}}}, nil
}

func (m *memory) Servers(context.Context) (all []Published, _ error) {
	for _, p := range m.servers {
		all = append(all, p)
	}
	return all, nil
}

func (m *memory) AddServer(_ context.Context, by string, p Published) (Change, error) {
	if _, ok := m.servers[p.Name]; ok {
		return Change{}, causeway.WithHint(fmt.Errorf("server %s is already published%w", p.Name, wrapped{causeway.ErrUsage}), "change it with: causeway server set")
	}
	m.by = append(m.by, by)
	m.servers[p.Name] = p
	return Change{Server: p, Generation: 7, Instances: 2, Applied: 2}, nil
}

// wrapped marks an error without adding to its text.
type wrapped struct{ err error }

func (w wrapped) Error() string { return "" }
func (w wrapped) Unwrap() error { return w.err }

func (m *memory) SetServer(_ context.Context, _ string, name causeway.ServerName, c PublishedChange) (Change, error) {
	p, ok := m.servers[name]
	if !ok {
		return Change{}, fmt.Errorf("server %s: %w", name, causeway.ErrNotFound)
	}
	p, err := c.Apply(p)
	m.servers[name] = p
	return Change{Server: p}, err
}

func (m *memory) RemoveServer(_ context.Context, _ string, name causeway.ServerName) (Change, error) {
	if _, ok := m.servers[name]; !ok {
		return Change{}, fmt.Errorf("server %s: %w", name, causeway.ErrNotFound)
	}
	delete(m.servers, name)
	return Change{}, nil
}

func (m *memory) IssueDevice(_ context.Context, _ string, name causeway.DeviceID) (DeviceCertificate, error) {
	return DeviceCertificate{Certificate: "for " + string(name), Key: "its key"}, nil
}

func (m *memory) Devices(context.Context) (Devices, error) {
	return Devices{Certificates: []IssuedDevice{{Device: "pc-1", Blocked: true}}, Blocks: m.blocks}, nil
}

func (m *memory) BlockDevice(_ context.Context, by string, b identity.Block, reason string) (Change, error) {
	m.by = append(m.by, by)
	m.blocks = append(m.blocks, Block{Block: b, Reason: reason})
	return Change{Generation: 8}, nil
}

func (m *memory) UnblockDevice(_ context.Context, by string, b identity.Block) (Change, error) {
	m.by = append(m.by, by)
	if len(m.blocks) == 0 || m.blocks[0].DeviceID != b.DeviceID {
		return Change{}, fmt.Errorf("block of %s: %w", b.DeviceID, causeway.ErrNotFound)
	}
	m.blocks = nil
	return Change{Generation: 9}, nil
}

func (m *memory) Explain(_ context.Context, q Question) (Explanation, error) {
	return Explanation{Admitted: true, Rule: q.URL}, nil
}

func (m *memory) Stop(context.Context, string) error { m.stopped = true; return nil }

const credential = "the credential of this test"

// start serves a site's admin API on a socket and returns a client that holds the right credential.
func start(t *testing.T, uid int) (*memory, *Client, string) {
	t.Helper()
	dir := t.TempDir()
	site := &memory{servers: map[causeway.ServerName]Published{}}
	socket, file := filepath.Join(dir, "admin.sock"), filepath.Join(dir, "admin.token")
	if err := os.WriteFile(file, []byte(credential+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := (&Server{Site: site, Credential: credential, UID: uid, Logger: slog.New(slog.DiscardHandler)}).NewServer()
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	c, err := NewClient(socket, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return site, c, socket
}

func TestClientAndServerAgree(t *testing.T) {
	site, c, _ := start(t, os.Geteuid())
	ctx := t.Context()
	p := Published{URL: "https://10.0.0.5", ClientKey: "secret key", IdentityForms: []string{"nginx"}}
	p.Name, p.Rules = "updates", []policy.Rule{{Path: "/", Methods: []string{"GET"}}}
	ch, err := c.AddServer(ctx, p)
	if err != nil || ch.Generation != 7 || ch.Server.URL != p.URL || ch.Applied != 2 {
		t.Fatalf("AddServer = %+v, %v", ch, err)
	}
	if ch.Server.ClientKey != "" {
		t.Error("the answer to a change holds the client key")
	}
	if got := site.servers["updates"].ClientKey; got != p.ClientKey {
		t.Errorf("the site got client key %q, want the one that was sent", string(got))
	}
	_, err = c.AddServer(ctx, p)
	if !errors.Is(err, causeway.ErrUsage) || causeway.Hint(err) != "change it with: causeway server set" || err.Error() != "server updates is already published" {
		t.Errorf("second AddServer = %v (hint %q), want the site's own words", err, causeway.Hint(err))
	}
	limit := 5
	if ch, err = c.SetServer(ctx, "updates", PublishedChange{MaxInFlight: &limit}); err != nil || ch.Server.MaxInFlight != 5 || ch.Server.URL != p.URL {
		t.Errorf("SetServer = %+v, %v", ch, err)
	}
	list, err := c.Servers(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "updates" || list[0].ClientKey != "" {
		t.Errorf("Servers = %+v, %v; want one without its client key", list, err)
	}
	if _, err := c.RemoveServer(ctx, "updates"); err != nil {
		t.Error(err)
	}
	if _, err := c.RemoveServer(ctx, "updates"); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("second RemoveServer = %v, want not found", err)
	}
	if d, err := c.IssueDevice(ctx, "pc 1/x"); err != nil || d.Certificate != "for pc 1/x" || string(d.Key) != "its key" {
		t.Errorf("IssueDevice = %+v, %v", d, err)
	}
	if ch, err := c.BlockDevice(ctx, identity.Block{DeviceID: "pc-1"}, "stolen"); err != nil || ch.Generation != 8 {
		t.Errorf("BlockDevice = %+v, %v", ch, err)
	}
	if d, err := c.Devices(ctx); err != nil || len(d.Certificates) != 1 || !d.Certificates[0].Blocked || len(d.Blocks) != 1 || d.Blocks[0].DeviceID != "pc-1" || d.Blocks[0].Reason != "stolen" {
		t.Errorf("Devices = %+v, %v", d, err)
	}
	if ch, err := c.UnblockDevice(ctx, identity.Block{DeviceID: "pc-1"}); err != nil || ch.Generation != 9 {
		t.Errorf("UnblockDevice = %+v, %v", ch, err)
	}
	if _, err := c.UnblockDevice(ctx, identity.Block{DeviceID: "pc-1"}); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("second UnblockDevice = %v, want not found", err)
	}
	for _, by := range site.by {
		if want := fmt.Sprintf("uid %d", os.Geteuid()); by != want {
			t.Errorf("the site heard %q, want %q", by, want)
		}
	}
	if e, err := c.Explain(ctx, Question{URL: "https://x/"}); err != nil || !e.Admitted || e.Rule != "https://x/" {
		t.Errorf("Explain = %+v, %v", e, err)
	}
	if st, err := c.Status(ctx); err != nil || st.Site != "site-1" || st.Servers[0].ClientKey != "" {
		t.Errorf("Status = %+v, %v; want it without client keys", st, err)
	}
	if err := c.Stop(ctx); err != nil || !site.stopped {
		t.Errorf("Stop = %v, stopped %v", err, site.stopped)
	}
}

func TestEveryRequestNeedsTheCredential(t *testing.T) {
	_, _, socket := start(t, os.Geteuid())
	for name, header := range map[string]string{
		"none": "", "empty": "Bearer ", "wrong": "Bearer wrong", "other scheme": "Basic " + credential,
		"prefix": "Bearer " + credential[:len(credential)-1], "longer": "Bearer " + credential + "x",
	} {
		for _, route := range []string{"GET /v1/status", "GET /v1/servers", "POST /v1/servers", "PATCH /v1/servers/x", "DELETE /v1/servers/x",
			"GET /v1/devices", "POST /v1/devices/x/certificate", "POST /v1/block", "POST /v1/unblock", "POST /v1/explain", "POST /v1/stop", "GET /anything"} {
			if got := raw(t, socket, route, header, ""); got != http.StatusUnauthorized {
				t.Errorf("%s with credential %s = %d, want 401", route, name, got)
			}
		}
	}
}

func raw(t *testing.T, socket, route, authorization, body string) int {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, "http://site"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return unixsock.Dial(ctx, socket)
	}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestAnotherUserIsRefusedEvenWithTheCredential(t *testing.T) {
	s := &Server{Credential: credential, UID: 1000, Logger: slog.New(slog.DiscardHandler)}
	h := s.authorised(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for _, tt := range []struct {
		peer peer
		want int
	}{
		{peer{1000, true}, 200},
		{peer{0, true}, 200},
		{peer{1001, true}, 403},
		{peer{-1, true}, 403}, // the kernel would not say
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+credential)
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, tt.peer))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("peer %+v = %d, want %d", tt.peer, w.Code, tt.want)
		}
	}
}

func TestAnEmptyCredentialAdmitsNobody(t *testing.T) {
	s := &Server{UID: os.Geteuid(), Logger: slog.New(slog.DiscardHandler)}
	h := s.authorised(http.NotFoundHandler())
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer ")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("request = %d, want 401", w.Code)
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	site, _, socket := start(t, os.Geteuid())
	for name, body := range map[string]string{
		"unknown field": `{"name":"a","url":"http://x","color":"red"}`,
		"two values":    `{"name":"a","url":"http://x"}{}`,
		"not JSON":      `name=a`,
		"too long":      `{"name":"` + strings.Repeat("a", maxRequestBytes) + `"}`,
		"empty":         ``,
	} {
		if got := raw(t, socket, "POST /v1/servers", "Bearer "+credential, body); got != http.StatusBadRequest {
			t.Errorf("%s = %d, want 400", name, got)
		}
		for _, route := range []string{"POST /v1/block", "POST /v1/unblock"} {
			if got := raw(t, socket, route, "Bearer "+credential, body); got != http.StatusBadRequest {
				t.Errorf("%s: %s = %d, want 400", route, name, got)
			}
		}
	}
	if len(site.servers) != 0 || len(site.blocks) != 0 {
		t.Errorf("the site now has %v, %v", site.servers, site.blocks)
	}
}

func TestNoSiteIsNotRunning(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewClient(filepath.Join(dir, "s"), filepath.Join(dir, "t")); !errors.Is(err, causeway.ErrNotRunning) {
		t.Errorf("NewClient without a credential = %v, want ErrNotRunning", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "t"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(filepath.Join(dir, "s"), filepath.Join(dir, "t"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, causeway.ErrNotRunning) {
		t.Errorf("Status without a socket = %v, want ErrNotRunning", err)
	}
}

func TestChangesKeepWhatTheyDoNotName(t *testing.T) {
	p := Published{URL: "http://a", HostHeader: "inside"}
	p.Name, p.Rules = "a", []policy.Rule{{Path: "/"}, {Path: "/x", Burst: 1}}
	host := "a.example.com"
	got, err := (&PublishedChange{Host: &host, Rules: []policy.Rule{{Path: "/x", Burst: 2}, {Path: "/y"}}}).Apply(p)
	if err != nil || got.URL != "http://a" || got.HostHeader != "inside" || got.Host != host || len(got.Rules) != 3 || got.Rules[1].Burst != 2 {
		t.Errorf("Apply = %+v, %v", got, err)
	}
	if p.Rules[1].Burst != 1 {
		t.Error("Apply changed the original")
	}
	if got, err = (&PublishedChange{RemoveRules: []string{"/x"}}).Apply(p); err != nil || len(got.Rules) != 1 {
		t.Errorf("Apply = %+v, %v; want the rule gone", got, err)
	}
	if _, err = (&PublishedChange{RemoveRules: []string{"/z"}}).Apply(p); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("Apply = %v, want not found", err)
	}
}

func TestAnEndpointComesBesideTheRestOfAServerWithoutRules(t *testing.T) {
	var p Published
	p.Name = "a"
	got, err := (&PublishedChange{Rules: []policy.Rule{{Path: "/poll"}}}).Apply(p)
	if err != nil || ruleIndex(got.Rules, "/") < 0 || ruleIndex(got.Rules, "/poll") < 0 || len(got.Rules) != 2 {
		t.Errorf("Apply = %+v, %v; want the rule for / that the server had, and /poll", got.Rules, err)
	}
	got, err = (&PublishedChange{Rules: []policy.Rule{{Path: "/", Burst: 3}}}).Apply(p)
	if err != nil || len(got.Rules) != 1 || got.Rules[0].Burst != 3 {
		t.Errorf("Apply = %+v, %v; want the one rule changed", got.Rules, err)
	}
	got, err = (&PublishedChange{Rules: []policy.Rule{{Path: "/poll"}}, RemoveRules: []string{"/"}}).Apply(p)
	if err != nil || len(got.Rules) != 1 || got.Rules[0].Path != "/poll" {
		t.Errorf("Apply = %+v, %v; want /poll alone, as it was said", got.Rules, err)
	}
	host := "a.example.com"
	if got, err = (&PublishedChange{Host: &host}).Apply(p); err != nil || len(got.Rules) != 0 {
		t.Errorf("Apply = %+v, %v; want no rule written that nobody named", got.Rules, err)
	}
}

func TestTheLastEndpointIsNotTakenAway(t *testing.T) {
	var p Published
	p.Name, p.Rules = "a", []policy.Rule{{Path: "/poll"}}
	for _, path := range []string{"/poll", "/"} {
		if _, err := (&PublishedChange{RemoveRules: []string{path}}).Apply(p); !errors.Is(err, causeway.ErrUsage) || causeway.Hint(err) == "" {
			t.Errorf("Apply = %v; want a refusal with a hint: with no rule left, all of the server would be open", err)
		}
		p.Rules = nil
	}
}

func TestReadOnlySurface(t *testing.T) {
	var ready error
	ro := &ReadOnly{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics here") }),
		Ready:   func() error { return ready },
	}
	h := ro.Handler()
	ask := func(method, target, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, tt := range []struct {
		method, target, host string
		want                 int
	}{
		{"GET", "/metrics", "127.0.0.1:9464", 200},
		{"HEAD", "/metrics", "localhost", 200},
		{"GET", "/livez", "[::1]:9464", 200},
		{"GET", "/readyz", "127.5.6.7:1", 200},
		{"GET", "/", "localhost", 404},
		{"GET", "/v1/status", "localhost", 404},
		{"POST", "/metrics", "localhost", 405},
		{"POST", "/v1/stop", "localhost", 404},
		{"GET", "/metrics", "rebound.example.com:9464", 421},
		{"GET", "/metrics", "localhost.example.com", 421},
		{"GET", "/metrics", "10.0.0.1:9464", 421},
		{"GET", "/metrics", "", 421},
	} {
		if w := ask(tt.method, tt.target, tt.host); w.Code != tt.want {
			t.Errorf("%s %s under %q = %d, want %d", tt.method, tt.target, tt.host, w.Code, tt.want)
		}
	}
	ready = errors.New("no channel")
	if w := ask("GET", "/readyz", "localhost"); w.Code != 503 || !strings.Contains(w.Body.String(), "no channel") {
		t.Errorf("/readyz = %d %q, want 503 with the reason", w.Code, w.Body)
	}
}

// role serves text as a role's metrics on a socket.
func role(t *testing.T, text string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "run.sock")
	ln, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return socket
}

func TestMetricsOfAllRolesCarryTheirNames(t *testing.T) {
	good := role(t, "# TYPE requests_total counter\nrequests_total{code=\"200\"} 3\n")
	liar := role(t, "# TYPE requests_total counter\nrequests_total{role=\"connection-point\",instance=\"0\"} 5\n"+
		"# TYPE causeway_role_up gauge\ncauseway_role_up{role=\"connection-point\",instance=\"cp-1\"} 1\n")
	other := role(t, "# TYPE requests_total gauge\nrequests_total 9\n")
	broken := role(t, "this is { not metrics\n")
	m := &Metrics{Logger: slog.New(slog.DiscardHandler), Targets: func() []Target {
		return []Target{{"gateway", "0", good}, {"gateway", "1", liar}, {"gateway", "2", other}, {"gateway", "3", broken},
			{"connection-point", "cp-1", filepath.Join(t.TempDir(), "gone")}}
	}}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	got := w.Body.String()
	for _, want := range []string{
		`requests_total{code="200",instance="0",role="gateway"} 3`,
		`requests_total{instance="1",role="gateway"} 5`,
		`causeway_role_up{instance="1",role="gateway"} 1`,
		`causeway_role_up{instance="cp-1",role="connection-point"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("metrics lack %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, `causeway_role_up{instance="cp-1",role="connection-point"} 1`) {
		t.Error("a role spoke for another")
	}
	if strings.Contains(got, " 9\n") {
		t.Error("a role changed what kind of metric requests_total is")
	}
}
