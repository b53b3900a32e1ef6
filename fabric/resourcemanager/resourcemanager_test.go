package resourcemanager

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testTenant = "11111111-2222-4333-8444-555555555555"
	testSub    = "99999999-2222-4333-8444-000000000001"
	otherSub   = "99999999-2222-4333-8444-000000000002"
	management = "https://management.test:9443"
	thing      = "Causeway.Test/things"
	slow       = "Causeway.Test/slows"
	whole      = "Causeway.Test/wholes"
)

// Who asks: a token is the name. The owner owns the first subscription.
var principals = map[string]azure.Principal{
	"owner":    {Tenant: testTenant, Object: "aaaaaaaa-0000-4000-8000-000000000001", App: "bbbbbbbb-0000-4000-8000-000000000001", Type: "ServicePrincipal"},
	"reader":   {Tenant: testTenant, Object: "aaaaaaaa-0000-4000-8000-000000000002", App: "bbbbbbbb-0000-4000-8000-000000000002", Type: "ServicePrincipal"},
	"stranger": {Tenant: testTenant, Object: "aaaaaaaa-0000-4000-8000-000000000003", App: "bbbbbbbb-0000-4000-8000-000000000003", Type: "ServicePrincipal"},
}

// A world is what a provider has made real.
type world struct {
	mu     sync.Mutex
	real   map[string]int           // how often by key of the id
	gate   chan struct{}            // slow things wait for it when there is one
	gates  map[string]chan struct{} // by name, in place of gate
	inUse  map[string]bool
	broken map[string]bool // by name
}

func (w *world) count(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.real[strings.ToLower(key)]
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// pass waits for the gate of a resource.
func (w *world) pass(ctx context.Context, r *Resource) error {
	w.mu.Lock()
	gate := w.gate
	if own := w.gates[r.ID.Name()]; own != nil {
		gate = own
	}
	w.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) slowly(do func(context.Context, *Resource) error) func(context.Context, *Resource) error {
	return func(ctx context.Context, r *Resource) error {
		if err := w.pass(ctx, r); err != nil {
			return err
		}
		return do(ctx, r)
	}
}

func (w *world) put(ctx context.Context, r *Resource) error {
	w.mu.Lock()
	broken := w.broken[r.ID.Name()]
	w.mu.Unlock()
	if err := w.pass(ctx, r); err != nil {
		return err
	}
	if broken {
		return azure.Errorf(http.StatusConflict, "AllocationFailed", "There is no room.")
	}
	w.set(func() { w.real[r.ID.Key()]++ })
	return nil
}

func (w *world) remove(_ context.Context, r *Resource) error {
	w.set(func() { delete(w.real, r.ID.Key()) })
	return nil
}

func (w *world) release(_ context.Context, r *Resource) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inUse[r.ID.Name()] {
		return azure.Errorf(http.StatusConflict, "InUse", "The thing '%s' is in use.", r.ID.Name())
	}
	return nil
}

func (w *world) provider() *Provider {
	versions := []string{"2025-01-01", "2024-01-01"}
	check := func(_ context.Context, wish *Wish) error {
		if bad, _ := wish.Body.At("properties", "panic"); bad == true {
			panic("as it was asked for")
		}
		if size, _ := wish.Body.At("properties", "size"); size != nil && size != int64(1) && size != int64(2) {
			return azure.Errorf(http.StatusBadRequest, "InvalidSize", "The size is %v.", size)
		}
		if properties := wish.Body.Object("properties"); properties != nil && !properties.Has("color") {
			properties.Set("color", "white")
		}
		return nil
	}
	return &Provider{Namespace: "Causeway.Test", Types: []*Type{
		{Name: "things", Versions: versions, Secret: []string{"properties.password"}, Check: check, Put: w.put, Delete: w.remove, Release: w.release,
			Show: func(_ context.Context, r *Resource, properties *document.Object) error {
				properties.Set("address", "192.0.2.1/"+r.ID.Name())
				return nil
			},
			Actions: map[string]Action{
				"listKeys": {Do: func(_ context.Context, r *Resource, _ *document.Object) (any, error) {
					return document.NewObject("key", "of "+r.ID.Name()), nil
				}},
				"restart": {Slow: true, Do: func(ctx context.Context, r *Resource, body *document.Object) (any, error) {
					return document.NewObject("how", body.String("how")), w.put(ctx, r)
				}},
			}},
		{Name: "things/parts", Versions: versions, Put: w.put, Delete: w.remove},
		{Name: "slows", Versions: versions, Slow: true, Check: check, Put: w.put, Delete: w.remove, Release: w.release},
		{Name: "wholes", Versions: versions, Slow: true, Delete: w.slowly(w.remove)},
		{Name: "wholes/pieces", Versions: versions, Slow: true, Put: w.put, Delete: w.remove},
	}, Calls: []Call{{Method: "POST", Path: "checkNameAvailability", Action: "Causeway.Test/checkNameAvailability/read",
		Do: func(_ context.Context, _ azure.ID, _ []string, _ *http.Request, body *document.Object) (int, any, error) {
			return http.StatusOK, document.NewObject("nameAvailable", body.String("name") != "taken"), nil
		}}}}
}

