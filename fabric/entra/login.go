package entra

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// maxFormBytes bounds the body of a token request: an assertion has a few KiB.
const maxFormBytes = 64 << 10

// adfs is the path of the tenant under which older clients (az of 2023) take the authority for one of AD FS: then they ask
// nobody else about it.
const adfs = "adfs"

// Login serves the login host: metadata, keys and tokens.
func (d *Directory) Login() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", d.instanceDiscovery)
	for path, handle := range map[string]http.HandlerFunc{
		"GET /{tenant}/v2.0/.well-known/openid-configuration": d.metadata,
		"GET /{tenant}/.well-known/openid-configuration":      d.metadata,
		"GET /{tenant}/discovery/v2.0/keys":                   d.serveKeys,
		"GET /{tenant}/discovery/keys":                        d.serveKeys,
		"POST /{tenant}/oauth2/v2.0/token":                    d.token,
		"POST /{tenant}/oauth2/token":                         d.token,
	} {
		mux.HandleFunc(path, d.inTenant(handle))
	}
	return mux
}

// inTenant passes on what is for our tenant.
func (d *Directory) inTenant(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch tenant := r.PathValue("tenant"); strings.ToLower(tenant) {
		case strings.ToLower(d.cfg.Tenant), "organizations", "common", adfs:
			next(w, r)
		default:
			failed(http.StatusBadRequest, "invalid_request", 90002, "Tenant '%.64q' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant).write(w, d.cfg.Now())
		}
	}
}

// base is the tenant's part of the authority as the caller knows it: by its name, or by the address of the machine.
func (d *Directory) base(r *http.Request) string {
	if strings.EqualFold(r.PathValue("tenant"), adfs) {
		return "https://" + r.Host + "/" + adfs
	}
	return "https://" + r.Host + "/" + d.cfg.Tenant
}

func (d *Directory) metadata(w http.ResponseWriter, r *http.Request) {
	base, version := d.base(r), ""
	if strings.Contains(r.URL.Path, "/v2.0/") {
		version = "v2.0/"
	}
	azure.WriteJSON(w, http.StatusOK, map[string]any{
		// Clients want an issuer on the host that they asked. Tokens name the authority, however they were asked for.
		"issuer": "https://" + r.Host + "/" + d.cfg.Tenant + "/", "token_endpoint": base + "/oauth2/" + version + "token", "jwks_uri": base + "/discovery/" + version + "keys",
		"authorization_endpoint": base + "/oauth2/" + version + "authorize", "response_types_supported": []string{"token"}, "subject_types_supported": []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"scopes_supported": []string{"openid"}, "tenant_region_scope": "NA", "cloud_instance_name": strings.TrimPrefix(d.cfg.Authority, "https://"),
	})
}

// instanceDiscovery says that the authority knows itself.
func (d *Directory) instanceDiscovery(w http.ResponseWriter, _ *http.Request) {
	host := strings.TrimPrefix(d.cfg.Authority, "https://")
	azure.WriteJSON(w, http.StatusOK, map[string]any{"tenant_discovery_endpoint": d.cfg.Authority + "/" + d.cfg.Tenant + "/v2.0/.well-known/openid-configuration",
		"api-version": "1.1", "metadata": []map[string]any{{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}}}})
}

func (d *Directory) serveKeys(w http.ResponseWriter, _ *http.Request) {
	azure.WriteJSON(w, http.StatusOK, d.keySet())
}

// token answers a token request by client credentials (RFC 6749, 4.4; RFC 7523).
func (d *Directory) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store, no-cache")
	answer, err := d.grant(r)
	if err == nil {
		azure.WriteJSON(w, http.StatusOK, answer)
		return
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		d.cfg.Log.Error("token not issued", "err", err)
		f = failed(http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Please try again.")
	}
	f.write(w, d.cfg.Now())
}

// A tokenAnswer is that of RFC 6749, 5.1. Version 1 has all numbers as strings, and some more.
type tokenAnswer struct {
	Type      string `json:"token_type"`
	ExpiresIn any    `json:"expires_in"`
	ExtIn     any    `json:"ext_expires_in"`
	ExpiresOn string `json:"expires_on,omitempty"`
	NotBefore string `json:"not_before,omitempty"`
	Resource  string `json:"resource,omitempty"`
	Token     string `json:"access_token"`
}

