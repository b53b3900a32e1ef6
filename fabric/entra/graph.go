package entra

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// maxGraphBytes bounds a request to Graph: an application with some certificates has a few KiB.
const maxGraphBytes = 256 << 10

// Graph serves the part of Microsoft Graph (v1.0) that makes and keeps applications. audiences are what a token has to be
// for. Everybody of the tenant may read, and administrators of the directory may change it.
func (d *Directory) Graph(audiences ...string) http.Handler {
	g := &graph{d, audiences}
	mux := http.NewServeMux()
	for path, handle := range map[string]func(*call) (int, any, error){
		"GET /v1.0/applications":                      g.listApplications,
		"POST /v1.0/applications":                     g.createApplication,
		"GET /v1.0/applications/{id}":                 g.getApplication,
		"PATCH /v1.0/applications/{id}":               g.changeApplication,
		"DELETE /v1.0/applications/{id}":              g.deleteApplication,
		"POST /v1.0/applications/{id}/addPassword":    g.addPassword,
		"POST /v1.0/applications/{id}/removePassword": g.removePassword,
		"GET /v1.0/servicePrincipals":                 g.listPrincipals,
		"POST /v1.0/servicePrincipals":                g.createPrincipal,
		"GET /v1.0/servicePrincipals/{id}":            g.getPrincipal,
		"PATCH /v1.0/servicePrincipals/{id}":          g.changePrincipal,
		"DELETE /v1.0/servicePrincipals/{id}":         g.deletePrincipal,
	} {
		mux.HandleFunc(path, g.serve(handle))
	}
	mux.HandleFunc("/", g.serve(func(*call) (int, any, error) {
		return 0, nil, azure.Errorf(http.StatusBadRequest, "BadRequest", "Resource not found for the segment.")
	}))
	return g.byApp(mux)
}

// alternateKey is how clients name an object by its application's id.
var alternateKey = regexp.MustCompile(`^/v1\.0/(applications|servicePrincipals)\(appId='([0-9A-Fa-f-]{1,64})'\)(/.*)?$`)

// byApp gives objects that are named by their application's id the path of their own.
func (g *graph) byApp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := alternateKey.FindStringSubmatch(r.URL.Path); m != nil {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = "/v1.0/"+m[1]+"/"+g.object(m[1], strings.ToLower(m[2]))+m[3], ""
		}
		next.ServeHTTP(w, r)
	})
}

// object returns the object id of an application or its principal; what is none where there is none.
func (g *graph) object(collection, app string) string {
	if collection == "servicePrincipals" {
		if p, ok := g.principalOf(app); ok {
			return p.Object
		}
	} else if a, ok := g.byClientID(app); ok {
		return a.Object
	}
	return "-"
}

type graph struct {
	*Directory
	audiences []string
}

// A call is one request to Graph.
type call struct {
	*http.Request
	by   ServicePrincipal
	body []byte
}

// serve authenticates, reads the body, and writes what handle returns.
func (g *graph) serve(handle func(*call) (status int, answer any, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("request-id", azure.NewGUID())
		c, err := g.begin(r)
		if err != nil {
			if azure.AsError(err).Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="`+g.cfg.Authority+`/common/oauth2/authorize"`)
			}
			azure.WriteError(w, err)
			return
		}
		status, answer, err := handle(c)
		switch {
		case err != nil:
			azure.WriteError(w, graphError(err))
		case answer == nil:
			w.WriteHeader(status)
		default:
			azure.WriteJSON(w, status, answer)
		}
	}
}

func (g *graph) begin(r *http.Request) (*call, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty.")
	}
	who, err := g.Verify(token, g.audiences...)
	if err != nil {
		return nil, err
	}
	by, ok := g.Principal(who.Object)
	if !ok {
		return nil, azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The principal of the access token is not known.")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxGraphBytes+1))
	if err != nil || len(body) > maxGraphBytes {
		return nil, azure.Errorf(http.StatusRequestEntityTooLarge, "RequestTooLarge", "The request is larger than %d bytes.", maxGraphBytes)
	}
	return &call{r, by, body}, nil
}

// graphError gives an error of the directory the name that Graph has for it.
func graphError(err error) error {
	switch {
	case errors.Is(err, errNotThere):
		return azure.Errorf(http.StatusNotFound, "Request_ResourceNotFound", "Resource does not exist or one of its queried reference-property objects are not present.")
	case errors.Is(err, errExists):
		return azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "Another object with the same value for a property already exists.")
	case errors.Is(err, ErrFull):
		return azure.Errorf(http.StatusForbidden, "Directory_QuotaExceeded", "The directory object quota limit has been exceeded.")
	case errors.Is(err, errName), errors.Is(err, errBadKey), errors.Is(err, errDates):
		return azure.Errorf(http.StatusBadRequest, "Request_BadRequest", "Invalid value specified: %v.", err)
	}
	return err
}

var errDenied = azure.Errorf(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")

// mayChange says no to who is no administrator: also an application may not give itself another secret, or whoever stole
// one could keep a door open.
func (c *call) mayChange() error {
	if !c.by.Admin {
		return errDenied
	}
	return nil
}

func (c *call) read(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return azure.Errorf(http.StatusBadRequest, "Request_BadRequest", "The body is not the JSON of this request.")
	}
	return nil
}

var comparison = regexp.MustCompile(`^\s*(appId|displayName|servicePrincipalType)\s+eq\s+'((?:[^']|'')*)'\s*$`)