// A fixture is a control plane with a test provider, and the group "g".
type fixture struct {
	*Service
	t       *testing.T
	world   *world
	dir     string // of the state
	state   *state.Store
	access  *access.Control
	server  *httptest.Server
	mu      sync.Mutex // guards the field below
	time    time.Time
	stop    context.CancelFunc
	hostile Hostility
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), time: time.Now(), world: &world{real: make(map[string]int), inUse: make(map[string]bool), broken: make(map[string]bool)}}
	var err error
	if f.state, err = state.Open(t.Context(), f.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.state.Close() })
	if f.access, err = access.Open(t.Context(), f.state, f.now); err != nil {
		t.Fatal(err)
	}
	f.grant("owner", access.Owner, "/subscriptions/"+testSub)
	f.grant("reader", access.Reader, "/subscriptions/"+testSub+"/resourceGroups/g")
	f.open()
	t.Cleanup(func() { f.close() })
	f.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.ServeHTTP(w, r) }))
	t.Cleanup(f.server.Close)
	f.want(f.do("owner", "PUT", group1, `{"location":"West Europe"}`), 201, "")
	return f
}

const group1 = "/subscriptions/" + testSub + "/resourceGroups/g"

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) open() {
	f.t.Helper()
	ctx, stop := context.WithCancel(f.t.Context())
	s, err := Open(ctx, Config{State: f.state, Now: f.now, Log: slog.New(slog.DiscardHandler), URL: management, Audiences: []string{management, management + "/"}, Login: "https://login.test:9443", Tenant: testTenant, TenantName: "Test",
		Subscriptions: []Subscription{{testSub, "one"}, {otherSub, "two"}}, Locations: []Location{{"westeurope", "West Europe"}, {"northeurope", "North Europe"}},
		Verify: func(token string, audiences ...string) (azure.Principal, error) {
			p, known := principals[token]
			if !known || audiences[0] != management {
				return p, errors.New("no")
			}
			return p, nil
		},
		Access: f.access, Hostile: f.hostile, Providers: []*Provider{f.world.provider()}, Principal: func(object string) (string, bool) {
			for _, p := range principals {
				if p.Object == object {
					return p.Type, true
				}
			}
			return "", false
		}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Service, f.stop = s, stop
}

// close stops the service in the middle of whatever it does.
func (f *fixture) close() {
	f.stop()
	f.Wait()
}

func (f *fixture) grant(who, role, scope string) {
	f.t.Helper()
	if _, err := f.access.Assign(f.t.Context(), access.Assignment{ID: azure.NewGUID(), Scope: scope, Role: role, Principal: principals[who].Object}); err != nil {
		f.t.Fatal(err)
	}
}

// client dials the server for whatever host the plane has.
func (f *fixture) client() *http.Client {
	transport := f.server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.ServerName = "example.com"
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, f.server.Listener.Addr().String())
	}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A reply is an answer.
type reply struct {
	status int
	header http.Header
	body   *document.Object
}

func (r reply) code() string { return r.body.String("error", "code") }

// do sends a request as somebody. A path without "?" gets a version.
func (f *fixture) do(who, method, path, body string) reply {
	f.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?api-version=2024-01-01"
	}
	r := httptest.NewRequestWithContext(f.t.Context(), method, management+path, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	return f.send(r)
}

func (f *fixture) send(r *http.Request) (got reply) {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	got.status, got.header, got.body = w.Code, w.Header(), &document.Object{}
	if text := w.Body.Bytes(); len(text) > 0 {
		if err := json.Unmarshal(text, got.body); err != nil {
			f.t.Fatalf("%s %s: %v\n%s", r.Method, r.URL, err, text)
		}
	}
	return got
}

func (f *fixture) want(got reply, status int, code string) {
	f.t.Helper()
	if got.status != status || got.code() != code {
		f.t.Errorf("answer is %d %q (%s), want %d %q", got.status, got.code(), got.body.String("error", "message"), status, code)
	}
}

// nowhere looks for a text in all that is kept unsealed.
func (f *fixture) nowhere(text string) {
	f.t.Helper()
	err := f.state.View(f.t.Context(), func(tx *state.Tx) error {
		for _, bucket := range []string{groupBucket, resourceBucket, bodyBucket, operationBucket, requestBucket, deploymentBucket, orderBucket, stepBucket, lockBucket, activityBucket} {
			for e, err := range tx.Scan(bucket, "", "") {
				if err != nil {
					return err
				}
				if strings.Contains(string(e.Value), text) {
					f.t.Errorf("%s %s holds it: %s", bucket, e.Key, e.Value)
				}
			}
		}
		return nil
	})
	if err != nil {
		f.t.Error(err)
	}
}

// ended waits until what an answer speaks of has ended, and returns its status.
func (f *fixture) ended(who string, got reply) reply {
	f.t.Helper()
	url := got.header.Get("Azure-AsyncOperation")
	if url == "" || got.header.Get("Retry-After") == "" {
		f.t.Fatalf("answer %d %s says not where to ask: %v", got.status, got.code(), got.header)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		now := f.do(who, "GET", strings.TrimPrefix(url, management), "")
		if s := now.body.String("status"); s != inProgress && s != "Running" && s != "Accepted" {
			return now
		}
	}
	f.t.Fatalf("not ended within 30 s: %s", url)
	return reply{}
}

func at(kind, name string) string { return group1 + "/providers/" + kind + "/" + name }

func TestBadRequests(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	tags := make(map[string]string)
	for i := range mostTags + 1 {
		tags[strings.Repeat("a", i+1)] = ""
	}
	many, _ := json.Marshal(map[string]any{"location": "westeurope", "tags": tags})
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"no version":                  {"GET", group1 + "?", "", 400, "MissingApiVersionParameter"},
		"a version that is none":      {"GET", group1 + "?api-version=1", "", 400, "InvalidApiVersionParameter"},
		"a version the type has not":  {"GET", at(thing, "t") + "?api-version=2023-01-01", "", 400, "NoRegisteredProviderFound"},
		"another subscription":        {"GET", "/subscriptions/" + testTenant + "/resourceGroups/g", "", 404, "SubscriptionNotFound"},
		"nothing":                     {"GET", "/nothing/at/all", "", 404, "InvalidRequestUri"},
		"an empty segment":            {"GET", "/subscriptions//resourceGroups/g", "", 400, "InvalidRequestUri"},
		"a step up":                   {"GET", group1 + "/../h", "", 400, "InvalidRequestUri"},
		"an escaped slash":            {"GET", "/subscriptions/" + testSub + "/resourceGroups/g%2Fh", "", 400, "InvalidRequestUri"},
		"no such group":               {"GET", "/subscriptions/" + testSub + "/resourceGroups/h", "", 404, "ResourceGroupNotFound"},
		"a thing in no group":         {"PUT", strings.Replace(at(thing, "t"), "/g/", "/h/", 1), `{"location":"westeurope"}`, 404, "ResourceGroupNotFound"},
		"a thing in a subscription":   {"PUT", "/subscriptions/" + testSub + "/providers/" + thing + "/t", `{"location":"westeurope"}`, 400, "InvalidRequestUri"},
		"a thing in nothing":          {"PUT", "/providers/" + thing + "/t", `{"location":"westeurope"}`, 400, "InvalidRequestUri"},
		"no such thing":               {"GET", at(thing, "u"), "", 404, "ResourceNotFound"},
		"no such type":                {"GET", at("Causeway.Test/others", "t"), "", 404, "InvalidResourceType"},
		"no such namespace":           {"GET", at("Causeway.Other/things", "t"), "", 404, "InvalidResourceNamespace"},
		"no such action":              {"POST", at(thing, "t") + "/listNothing", "", 404, "InvalidResourceType"},
		"a method that there isn't":   {"TRACE", at(thing, "t"), "", 405, "MethodNotAllowed"},
		"no body":                     {"PUT", at(thing, "u"), "", 400, "MissingRequestBody"},
		"no JSON":                     {"PUT", at(thing, "u"), "{", 400, "InvalidRequestContent"},
		"a list":                      {"PUT", at(thing, "u"), "[]", 400, "InvalidRequestContent"},
		"too much":                    {"PUT", at(thing, "u"), strings.Repeat(" ", maxBodyBytes+1), 413, "RequestEntityTooLarge"},
		"too deep":                    {"PUT", at(thing, "u"), strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), 400, "InvalidRequestContent"},
		"no location":                 {"PUT", at(thing, "u"), "{}", 400, "LocationRequired"},
		"a location that is none":     {"PUT", at(thing, "u"), `{"location":"here"}`, 400, "LocationNotAvailableForResourceType"},
		"a thing that moves":          {"PUT", at(thing, "t"), `{"location":"northeurope"}`, 409, "InvalidResourceLocation"},
		"another name in the body":    {"PUT", at(thing, "u"), `{"name":"v","location":"westeurope"}`, 400, "InvalidRequestContent"},
		"too many tags":               {"PUT", at(thing, "u"), string(many), 400, "TooManyTags"},
		"tags that are none":          {"PUT", at(thing, "u"), `{"location":"westeurope","tags":{"a":1}}`, 400, "InvalidTagNameValue"},
		"what the type refuses":       {"PUT", at(thing, "u"), `{"location":"westeurope","properties":{"size":3}}`, 400, "InvalidSize"},
		"a part of nothing":           {"PUT", at(thing, "u") + "/parts/p", `{}`, 404, "ParentResourceNotFound"},
		"a change of nothing":         {"PATCH", at(thing, "u"), `{}`, 404, "ResourceNotFound"},
		"a group of no name":          {"PUT", "/subscriptions/" + testSub + "/resourceGroups/g.", `{"location":"westeurope"}`, 400, "InvalidResourceGroup"},
		"a group that moves":          {"PUT", group1, `{"location":"northeurope"}`, 409, "InvalidResourceGroupLocation"},
		"a group nowhere":             {"PUT", group1 + "2", `{"location":"here"}`, 400, "LocationNotAvailableForResourceGroup"},
		"pages of nothing":            {"GET", group1 + "/resources?api-version=2021-04-01&$top=0", "", 400, "InvalidQueryParameter"},
		"a page that is none":         {"GET", group1 + "/resources?api-version=2021-04-01&$skiptoken=%25", "", 400, "InvalidSkipToken"},
		"a filter that is none":       {"GET", group1 + "/resources?api-version=2021-04-01&$filter=name%20ne%20'a'", "", 400, "InvalidFilterInQueryString"},
		"an operation that is none":   {"GET", "/subscriptions/" + testSub + "/providers/Causeway.Test/locations/westeurope/operationStatuses/1", "", 404, "OperationNotFound"},
		"a lock of no level":          {"PUT", group1 + "/providers/Microsoft.Authorization/locks/l", `{"properties":{"level":"Some"}}`, 400, "InvalidLockLevel"},
		"a deployment of no template": {"PUT", group1 + "/providers/Microsoft.Resources/deployments/d", `{"properties":{}}`, 400, "InvalidDeployment"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &fixture{Service: f.Service, t: t}
			g.want(g.do("owner", tt.method, tt.path, tt.body), tt.status, tt.code)
		})
	}
	if got := f.do("owner", "GET", group1+"/resources?api-version=2021-04-01", ""); len(got.body.Array("value")) != 1 {
		t.Errorf("what was refused has left something: %s", document.Text(got.body))
	}
}