func (d *Directory) grant(r *http.Request) (tokenAnswer, error) {
	form, err := readForm(r)
	if err != nil {
		return tokenAnswer{}, err
	}
	if kind := form["grant_type"]; kind != "client_credentials" {
		if kind == "" {
			return tokenAnswer{}, missing("grant_type")
		}
		return tokenAnswer{}, failed(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
	}
	p, proof, err := d.client(r, form)
	if err != nil {
		return tokenAnswer{}, err
	}
	second := strings.HasSuffix(r.URL.Path, "/v2.0/token") || form["scope"] != "" && form["resource"] == ""
	resource, err := d.wanted(form, second)
	if err != nil {
		return tokenAnswer{}, err
	}
	token, expires, err := d.issue(p, resource, proof, tokenLife)
	if err != nil {
		return tokenAnswer{}, err
	}
	seconds := int64(tokenLife / time.Second)
	if second {
		return tokenAnswer{Type: "Bearer", ExpiresIn: seconds, ExtIn: seconds, Token: token}, nil
	}
	return tokenAnswer{Type: "Bearer", ExpiresIn: decimal(seconds), ExtIn: decimal(seconds), ExpiresOn: decimal(expires.Unix()), NotBefore: decimal(expires.Unix() - seconds),
		Resource: resource, Token: token}, nil
}

// readForm reads a body of fields, each of which may come once.
func readForm(r *http.Request) (map[string]string, error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil, failed(http.StatusBadRequest, "invalid_request", 900561, "The endpoint only accepts POST requests of application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxFormBytes+1))
	if err != nil || len(body) > maxFormBytes {
		return nil, malformed()
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformed()
	}
	form := make(map[string]string, len(values))
	for name, v := range values {
		if len(v) != 1 {
			return nil, malformed()
		}
		form[name] = v[0]
	}
	return form, nil
}

// client returns who asks, and how it was proven.
func (d *Directory) client(r *http.Request, form map[string]string) (p ServicePrincipal, proof string, err error) {
	id := strings.ToLower(form["client_id"])
	if id == "" {
		return p, "", missing("client_id")
	}
	if !d.throttle.may(id, d.cfg.Now()) {
		return p, "", failed(http.StatusTooManyRequests, "temporarily_unavailable", 50196, "The server terminated an operation because it encountered a client request loop. Please contact your app vendor.")
	}
	a, known := d.byClientID(id)
	if !known {
		return p, "", failed(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '%.64q' was not found in the directory.", form["client_id"])
	}
	switch {
	case form["client_secret"] != "" && form["client_assertion"] == "":
		proof, err = bySecret, a.checkSecret(form["client_secret"], d.cfg.Now())
	case form["client_assertion"] != "" && form["client_secret"] == "":
		proof, err = byCertificate, d.checkAssertion(&a, r, form)
	default:
		err = failed(http.StatusUnauthorized, "invalid_client", 7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.")
	}
	if err != nil {
		d.throttle.wrong(id, d.cfg.Now())
		return p, "", err
	}
	p, ok := d.principalOf(a.App)
	switch {
	case !ok:
		return p, "", failed(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory: it has no service principal.", a.App)
	case p.Disabled:
		return p, "", failed(http.StatusBadRequest, "unauthorized_client", 7000112, "Application '%s' is disabled.", a.App)
	}
	return p, proof, nil
}

func (d *Directory) byClientID(id string) (Application, bool) {
	all := d.Applications(func(a *Application) bool { return a.App == id })
	if len(all) == 0 {
		return Application{}, false
	}
	return all[0], true
}

func (d *Directory) principalOf(app string) (ServicePrincipal, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.byApp[app]
	if p == nil {
		return ServicePrincipal{}, false
	}
	return *p, true
}

// wanted returns the resource that a token is asked for: by scope in version 2, by resource in version 1.
func (d *Directory) wanted(form map[string]string, second bool) (string, error) {
	resource := form["resource"]
	if second {
		var found []string
		for _, s := range strings.Fields(form["scope"]) {
			switch s {
			case "openid", "profile", "offline_access", "email":
				continue
			}
			found = append(found, s)
		}
		if len(found) == 0 {
			return "", missing("scope")
		}
		if len(found) > 1 {
			return "", failed(http.StatusBadRequest, "invalid_scope", 70011, "The provided request must include a 'scope' input parameter for one resource.")
		}
		var ok bool
		if resource, ok = strings.CutSuffix(found[0], "/.default"); !ok {
			return "", failed(http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).")
		}
	}
	if resource == "" {
		return "", missing("resource")
	}
	if !d.cfg.Resource(strings.TrimRight(resource, "/")) {
		return "", failed(http.StatusBadRequest, "invalid_resource", 500011, "The resource principal named %.128q was not found in the tenant.", resource)
	}
	return resource, nil
}
