package entra

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testTenant = "11111111-2222-4333-8444-555555555555"
	management = "https://management.test:9443"
	graphHost  = "https://graph.test:9443"
	vaultHost  = ".vault.test:9443"
)

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A tenant is a directory with one application, served over TLS.
type tenant struct {
	*Directory
	t      *testing.T
	clock  *clock
	state  *state.Store
	login  *httptest.Server
	app    Application
	who    ServicePrincipal
	secret string
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	s, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f := &tenant{t: t, state: s, clock: &clock{t: time.Now()}}
	f.login = httptest.NewUnstartedServer(nil)
	f.login.StartTLS()
	t.Cleanup(f.login.Close)
	f.reopen()
	f.app, f.who, f.secret = f.register("server app")
	return f
}

func (f *tenant) reopen() {
	f.t.Helper()
	d, err := Open(f.t.Context(), Config{State: f.state, Now: f.clock.now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Tenant: testTenant, Authority: f.login.URL,
		Resource: func(r string) bool { return r == management || r == graphHost || strings.HasSuffix(r, vaultHost) }})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Directory = d
	f.login.Config.Handler = d.Login()
}

func (f *tenant) register(name string) (Application, ServicePrincipal, string) {
	f.t.Helper()
	a, err := f.CreateApplication(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	p, err := f.CreateServicePrincipal(f.t.Context(), a.App)
	if err != nil {
		f.t.Fatal(err)
	}
	_, secret, err := f.AddPassword(f.t.Context(), a.Object, "first", time.Time{}, time.Time{})
	if err != nil {
		f.t.Fatal(err)
	}
	a, _ = f.Application(a.Object)
	return a, p, secret
}

// An answer is one of the token endpoint, of either kind.
type answer struct {
	Status      int
	Retry       string
	Token       string `json:"access_token"`
	ExpiresIn   any    `json:"expires_in"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
}

func (f *tenant) post(path, body string) (a answer) {
	f.t.Helper()
	resp, err := f.login.Client().Post(f.login.URL+path, "application/x-www-form-urlencoded", strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		f.t.Fatal(err)
	}
	a.Status, a.Retry = resp.StatusCode, resp.Header.Get("Retry-After")
	return a
}

// ask asks for a token, with fields changed: an empty value leaves one out.
func (f *tenant) ask(change url.Values) answer {
	f.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {f.app.App}, "client_secret": {f.secret}, "scope": {management + "/.default openid offline_access profile"}}
	for name, v := range change {
		form[name] = v
		if v[0] == "" {
			delete(form, name)
		}
	}
	return f.post("/"+testTenant+"/oauth2/v2.0/token", form.Encode())
}

func (f *tenant) token(t *testing.T) string {
	t.Helper()
	a := f.ask(nil)
	if a.Status != 200 || a.Token == "" {
		t.Fatalf("no token: %+v", a)
	}
	return a.Token
}

func code(err error) string {
	if e, ok := errors.AsType[*azure.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestASecretGetsAToken(t *testing.T) {
	f := newTenant(t)
	token := f.token(t)
	who, err := f.Verify(token, "https://other.test", management+"/")
	if err != nil || who != (azure.Principal{Tenant: testTenant, Object: f.who.Object, App: f.app.App, Type: "ServicePrincipal"}) {
		t.Errorf("Verify = %+v, %v", who, err)
	}
	f.reopen() // keys and secrets outlive the process
	if _, err := f.Verify(token, management); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	f.token(t)
	one := f.post("/"+testTenant+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {f.app.App}, "client_secret": {f.secret}, "resource": {management}}.Encode())
	if one.Status != 200 || one.ExpiresIn != "3600" {
		t.Errorf("version 1: %+v", one)
	}
	if az := f.post("/adfs/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {f.app.App}, "client_secret": {f.secret}, "scope": {management + "/.default"},
		"client_info": {"1"}, "claims": {`{"access_token":{"xms_cc":{"values":["CP1"]}}}`}}.Encode()); az.Status != 200 {
		t.Errorf("as az asks: %+v", az)
	}
}

func TestWhatGetsNoToken(t *testing.T) {
	f := newTenant(t)
	_, _, other := f.register("other app")
	lonely, err := f.CreateApplication(t.Context(), "without principal")
	if err != nil {
		t.Fatal(err)
	}
	_, lonelySecret, err := f.AddPassword(t.Context(), lonely.Object, "", time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change url.Values
		status int
		kind   string
		number int
	}{
		{"no grant", url.Values{"grant_type": {""}}, 400, "invalid_request", 900144},
		{"another grant", url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type", 70003},
		{"no client", url.Values{"client_id": {""}}, 400, "invalid_request", 900144},
		{"an unknown client", url.Values{"client_id": {azure.NewGUID()}}, 400, "unauthorized_client", 700016},
		{"no secret", url.Values{"client_secret": {""}}, 401, "invalid_client", 7000216},
		{"a wrong secret", url.Values{"client_secret": {"x"}}, 401, "invalid_client", 7000215},
		{"the secret of another", url.Values{"client_secret": {other}}, 401, "invalid_client", 7000215},
		{"the hint", url.Values{"client_secret": {f.secret[:3]}}, 401, "invalid_client", 7000215},
		{"secret and assertion", url.Values{"client_assertion": {"x"}}, 401, "invalid_client", 7000216},
		{"an application without principal", url.Values{"client_id": {lonely.App}, "client_secret": {lonelySecret}}, 400, "unauthorized_client", 700016},
		{"no scope", url.Values{"scope": {""}}, 400, "invalid_request", 900144},
		{"only standard scopes", url.Values{"scope": {"openid profile"}}, 400, "invalid_request", 900144},
		{"not the default scope", url.Values{"scope": {management + "/user_impersonation"}}, 400, "invalid_scope", 1002012},
		{"two resources", url.Values{"scope": {management + "/.default " + graphHost + "/.default"}}, 400, "invalid_scope", 70011},
		{"an unknown resource", url.Values{"scope": {"https://evil.test/.default"}}, 400, "invalid_resource", 500011},
		{"a field twice", url.Values{"client_secret": {f.secret, f.secret}}, 400, "invalid_request", 9002313},
		{"too much", url.Values{"x": {strings.Repeat("x", maxFormBytes)}}, 400, "invalid_request", 9002313},
	} {
		a := f.ask(tt.change)
		if a.Status != tt.status || a.Error != tt.kind || len(a.Codes) != 1 || a.Codes[0] != tt.number || !strings.HasPrefix(a.Description, fmt.Sprintf("AADSTS%d: ", tt.number)) || a.Token != "" {
			t.Errorf("%s: %+v", tt.name, a)
		}
		if strings.Contains(a.Description, f.secret) {
			t.Errorf("%s: the secret stands in the answer", tt.name)
		}
	}
	if a := f.post("/"+azure.NewGUID()+"/oauth2/v2.0/token", ""); a.Status != 400 || a.Codes[0] != 90002 {
		t.Errorf("another tenant: %+v", a)
	}
	if a := f.post("/"+testTenant+"/oauth2/v2.0/token", "%zz"); a.Status != 400 || a.Codes[0] != 9002313 {
		t.Errorf("what is no form: %+v", a)
	}
}

func TestSecretsEnd(t *testing.T) {
	f := newTenant(t)
	p, secret, err := f.AddPassword(t.Context(), f.app.Object, "short", time.Time{}, f.clock.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if a := f.ask(url.Values{"client_secret": {secret}}); a.Status != 200 {
		t.Errorf("a second secret: %+v", a)
	}
	f.clock.pass(2 * time.Hour)
	if a := f.ask(url.Values{"client_secret": {secret}}); a.Codes == nil || a.Codes[0] != 7000222 {
		t.Errorf("an expired secret: %+v", a)
	}
	if err := f.RemovePassword(t.Context(), f.app.Object, p.ID); err != nil {
		t.Fatal(err)
	}
	if a := f.ask(url.Values{"client_secret": {secret}}); a.Codes == nil || a.Codes[0] != 7000215 {
		t.Errorf("a removed secret: %+v", a)
	}
	if _, _, err := f.AddPassword(t.Context(), f.app.Object, "", time.Time{}, f.clock.now().Add(-time.Hour)); !errors.Is(err, errDates) {
		t.Errorf("a secret of the past: %v", err)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	f := newTenant(t)
	for range throttleTries {
		f.ask(url.Values{"client_secret": {"guess"}})
	}
	if a := f.ask(nil); a.Status != 429 || a.Retry != "60" {
		t.Errorf("after many wrong tries: %+v", a)
	}
	f.clock.pass(throttleTime)
	f.token(t)
}

func TestPrincipalsThatAreDisabledOrDeletedAreNobody(t *testing.T) {
	f := newTenant(t)
	token := f.token(t)
	if err := f.Enable(t.Context(), f.who.Object, false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(token, management); code(err) != "InvalidAuthenticationToken" {
		t.Errorf("disabled: %v", err)
	}
	if a := f.ask(nil); a.Codes == nil || a.Codes[0] != 7000112 {
		t.Errorf("disabled: %+v", a)
	}
	if err := f.Enable(t.Context(), f.who.Object, true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(token, management); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	if err := f.DeleteApplication(t.Context(), f.app.Object); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(token, management); code(err) != "InvalidAuthenticationToken" {
		t.Errorf("deleted: %v", err)
	}
	f.reopen()
	if _, ok := f.Principal(f.who.Object); ok {
		t.Error("the principal of a deleted application is there after a restart")
	}
}

// sign makes a JWT of any kind.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, body any) string {
	t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: header}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestForgedTokensAreRefused(t *testing.T) {
	f := newTenant(t)
	good, err := f.open(f.token(t))
	if err != nil {
		t.Fatal(err)
	}
	key := f.signer()
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	kid := map[jose.HeaderKey]any{"kid": key.id}
	with := func(change func(*claims)) string {
		c := good
		change(&c)
		return sign(t, jose.RS256, key.key, kid, c)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	none := encode([]byte(`{"alg":"none","kid":"`+key.id+`"}`)) + "." + encode(body) + "."
	whole := with(func(*claims) {})
	if _, err := f.Verify(whole, management); err != nil {
		t.Fatalf("the unchanged one: %v", err)
	}
	parts := strings.Split(whole, ".")
	for name, tt := range map[string]struct{ token, want string }{
		"nothing":               {"", "InvalidAuthenticationToken"},
		"rubbish":               {"a.b.c", "InvalidAuthenticationToken"},
		"no signature":          {none, "InvalidAuthenticationToken"},
		"the public key as MAC": {sign(t, jose.HS256, public, kid, good), "InvalidAuthenticationToken"},
		"a foreign key":         {sign(t, jose.RS256, foreign, kid, good), "InvalidAuthenticationToken"},
		"an unknown key":        {sign(t, jose.RS256, foreign, map[jose.HeaderKey]any{"kid": "x"}, good), "InvalidAuthenticationToken"},
		"its own key":           {sign(t, jose.RS256, jose.JSONWebKey{Key: foreign, KeyID: key.id}, nil, good), "InvalidAuthenticationToken"},
		"another algorithm":     {sign(t, jose.PS256, key.key, kid, good), "InvalidAuthenticationToken"},
		"a changed body":        {parts[0] + "." + encode(bytes.Replace(body, []byte(f.who.Object), []byte(azure.NewGUID()), 1)) + "." + parts[2], "InvalidAuthenticationToken"},
		"huge":                  {whole + strings.Repeat("x", maxTokenBytes), "InvalidAuthenticationToken"},
		"another issuer":        {with(func(c *claims) { c.Issuer = "https://login.evil/" + testTenant + "/" }), "InvalidAuthenticationTokenTenant"},
		"another tenant":        {with(func(c *claims) { c.Tenant = azure.NewGUID() }), "InvalidAuthenticationTokenTenant"},
		"another audience":      {with(func(c *claims) { c.Audience = graphHost }), "InvalidAuthenticationTokenAudience"},
		"no audience":           {with(func(c *claims) { c.Audience = "" }), "InvalidAuthenticationTokenAudience"},
		"expired":               {with(func(c *claims) { c.Expires = f.clock.now().Add(-6 * time.Minute).Unix() }), "ExpiredAuthenticationToken"},
		"not yet":               {with(func(c *claims) { c.NotBefore = f.clock.now().Add(6 * time.Minute).Unix() }), "InvalidAuthenticationToken"},
		"nobody":                {with(func(c *claims) { c.Object = azure.NewGUID() }), "InvalidAuthenticationToken"},
		"another application":   {with(func(c *claims) { c.App = azure.NewGUID() }), "InvalidAuthenticationToken"},
	} {
		if who, err := f.Verify(tt.token, management); code(err) != tt.want || who != (azure.Principal{}) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if _, err := f.Verify(whole); err == nil {
		t.Error("a token is good for nothing in particular")
	}
	if _, err := f.Verify(with(func(c *claims) { c.Audience = "" }), ""); err == nil {
		t.Error("an empty audience is one")
	}
}

func TestKeysRotate(t *testing.T) {
	f := newTenant(t)
	first := f.token(t)
	if err := f.Maintain(t.Context()); err != nil || len(f.keySet().Keys) != 1 {
		t.Errorf("rotated before its time, or %v", err)
	}
	if err := f.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := f.token(t)
	f.reopen()
	for _, token := range []string{first, second} {
		if _, err := f.Verify(token, management); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
	}
	resp, err := f.login.Client().Get(f.login.URL + "/" + testTenant + "/discovery/v2.0/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil || len(set.Keys) != 2 || !set.Keys[0].IsPublic() {
		t.Errorf("JWKS %+v, %v", set, err)
	}
	signed, err := jose.ParseSigned(second, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0]); err != nil {
		t.Errorf("by the published key: %v", err)
	}
	f.clock.pass(keyLife + time.Hour)
	if err := f.Maintain(t.Context()); err != nil || len(f.keySet().Keys) != 2 {
		t.Errorf("%d keys after a month, %v", len(f.keySet().Keys), err)
	}
}

// A certificate of an application, with its key.
func newCertificate(t *testing.T, public func() (any, any), until time.Time) (key any, der []byte) {
	t.Helper()
	pub, key := public()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func rsaKey(bits int) func() (any, any) {
	return func() (any, any) {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return &k.PublicKey, k
	}
}

func TestACertificateGetsAToken(t *testing.T) {
	f := newTenant(t)
	key, der := newCertificate(t, rsaKey(2048), f.clock.now().Add(240*time.Hour))
	stranger, strangerDER := newCertificate(t, rsaKey(2048), f.clock.now().Add(240*time.Hour))
	if err := f.SetKeys(t.Context(), f.app.Object, []Key{{Name: "c", DER: der}}); err != nil {
		t.Fatal(err)
	}
	other, _, _ := f.register("other app")
	if err := f.SetKeys(t.Context(), other.Object, []Key{{DER: strangerDER}}); err != nil {
		t.Fatal(err)
	}
	header := func(der []byte) map[jose.HeaderKey]any {
		b, err := hexToBytes(thumbprint(der))
		if err != nil {
			t.Fatal(err)
		}
		return map[jose.HeaderKey]any{"x5t": base64.RawURLEncoding.EncodeToString(b)}
	}
	now := f.clock.now().Unix()
	good := map[string]any{"aud": f.login.URL + "/" + testTenant + "/oauth2/v2.0/token", "iss": f.app.App, "sub": f.app.App, "exp": now + 600, "nbf": now, "jti": "1"}
	with := func(name string, v any) map[string]any {
		c := make(map[string]any)
		for k, old := range good {
			c[k] = old
		}
		if c[name] = v; v == nil {
			delete(c, name)
		}
		return c
	}
	for name, tt := range map[string]struct {
		assertion string
		number    int // 0: it is good
	}{
		"good":                     {sign(t, jose.RS256, key, header(der), good), 0},
		"PS256":                    {sign(t, jose.PS256, key, header(der), good), 0},
		"for the tenant":           {sign(t, jose.RS256, key, header(der), with("aud", []string{f.login.URL + "/" + testTenant + "/"})), 0},
		"no thumbprint":            {sign(t, jose.RS256, key, nil, good), 700027},
		"a stranger's certificate": {sign(t, jose.RS256, stranger, header(strangerDER), good), 700027},
		"a stranger's key":         {sign(t, jose.RS256, stranger, header(der), good), 700027},
		"MAC with the certificate": {sign(t, jose.HS256, der, header(der), good), 50027},
		"rubbish":                  {"x.y.z", 50027},
		"huge":                     {strings.Repeat("x", maxTokenBytes+1), 9002313},
		"another audience":         {sign(t, jose.RS256, key, header(der), with("aud", "https://login.evil/token")), 700023},
		"no audience":              {sign(t, jose.RS256, key, header(der), with("aud", nil)), 700023},
		"another subject":          {sign(t, jose.RS256, key, header(der), with("sub", other.App)), 700021},
		"another issuer":           {sign(t, jose.RS256, key, header(der), with("iss", other.App)), 700021},
		"expired":                  {sign(t, jose.RS256, key, header(der), with("exp", now-301)), 700024},
		"not yet":                  {sign(t, jose.RS256, key, header(der), with("nbf", now+301)), 700024},
		"for ever":                 {sign(t, jose.RS256, key, header(der), with("exp", now+100*24*3600)), 700024},
		"without end":              {sign(t, jose.RS256, key, header(der), with("exp", nil)), 50027},
	} {
		a := f.ask(url.Values{"client_secret": {""}, "client_assertion": {tt.assertion}, "client_assertion_type": {assertionType}})
		if ok := a.Status == 200; ok != (tt.number == 0) || !ok && (len(a.Codes) != 1 || a.Codes[0] != tt.number) {
			t.Errorf("%s: %+v", name, a)
		}
		f.clock.pass(0)
		f.throttle = throttle{}
	}
	if a := f.ask(url.Values{"client_secret": {""}, "client_assertion": {"x.y.z"}, "client_assertion_type": {"other"}}); a.Codes == nil || a.Codes[0] != 900144 {
		t.Errorf("another type: %+v", a)
	}
	f.clock.pass(300 * time.Hour)
	if a := f.ask(url.Values{"client_secret": {""}, "client_assertion": {sign(t, jose.RS256, key, header(der), good)}, "client_assertion_type": {assertionType}}); a.Codes == nil || a.Codes[0] != 700027 {
		t.Errorf("an expired certificate: %+v", a)
	}
	_, weak := newCertificate(t, rsaKey(1024), f.clock.now())
	_, curve := newCertificate(t, func() (any, any) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return &k.PublicKey, k
	}, f.clock.now())
	for _, der := range [][]byte{weak, curve, []byte("x")} {
		if err := f.SetKeys(t.Context(), f.app.Object, []Key{{DER: der}}); !errors.Is(err, errBadKey) {
			t.Errorf("a certificate that will not do: %v", err)
		}
	}
}

func hexToBytes(s string) ([]byte, error) {
	var b []byte
	_, err := fmt.Sscanf(s, "%X", &b)
	return b, err
}

func TestMetadataLeadsToTokens(t *testing.T) {
	f := newTenant(t)
	for path, want := range map[string]string{
		"/" + testTenant + "/v2.0/.well-known/openid-configuration": "/" + testTenant + "/oauth2/v2.0/token",
		"/" + testTenant + "/.well-known/openid-configuration":      "/" + testTenant + "/oauth2/token",
		"/adfs/.well-known/openid-configuration":                    "/adfs/oauth2/token",
	} {
		resp, err := f.login.Client().Get(f.login.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		err = json.NewDecoder(resp.Body).Decode(&m)
		resp.Body.Close()
		if err != nil || m["token_endpoint"] != f.login.URL+want || m["issuer"] != f.login.URL+"/"+testTenant+"/" {
			t.Errorf("%s: %v, %v", path, m, err)
		}
	}
}

func TestManagedIdentitiesOfAnInstance(t *testing.T) {
	f := newTenant(t)
	one, err := f.CreateManagedIdentity(t.Context(), "one", "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.CreateManagedIdentity(t.Context(), "one", strings.ToUpper(one.Resource)); err != nil || again.Object != one.Object {
		t.Errorf("made twice: %+v, %v", again, err)
	}
	two, err := f.CreateManagedIdentity(t.Context(), "two", "/two")
	if err != nil {
		t.Fatal(err)
	}
	first, header := f.NewEndpoint([]string{one.Object})
	both, bothHeader := f.NewEndpoint([]string{one.Object, two.Object})
	query := func(more string) string {
		return "?api-version=2019-08-01&resource=" + url.QueryEscape(management) + more
	}
	for name, tt := range map[string]struct {
		endpoint *Endpoint
		method   string
		target   string
		header   map[string]string
		status   int
		who      string
	}{
		"its own":                {first, "GET", AppServicePath + query(""), map[string]string{"X-IDENTITY-HEADER": header}, 200, one.Object},
		"by metadata":            {first, "GET", MetadataPath + query(""), map[string]string{"X-IDENTITY-HEADER": header, "Metadata": "true"}, 200, one.Object},
		"by client id":           {both, "GET", AppServicePath + query("&client_id="+two.App), map[string]string{"X-IDENTITY-HEADER": bothHeader}, 200, two.Object},
		"by resource":            {both, "GET", AppServicePath + query("&mi_res_id=/TWO"), map[string]string{"X-IDENTITY-HEADER": bothHeader}, 200, two.Object},
		"by object":              {both, "GET", AppServicePath + query("&principal_id="+one.Object), map[string]string{"X-IDENTITY-HEADER": bothHeader}, 200, one.Object},
		"no header":              {first, "GET", AppServicePath + query(""), nil, 401, ""},
		"another's header":       {first, "GET", AppServicePath + query(""), map[string]string{"X-IDENTITY-HEADER": bothHeader}, 401, ""},
		"metadata without":       {first, "GET", MetadataPath + query(""), map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
		"metadata unproven":      {first, "GET", MetadataPath + query(""), map[string]string{"Metadata": "true"}, 401, ""},
		"passed on":              {first, "GET", AppServicePath + query(""), map[string]string{"X-IDENTITY-HEADER": header, "X-Forwarded-For": "10.0.0.1"}, 400, ""},
		"a POST":                 {first, "POST", AppServicePath + query(""), map[string]string{"X-IDENTITY-HEADER": header}, 405, ""},
		"another path":           {first, "GET", "/other" + query(""), map[string]string{"X-IDENTITY-HEADER": header}, 404, ""},
		"one of several":         {both, "GET", AppServicePath + query(""), map[string]string{"X-IDENTITY-HEADER": bothHeader}, 400, ""},
		"another's identity":     {first, "GET", AppServicePath + query("&client_id="+two.App), map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
		"that of an application": {first, "GET", AppServicePath + query("&client_id="+f.app.App), map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
		"no resource":            {first, "GET", AppServicePath + "?api-version=2019-08-01", map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
		"an unknown resource":    {first, "GET", AppServicePath + "?api-version=2019-08-01&resource=https://evil.test", map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
		"no version":             {first, "GET", AppServicePath + "?resource=" + url.QueryEscape(management), map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
		"a parameter twice":      {first, "GET", AppServicePath + query("&resource=x"), map[string]string{"X-IDENTITY-HEADER": header}, 400, ""},
	} {
		r := httptest.NewRequest(tt.method, tt.target, nil)
		for k, v := range tt.header {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		tt.endpoint.ServeHTTP(w, r)
		var a identityToken
		_ = json.Unmarshal(w.Body.Bytes(), &a)
		if w.Code != tt.status || (a.Token != "") != (tt.who != "") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		if tt.who == "" {
			continue
		}
		if who, err := f.Verify(a.Token, management); err != nil || who.Object != tt.who || a.ExpiresIn != "86400" {
			t.Errorf("%s: %+v, %v, %+v", name, who, err, a)
		}
	}
	if err := f.DeletePrincipal(t.Context(), one.Object); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", AppServicePath+query(""), nil)
	r.Header.Set("X-Identity-Header", header)
	w := httptest.NewRecorder()
	if first.ServeHTTP(w, r); w.Code != 400 {
		t.Errorf("a deleted identity: %d %s", w.Code, w.Body)
	}
}

// asks sends one request to Graph.
func (f *tenant) graph(t *testing.T, token, method, path, body string, into any) int {
	t.Helper()
	r := httptest.NewRequest(method, "https://graph.test"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.Graph(graphHost).ServeHTTP(w, r)
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s %s: %d %s: %v", method, path, w.Code, w.Body, err)
		}
	}
	return w.Code
}

func TestGraphKeepsApplications(t *testing.T) {
	f := newTenant(t)
	if err := f.MakeAdmin(t.Context(), f.who.Object); err != nil {
		t.Fatal(err)
	}
	token := f.ask(url.Values{"scope": {graphHost + "/.default"}}).Token
	var a graphApplication
	if got := f.graph(t, token, "POST", "/v1.0/applications", `{"displayName": "Causeway's"}`, &a); got != 201 || a.App == "" || a.Name != "Causeway's" {
		t.Fatalf("%d %+v", got, a)
	}
	var p graphPrincipal
	if got := f.graph(t, token, "POST", "/v1.0/servicePrincipals", `{"appId": "`+a.App+`"}`, &p); got != 201 || p.App != a.App || !p.Enabled {
		t.Fatalf("%d %+v", got, p)
	}
	var secret graphPassword
	if got := f.graph(t, token, "POST", "/v1.0/applications/"+a.Object+"/addPassword", `{"passwordCredential": {"displayName": "s"}}`, &secret); got != 200 || secret.Secret == nil {
		t.Fatalf("%d %+v", got, secret)
	}
	if got := f.ask(url.Values{"client_id": {a.App}, "client_secret": {*secret.Secret}}); got.Status != 200 {
		t.Errorf("the new secret: %+v", got)
	}
	_, der := newCertificate(t, rsaKey(2048), f.clock.now().Add(time.Hour))
	if got := f.graph(t, token, "PATCH", "/v1.0/applications/"+a.Object, `{"displayName": "renamed", "keyCredentials": [{"key": "`+base64.StdEncoding.EncodeToString(der)+`", "displayName": "k"}]}`, nil); got != 204 {
		t.Errorf("PATCH: %d", got)
	}
	if got := f.graph(t, token, "GET", "/v1.0/applications(appId='"+strings.ToUpper(a.App)+"')", "", &a); got != 200 || a.Name != "renamed" || len(a.Keys) != 1 || len(a.Passwords) != 1 ||
		a.Passwords[0].Secret != nil || a.Keys[0].Thumbprint != thumbprint(der) {
		t.Errorf("%d %+v", got, a)
	}
	var list struct{ Value []graphApplication }
	if got := f.graph(t, token, "GET", "/v1.0/applications?$filter="+url.QueryEscape("displayName eq 'renamed'"), "", &list); got != 200 || len(list.Value) != 1 {
		t.Errorf("%d %+v", got, list)
	}
	if got := f.graph(t, token, "GET", "/v1.0/servicePrincipals?$filter="+url.QueryEscape("appId eq '"+a.App+"'"), "", &list); got != 200 || len(list.Value) != 1 || list.Value[0].Object != p.Object {
		t.Errorf("%d %+v", got, list)
	}
	if got := f.graph(t, token, "PATCH", "/v1.0/servicePrincipals/"+p.Object, `{"accountEnabled": false}`, nil); got != 204 {
		t.Errorf("disable: %d", got)
	}
	if got := f.ask(url.Values{"client_id": {a.App}, "client_secret": {*secret.Secret}}); got.Status != 400 {
		t.Errorf("a disabled application: %+v", got)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/v1.0/applications", `{}`, 400, "Request_BadRequest"},
		{"POST", "/v1.0/applications", `{"displayName": "a\u0000b"}`, 400, "Request_BadRequest"},
		{"POST", "/v1.0/applications", `x`, 400, "Request_BadRequest"},
		{"POST", "/v1.0/applications", strings.Repeat(" ", maxGraphBytes+1), 413, "RequestTooLarge"},
		{"POST", "/v1.0/servicePrincipals", `{"appId": "` + a.App + `"}`, 409, "Request_MultipleObjectsWithSameKeyValue"},
		{"POST", "/v1.0/servicePrincipals", `{"appId": "x"}`, 404, "Request_ResourceNotFound"},
		{"GET", "/v1.0/applications/none", "", 404, "Request_ResourceNotFound"},
		{"GET", "/v1.0/applications(appId='00000000-0000-0000-0000-000000000000')", "", 404, "Request_ResourceNotFound"},
		{"GET", "/v1.0/applications?$filter=" + url.QueryEscape("startswith(displayName, 'x')"), "", 400, "Request_UnsupportedQuery"},
		{"POST", "/v1.0/applications/" + a.Object + "/removePassword", `{"keyId": "x"}`, 404, "Request_ResourceNotFound"},
		{"PATCH", "/v1.0/applications/" + a.Object, `{"keyCredentials": [{"key": "eA=="}]}`, 400, "Request_BadRequest"},
		{"GET", "/v1.0/users", "", 400, "BadRequest"},
	} {
		var e struct{ Error struct{ Code string } }
		if got := f.graph(t, token, tt.method, tt.path, tt.body, &e); got != tt.status || e.Error.Code != tt.code {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, got, e.Error.Code, tt.status, tt.code)
		}
	}
	if got := f.graph(t, token, "POST", "/v1.0/applications/"+a.Object+"/removePassword", `{"keyId": "`+secret.ID+`"}`, nil); got != 204 {
		t.Errorf("removePassword: %d", got)
	}
	if got := f.graph(t, token, "DELETE", "/v1.0/applications/"+a.Object, "", nil); got != 204 {
		t.Errorf("DELETE: %d", got)
	}
	if got := f.graph(t, token, "GET", "/v1.0/servicePrincipals/"+p.Object, "", nil); got != 404 {
		t.Errorf("the principal of a deleted application: %d", got)
	}
}

// Who is no administrator reads, and changes nothing: not even its own secrets.
func TestGraphIsChangedByAdministratorsAlone(t *testing.T) {
	f := newTenant(t)
	token := f.ask(url.Values{"scope": {graphHost + "/.default"}}).Token
	if got := f.graph(t, token, "GET", "/v1.0/applications/"+f.app.Object, "", nil); got != 200 {
		t.Errorf("reading: %d", got)
	}
	for _, request := range []string{"POST /v1.0/applications", "PATCH /v1.0/applications/" + f.app.Object, "DELETE /v1.0/applications/" + f.app.Object, "POST /v1.0/applications/" + f.app.Object + "/addPassword",
		"POST /v1.0/applications/" + f.app.Object + "/removePassword", "POST /v1.0/servicePrincipals", "PATCH /v1.0/servicePrincipals/" + f.who.Object, "DELETE /v1.0/servicePrincipals/" + f.who.Object} {
		method, path, _ := strings.Cut(request, " ")
		if got := f.graph(t, token, method, path, `{"displayName": "x"}`, nil); got != 403 {
			t.Errorf("%s: %d", request, got)
		}
	}
	for name, bad := range map[string]string{"no token": "", "one for another resource": f.token(t), "rubbish": "x"} {
		if got := f.graph(t, bad, "GET", "/v1.0/applications", "", nil); got != 401 {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestSecretsAreNotInTheState(t *testing.T) {
	f := newTenant(t)
	err := f.state.View(context.WithoutCancel(t.Context()), func(tx *state.Tx) error {
		for e, err := range tx.Scan(applicationBucket, "", "") {
			if err != nil || strings.Contains(string(e.Value), f.secret) {
				t.Errorf("%v, or the secret is in %s", err, e.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzAssertion(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJSUzI1NiIsIng1dCI6IngifQ.eyJhdWQiOlsieCJdfQ.eA")
	d := &Directory{cfg: Config{Now: time.Now, Tenant: testTenant, Authority: "https://login.test"}}
	r := httptest.NewRequest(http.MethodPost, "/"+testTenant+"/oauth2/token", nil)
	a := &Application{App: "x", Keys: []Key{{DER: []byte("x")}}}
	f.Fuzz(func(t *testing.T, text string) {
		if d.checkAssertion(a, r, map[string]string{"client_assertion": text, "client_assertion_type": assertionType}) == nil {
			t.Errorf("%q is taken", text)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("a=b&c=d")
	f.Add("a=b&a=c;%")
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, _ = readForm(r)
	})
}