func TestResourcesLive(t *testing.T) {
	f := newFixture(t)
	made := f.do("owner", "PUT", at(thing, "T"), `{"location":"West Europe","tags":{"a":"1"},"properties":{"password":"secret","size":1,"deep":{"x":1,"y":2}}}`)
	f.want(made, 201, "")
	if p := made.body.Object("properties"); p.Has("password") || p.String("color") != "white" || p.String("address") != "192.0.2.1/T" || p.String("provisioningState") != "Succeeded" || made.body.String("location") != "westeurope" {
		t.Errorf("made %s", document.Text(made.body))
	}
	f.want(f.do("owner", "PUT", at(thing, "t")+"/parts/p", `{}`), 201, "")
	changed := f.do("owner", "PATCH", at(thing, "t"), `{"tags":{"b":"2"},"properties":{"deep":{"y":3}}}`)
	f.want(changed, 200, "")
	if got := document.Text(changed.body.Object("properties", "deep")) + document.Text(changed.body.Object("tags")); got != `{"x":1,"y":3}{"b":"2"}` || changed.body.String("id") != at(thing, "T") {
		t.Errorf("changed %s %s", got, changed.body.String("id"))
	}
	if f.world.count(at(thing, "t")) != 2 {
		t.Errorf("it was made real %d times", f.world.count(at(thing, "t")))
	}
	if list := f.do("reader", "GET", group1+"/providers/"+thing, ""); len(list.body.Array("value")) != 1 {
		t.Errorf("list %s", document.Text(list.body))
	}
	if list := f.do("reader", "GET", at(thing, "t")+"/parts", ""); len(list.body.Array("value")) != 1 {
		t.Errorf("parts %s", document.Text(list.body))
	}
	if got := f.do("owner", "POST", at(thing, "t")+"/listKeys", ""); got.body.String("key") != "of T" {
		t.Errorf("action %s", document.Text(got.body))
	}
	later := f.do("owner", "POST", at(thing, "t")+"/RESTART", `{"how":"softly"}`)
	f.want(later, 202, "")
	if got := f.ended("owner", later); got.body.String("properties", "how") != "softly" {
		t.Errorf("operation %s", document.Text(got.body))
	}
	if got := f.do("owner", "GET", strings.TrimPrefix(later.header.Get("Location"), management), ""); got.status != 200 || got.body.String("how") != "softly" {
		t.Errorf("result %d %s", got.status, document.Text(got.body))
	}
	f.want(f.do("owner", "DELETE", at(thing, "t"), ""), 200, "")
	f.want(f.do("owner", "DELETE", at(thing, "t"), ""), 204, "")
	f.want(f.do("owner", "GET", at(thing, "t")+"/parts/p", ""), 404, "ResourceNotFound")
	if n := f.world.count(at(thing, "t")) + f.world.count(at(thing, "t")+"/parts/p"); n != 0 {
		t.Errorf("%d of them are still real", n)
	}
}