// filter reads $filter, of which one comparison is known. get returns the property's value.
func filter[V any](c *call, get func(v *V, property string) string) (func(*V) bool, error) {
	text := c.URL.Query().Get("$filter")
	if text == "" {
		return func(*V) bool { return true }, nil
	}
	m := comparison.FindStringSubmatch(text)
	if m == nil {
		return nil, azure.Errorf(http.StatusBadRequest, "Request_UnsupportedQuery", "The $filter is not supported: appId, displayName or servicePrincipalType eq 'value' is.")
	}
	want := strings.ReplaceAll(m[2], "''", "'")
	return func(v *V) bool { return strings.EqualFold(get(v, m[1]), want) }, nil
}

// A page is a list of Graph's. Ours have one page.
func page(context string, values any) any {
	return map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#" + context, "value": values}
}

// graphPassword, graphKey, graphApplication and graphPrincipal are the objects as Graph shows them.
type graphPassword struct {
	Name   string    `json:"displayName"`
	From   time.Time `json:"startDateTime"`
	Until  time.Time `json:"endDateTime"`
	Hint   string    `json:"hint"`
	ID     string    `json:"keyId"`
	Secret *string   `json:"secretText"`
}

type graphKey struct {
	Name       string    `json:"displayName"`
	From       time.Time `json:"startDateTime"`
	Until      time.Time `json:"endDateTime"`
	ID         string    `json:"keyId"`
	Key        *string   `json:"key"` // base64 of DER, on the way in
	Type       string    `json:"type"`
	Usage      string    `json:"usage"`
	Thumbprint string    `json:"customKeyIdentifier,omitempty"`
}

type graphApplication struct {
	Object    string          `json:"id"`
	App       string          `json:"appId"`
	Name      string          `json:"displayName"`
	Created   time.Time       `json:"createdDateTime"`
	Audience  string          `json:"signInAudience"`
	Passwords []graphPassword `json:"passwordCredentials"`
	Keys      []graphKey      `json:"keyCredentials"`
}

type graphPrincipal struct {
	Object      string   `json:"id"`
	App         string   `json:"appId"`
	Name        string   `json:"displayName"`
	Type        string   `json:"servicePrincipalType"`
	Enabled     bool     `json:"accountEnabled"`
	Alternative []string `json:"alternativeNames"`
	Tenant      string   `json:"appOwnerOrganizationId,omitempty"`
}

func showPassword(p Password, secret *string) graphPassword {
	return graphPassword{p.Name, p.From, p.Until, p.Hint, p.ID, secret}
}

func showApplication(a Application) graphApplication {
	out := graphApplication{Object: a.Object, App: a.App, Name: a.Name, Created: a.Created, Audience: "AzureADMyOrg", Passwords: []graphPassword{}, Keys: []graphKey{}}
	for _, p := range a.Passwords {
		out.Passwords = append(out.Passwords, showPassword(p, nil))
	}
	for _, k := range a.Keys {
		out.Keys = append(out.Keys, graphKey{Name: k.Name, From: k.From, Until: k.Until, ID: k.ID, Type: "AsymmetricX509Cert", Usage: "Verify", Thumbprint: thumbprint(k.DER)})
	}
	return out
}

func (g *graph) showPrincipal(p ServicePrincipal) graphPrincipal {
	out := graphPrincipal{Object: p.Object, App: p.App, Name: p.Name, Type: p.Type, Enabled: !p.Disabled, Alternative: []string{}, Tenant: g.cfg.Tenant}
	if p.Resource != "" {
		out.Alternative = append(out.Alternative, "isExplicit=True", p.Resource)
	}
	return out
}

func (g *graph) listApplications(c *call) (int, any, error) {
	keep, err := filter(c, func(a *Application, property string) string {
		return map[string]string{"appId": a.App, "displayName": a.Name}[property]
	})
	if err != nil {
		return 0, nil, err
	}
	all := []graphApplication{}
	for _, a := range g.Applications(keep) {
		all = append(all, showApplication(a))
	}
	return http.StatusOK, page("applications", all), nil
}

func (g *graph) createApplication(c *call) (int, any, error) {
	if err := c.mayChange(); err != nil {
		return 0, nil, err
	}
	var in struct {
		Name string     `json:"displayName"`
		Keys []graphKey `json:"keyCredentials"`
	}
	if err := c.read(&in); err != nil {
		return 0, nil, err
	}
	keys, err := readKeys(in.Keys)
	if err != nil {
		return 0, nil, err
	}
	a, err := g.CreateApplication(c.Context(), in.Name)
	if err == nil && len(keys) > 0 {
		err = g.SetKeys(c.Context(), a.Object, keys)
	}
	if err != nil {
		return 0, nil, err
	}
	a, _ = g.Application(a.Object)
	return http.StatusCreated, showApplication(a), nil
}