func TestConditions(t *testing.T) {
	f := newFixture(t)
	put := func(header, value string) int {
		r := httptest.NewRequestWithContext(t.Context(), "PUT", management+at(thing, "t")+"?api-version=2024-01-01", strings.NewReader(`{"location":"westeurope"}`))
		r.Header.Set("Authorization", "Bearer owner")
		r.Header.Set(header, value)
		return f.send(r).status
	}
	if got := put("If-Match", "*"); got != 412 {
		t.Errorf("a change of nothing: %d", got)
	}
	if got := put("If-None-Match", "*"); got != 201 {
		t.Errorf("the first: %d", got)
	}
	if got := put("If-None-Match", "*"); got != 412 {
		t.Errorf("the second: %d", got)
	}
	etag := f.do("owner", "GET", at(thing, "t"), "").body.String("etag")
	if got := put("If-Match", etag); got != 200 {
		t.Errorf("the expected one: %d", got)
	}
	if got := put("If-Match", etag); got != 412 {
		t.Errorf("one that has changed: %d", got)
	}
}

func TestRolesDecide(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	for _, tt := range []struct {
		who, method, path, body string
		status                  int
		code                    string
	}{
		{"", "GET", group1, "", 401, "AuthenticationFailed"},
		{"nobody", "GET", group1, "", 401, "InvalidAuthenticationToken"},
		{"stranger", "GET", group1, "", 403, "AuthorizationFailed"},
		{"stranger", "GET", at(thing, "nothing"), "", 403, "AuthorizationFailed"}, // it is not told what is there
		{"stranger", "GET", "/subscriptions/" + testSub, "", 403, "AuthorizationFailed"},
		{"reader", "GET", group1, "", 200, ""},
		{"reader", "GET", "/subscriptions/" + testSub, "", 403, "AuthorizationFailed"},
		{"reader", "PUT", group1, `{"location":"westeurope"}`, 403, "AuthorizationFailed"},
		{"reader", "GET", at(thing, "t"), "", 200, ""},
		{"reader", "PUT", at(thing, "t"), `{"location":"westeurope"}`, 403, "AuthorizationFailed"},
		{"reader", "PATCH", at(thing, "t"), `{}`, 403, "AuthorizationFailed"},
		{"reader", "DELETE", at(thing, "t"), "", 403, "AuthorizationFailed"},
		{"reader", "POST", at(thing, "t") + "/listKeys", "", 403, "AuthorizationFailed"},
		{"reader", "DELETE", group1, "", 403, "AuthorizationFailed"},
		{"reader", "PUT", group1 + "/providers/Microsoft.Authorization/locks/l", `{"properties":{"level":"ReadOnly"}}`, 403, "AuthorizationFailed"},
		{"reader", "PUT", group1 + "/providers/Microsoft.Authorization/roleAssignments/" + azure.NewGUID(), `{"properties":{"roleDefinitionId":"` + access.Owner + `","principalId":"` + principals["reader"].Object + `"}}`, 403, "AuthorizationFailed"},
		{"reader", "PUT", group1 + "/providers/Microsoft.Authorization/roleDefinitions/" + azure.NewGUID(), `{}`, 403, "AuthorizationFailed"},
		{"reader", "PUT", group1 + "/providers/Microsoft.Resources/deployments/d", `{}`, 403, "AuthorizationFailed"},
		{"reader", "POST", group1 + "/providers/Microsoft.Resources/deployments/d/whatIf", `{}`, 403, "AuthorizationFailed"},
		{"owner", "GET", "/subscriptions/" + otherSub + "/resourceGroups/g", "", 403, "AuthorizationFailed"},
		{"owner", "POST", "/subscriptions/" + otherSub + "/providers/Causeway.Test/checkNameAvailability", `{}`, 403, "AuthorizationFailed"},
		{"owner", "POST", "/subscriptions/" + testSub + "/providers/Causeway.Test/checkNameAvailability", `{"name":"taken"}`, 200, ""},
		{"owner", "POST", "/subscriptions/" + otherSub + "/providers/Causeway.Test/register", "", 403, "AuthorizationFailed"},
	} {
		got := f.do(tt.who, tt.method, tt.path, tt.body)
		if got.status != tt.status || got.code() != tt.code {
			t.Errorf("%s %s %s: %d %q, want %d %q", tt.who, tt.method, tt.path, got.status, got.code(), tt.status, tt.code)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
			t.Errorf("%s: challenge %q", tt.path, challenge)
		}
	}
	message := f.do("reader", "DELETE", at(thing, "t"), "").body.String("error", "message")
	if want := "does not have authorization to perform action 'Causeway.Test/things/delete' over scope '" + at(thing, "t") + "'"; !strings.Contains(message, want) {
		t.Errorf("message %q, want %q", message, want)
	}
	if got := f.do("stranger", "GET", "/subscriptions", ""); len(got.body.Array("value")) != 0 {
		t.Errorf("a stranger sees subscriptions: %s", document.Text(got.body))
	}
}

func TestOneChangeAtATime(t *testing.T) {
	f := newFixture(t)
	f.world.set(func() { f.world.gate = make(chan struct{}) })
	begun := f.do("owner", "PUT", at(slow, "s"), `{"location":"westeurope"}`)
	f.want(begun, 201, "")
	if got := begun.body.String("properties", "provisioningState"); got != stateCreating {
		t.Errorf("state %q", got)
	}
	for method, path := range map[string]string{"PUT": at(slow, "s"), "PATCH": at(slow, "S"), "DELETE": at(slow, "s")} {
		f.want(f.do("owner", method, path, `{"location":"westeurope"}`), 409, "AnotherOperationInProgress")
	}
	f.want(f.do("owner", "DELETE", group1, ""), 409, "AnotherOperationInProgress")
	f.want(f.do("stranger", "GET", strings.TrimPrefix(begun.header.Get("Azure-AsyncOperation"), management), ""), 403, "AuthorizationFailed")
	close(f.world.gate)
	if got := f.ended("owner", begun); got.body.String("status") != stateSucceeded {
		t.Errorf("ended %s", document.Text(got.body))
	}
}

func TestFailuresAreShownAndCanBeRepaired(t *testing.T) {
	f := newFixture(t)
	f.world.set(func() { f.world.broken["s"] = true })
	got := f.ended("owner", f.do("owner", "PUT", at(slow, "s"), `{"location":"westeurope"}`))
	if got.body.String("status") != stateFailed || got.body.String("error", "code") != "AllocationFailed" {
		t.Errorf("ended %s", document.Text(got.body))
	}
	if now := f.do("owner", "GET", at(slow, "s"), ""); now.body.String("properties", "provisioningState") != stateFailed {
		t.Errorf("state %s", document.Text(now.body))
	}
	f.world.set(func() { delete(f.world.broken, "s") })
	if got := f.ended("owner", f.do("owner", "PUT", at(slow, "s"), `{"location":"westeurope"}`)); got.body.String("status") != stateSucceeded {
		t.Errorf("ended %s", document.Text(got.body))
	}
}