func readKeys(in []graphKey) (keys []Key, err error) {
	for _, k := range in {
		if k.Key == nil {
			return nil, errBadKey
		}
		der, err := base64.StdEncoding.DecodeString(*k.Key)
		if err != nil {
			return nil, errBadKey
		}
		keys = append(keys, Key{Name: k.Name, DER: der})
	}
	return keys, nil
}

func (g *graph) application(c *call) (Application, error) {
	a, ok := g.Application(c.PathValue("id"))
	if !ok {
		return a, errNotThere
	}
	return a, nil
}

func (g *graph) getApplication(c *call) (int, any, error) {
	a, err := g.application(c)
	return http.StatusOK, showApplication(a), err
}

// changeApplication changes name and certificates.
func (g *graph) changeApplication(c *call) (int, any, error) {
	a, err := g.application(c)
	if err == nil {
		err = c.mayChange()
	}
	if err != nil {
		return 0, nil, err
	}
	var in struct {
		Name *string     `json:"displayName"`
		Keys *[]graphKey `json:"keyCredentials"`
	}
	if err := c.read(&in); err != nil {
		return 0, nil, err
	}
	if in.Keys != nil {
		keys, err := readKeys(*in.Keys)
		if err == nil {
			err = g.SetKeys(c.Context(), a.Object, keys)
		}
		if err != nil {
			return 0, nil, err
		}
	}
	if in.Name != nil {
		err = g.Rename(c.Context(), a.Object, *in.Name)
	}
	return http.StatusNoContent, nil, err
}

func (g *graph) deleteApplication(c *call) (int, any, error) {
	if err := c.mayChange(); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, g.DeleteApplication(c.Context(), c.PathValue("id"))
}

// addPassword makes a secret, and tells it this once.
func (g *graph) addPassword(c *call) (int, any, error) {
	a, err := g.application(c)
	if err == nil {
		err = c.mayChange()
	}
	if err != nil {
		return 0, nil, err
	}
	var in struct {
		Credential struct {
			Name  string    `json:"displayName"`
			From  time.Time `json:"startDateTime"`
			Until time.Time `json:"endDateTime"`
		} `json:"passwordCredential"`
	}
	if len(c.body) > 0 {
		if err := c.read(&in); err != nil {
			return 0, nil, err
		}
	}
	p, secret, err := g.AddPassword(c.Context(), a.Object, in.Credential.Name, in.Credential.From, in.Credential.Until)
	return http.StatusOK, showPassword(p, &secret), err
}

func (g *graph) removePassword(c *call) (int, any, error) {
	a, err := g.application(c)
	if err == nil {
		err = c.mayChange()
	}
	if err != nil {
		return 0, nil, err
	}
	var in struct {
		ID string `json:"keyId"`
	}
	if err := c.read(&in); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, g.RemovePassword(c.Context(), a.Object, in.ID)
}

func (g *graph) listPrincipals(c *call) (int, any, error) {
	keep, err := filter(c, func(p *ServicePrincipal, property string) string {
		return map[string]string{"appId": p.App, "displayName": p.Name, "servicePrincipalType": p.Type}[property]
	})
	if err != nil {
		return 0, nil, err
	}
	all := []graphPrincipal{}
	for _, p := range g.Principals(keep) {
		all = append(all, g.showPrincipal(p))
	}
	return http.StatusOK, page("servicePrincipals", all), nil
}

func (g *graph) createPrincipal(c *call) (int, any, error) {
	if err := c.mayChange(); err != nil {
		return 0, nil, err
	}
	var in struct {
		App string `json:"appId"`
	}
	if err := c.read(&in); err != nil {
		return 0, nil, err
	}
	p, err := g.CreateServicePrincipal(c.Context(), in.App)
	return http.StatusCreated, g.showPrincipal(p), err
}

func (g *graph) getPrincipal(c *call) (int, any, error) {
	p, ok := g.Principal(c.PathValue("id"))
	if !ok {
		return 0, nil, errNotThere
	}
	return http.StatusOK, g.showPrincipal(p), nil
}

func (g *graph) changePrincipal(c *call) (int, any, error) {
	if err := c.mayChange(); err != nil {
		return 0, nil, err
	}
	var in struct {
		Enabled *bool `json:"accountEnabled"`
	}
	if err := c.read(&in); err != nil {
		return 0, nil, err
	}
	if in.Enabled == nil {
		return 0, nil, azure.Errorf(http.StatusBadRequest, "Request_BadRequest", "Only accountEnabled can be changed.")
	}
	return http.StatusNoContent, nil, g.Enable(c.Context(), c.PathValue("id"), *in.Enabled)
}

func (g *graph) deletePrincipal(c *call) (int, any, error) {
	if err := c.mayChange(); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, g.DeletePrincipal(c.Context(), c.PathValue("id"))
}