func TestWhatWasCutOffGoesOn(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	f.world.set(func() { f.world.gate = make(chan struct{}) })
	begun := []reply{f.do("owner", "PUT", at(slow, "a"), `{"location":"westeurope"}`), f.do("owner", "PUT", at(slow, "b"), `{"location":"westeurope"}`), f.do("owner", "POST", at(thing, "t")+"/restart", `{"how":"again"}`)}
	f.close()
	close(f.world.gate)
	f.open()
	for _, b := range begun {
		if got := f.ended("owner", b); got.body.String("status") != stateSucceeded {
			t.Errorf("ended %s", document.Text(got.body))
		}
	}
	if f.world.count(at(slow, "a")) != 1 || f.world.count(at(slow, "b")) != 1 || f.world.count(at(thing, "t")) != 2 {
		t.Errorf("made real %v", f.world.real)
	}
	f.world.set(func() { f.world.gate = make(chan struct{}) })
	begun = []reply{f.do("owner", "PUT", at(slow, "c"), `{"location":"westeurope"}`)}
	f.close()
	f.open()
	f.want(f.do("owner", "DELETE", at(slow, "c"), ""), 409, "AnotherOperationInProgress")
	close(f.world.gate)
	f.ended("owner", begun[0])
	gone := f.do("owner", "DELETE", group1, "")
	f.want(gone, 202, "")
	f.close()
	f.open()
	if got := f.ended("owner", gone); got.body.String("status") != stateSucceeded {
		t.Errorf("ended %s", document.Text(got.body))
	}
	f.want(f.do("owner", "GET", group1, ""), 404, "ResourceGroupNotFound")
	if len(f.world.real) != 0 {
		t.Errorf("still real: %v", f.world.real)
	}
}

func TestAGroupGoesWithAllThatIsInIt(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	f.want(f.do("owner", "PUT", at(thing, "t")+"/parts/p", `{}`), 201, "")
	f.world.set(func() { f.world.inUse["t"] = true })
	got := f.ended("owner", f.do("owner", "DELETE", group1, ""))
	if got.body.String("error", "code") != "ResourceGroupDeletionBlocked" {
		t.Errorf("ended %s", document.Text(got.body))
	}
	f.want(f.do("owner", "GET", at(thing, "t"), ""), 200, "")
	f.world.set(func() { f.world.inUse["t"] = false })
	if got := f.ended("owner", f.do("owner", "DELETE", group1, "")); got.body.String("status") != stateSucceeded {
		t.Errorf("ended %s", document.Text(got.body))
	}
	if len(f.world.real) != 0 {
		t.Errorf("still real: %v", f.world.real)
	}
	// A group of the same name is another: who had a role in the first one has none in it.
	f.want(f.do("owner", "PUT", group1, `{"location":"westeurope"}`), 201, "")
	f.want(f.do("reader", "GET", group1, ""), 403, "AuthorizationFailed")
}

func TestListsComeInPages(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.want(f.do("owner", "PUT", at(thing, name), `{"location":"westeurope","tags":{"n":"`+name+`"}}`), 201, "")
	}
	var names []string
	for next := group1 + "/resources?api-version=2021-04-01&$top=2"; next != ""; {
		got := f.do("owner", "GET", next, "")
		for _, v := range got.body.Array("value") {
			names = append(names, v.(*document.Object).String("name"))
		}
		next = strings.TrimPrefix(got.body.String("nextLink"), management)
	}
	if strings.Join(names, "") != "abcde" {
		t.Errorf("names %q", names)
	}
	got := f.do("owner", "GET", group1+"/resources?api-version=2021-04-01&$filter=tagName%20eq%20'n'%20and%20tagValue%20eq%20'c'", "")
	if v := got.body.Array("value"); len(v) != 1 || v[0].(*document.Object).String("name") != "c" {
		t.Errorf("by tag %s", document.Text(got.body))
	}
}

func TestTheLogSaysWhoDidWhat(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	f.mu.Lock()
	f.time = f.time.Add(time.Second)
	f.mu.Unlock()
	f.world.set(func() { f.world.broken["u"] = true })
	f.want(f.do("owner", "PUT", at(thing, "u"), `{"location":"westeurope"}`), 409, "AllocationFailed")
	events := func(filter string) []any {
		got := f.do("owner", "GET", "/subscriptions/"+testSub+"/providers/microsoft.insights/eventtypes/management/values?api-version=2015-04-01&$filter="+filter, "")
		f.want(got, 200, "")
		return got.body.Array("value")
	}
	since := f.now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	all := events("eventTimestamp%20ge%20'" + since + "'")
	if len(all) != 3 {
		t.Fatalf("%d events", len(all))
	}
	failed := all[0].(*document.Object)
	if failed.String("status", "value") != "Failed" || failed.String("operationName", "value") != "Causeway.Test/things/write" || failed.String("caller") != principals["owner"].Object || failed.String("subStatus", "value") != "AllocationFailed" {
		t.Errorf("event %s", document.Text(failed))
	}
	if got := events("eventTimestamp%20ge%20'" + since + "'%20and%20resourceUri%20eq%20'" + at(thing, "T") + "'"); len(got) != 1 {
		t.Errorf("%d events of one thing", len(got))
	}
	f.mu.Lock()
	f.time = f.time.Add(activityLife + time.Hour)
	f.mu.Unlock()
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := events(""); len(got) != 0 {
		t.Errorf("%d events after 90 days", len(got))
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("PUT", at(thing, "t"), "api-version=2024-01-01", `{"location":"westeurope"}`)
	f.Add("GET", group1+"/resources", "api-version=2021-04-01&$filter=name eq 'a'", "")
	f.Add("POST", group1+"/providers/Microsoft.Resources/deployments/d/validate", "api-version=2021-04-01", `{"properties":{"mode":"Incremental","template":{}}}`)
	f.Add("PUT", group1+"/providers/Microsoft.Authorization/roleAssignments/"+testTenant, "api-version=2022-04-01", `{"properties":{"roleDefinitionId":"x","principalId":"y"}}`)
	f.Add("GET", "/subscriptions/"+testSub+"/providers/microsoft.insights/eventtypes/management/values", "api-version=2015-04-01&$filter=eventTimestamp ge ''", "")
	st, err := state.Open(context.Background(), f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { st.Close() })
	control, err := access.Open(context.Background(), st, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := control.Assign(context.Background(), access.Assignment{ID: azure.NewGUID(), Scope: "/subscriptions/" + testSub, Role: access.Owner, Principal: principals["owner"].Object}); err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &world{real: make(map[string]int)}
	s, err := Open(ctx, Config{State: st, Now: time.Now, Log: slog.New(slog.DiscardHandler), URL: management, Subscriptions: []Subscription{{testSub, "one"}}, Locations: []Location{{"westeurope", "West Europe"}},
		Verify: func(string, ...string) (azure.Principal, error) { return principals["owner"], nil }, Access: control, Providers: []*Provider{w.provider()},
		Principal: func(string) (string, bool) { return "ServicePrincipal", true }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { stop(); s.Wait() })
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		r := httptest.NewRequest("GET", management, strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header.Set("Authorization", "Bearer owner")
		got := httptest.NewRecorder()
		s.ServeHTTP(got, r)
		if got.Code >= 500 {
			t.Errorf("%d: %s", got.Code, got.Body)
		}
		if text, _ := io.ReadAll(got.Body); len(text) > 0 && !json.Valid(text) {
			t.Errorf("answer is no JSON: %q", text)
		}
	})
}
