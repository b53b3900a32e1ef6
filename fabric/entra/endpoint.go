package entra

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// An Endpoint gives one instance tokens for its managed identities, in both ways that Azure's clients know: that of App
// Service (IDENTITY_ENDPOINT and IDENTITY_HEADER) and the path of the instance metadata service. It is bound to the instance by
// its secret, which nobody else is told, and by where it listens.
type Endpoint struct {
	directory  *Directory
	secret     string
	identities []string // object ids
}

// NewEndpoint makes the endpoint of an instance that has these identities, by object id. Header is what the instance's
// IDENTITY_HEADER has to be.
func (d *Directory) NewEndpoint(identities []string) (e *Endpoint, header string) {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails
	header = base64.RawURLEncoding.EncodeToString(raw)
	return &Endpoint{d, header, slices.Clone(identities)}, header
}

// Paths of the two ways.
const (
	AppServicePath = "/msi/token"
	MetadataPath   = "/metadata/identity/oauth2/token"
)

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store, no-cache")
	token, err := e.token(r)
	if err != nil {
		refusal := azure.AsError(err)
		azure.WriteJSON(w, max(refusal.Status, http.StatusBadRequest), map[string]string{"error": refusal.Code, "error_description": refusal.Message})
		return
	}
	azure.WriteJSON(w, http.StatusOK, token)
}

// An identityToken is the answer of both ways: numbers are strings.
type identityToken struct {
	Token     string `json:"access_token"`
	ClientID  string `json:"client_id"`
	ExpiresIn string `json:"expires_in"`
	ExpiresOn string `json:"expires_on"`
	NotBefore string `json:"not_before"`
	Resource  string `json:"resource"`
	Type      string `json:"token_type"`
}

func (e *Endpoint) token(r *http.Request) (t identityToken, err error) {
	if err := e.admit(r); err != nil {
		return t, err
	}
	query := r.URL.Query()
	for name, v := range query {
		if len(v) != 1 {
			return t, azure.Errorf(http.StatusBadRequest, "invalid_request", "The parameter '%.32q' stands there more than once.", name)
		}
	}
	resource := query.Get("resource")
	switch {
	case query.Get("api-version") == "":
		return t, azure.Errorf(http.StatusBadRequest, "bad_request_102", "Required parameter 'api-version' is missing.")
	case resource == "":
		return t, azure.Errorf(http.StatusBadRequest, "invalid_request", "Required query variable 'resource' is missing")
	case !e.directory.cfg.Resource(strings.TrimRight(resource, "/")):
		return t, azure.Errorf(http.StatusBadRequest, "invalid_resource", "AADSTS500011: The resource principal named %.128q was not found in the tenant.", resource)
	}
	p, err := e.identity(query.Get)
	if err != nil {
		return t, err
	}
	token, expires, err := e.directory.issue(p, resource, byCertificate, identityTokenLife)
	if err != nil {
		return t, err
	}
	seconds := int64(identityTokenLife / time.Second)
	return identityToken{token, p.App, decimal(seconds), decimal(expires.Unix()), decimal(expires.Unix() - seconds), resource, "Bearer"}, nil
}

// admit holds a request to what only the instance can say. A request that some server was talked into passing on bears
// the mark of a proxy, or lacks a header that no browser and no plain GET has.
func (e *Endpoint) admit(r *http.Request) error {
	if r.Header.Get("X-Forwarded-For") != "" {
		return azure.Errorf(http.StatusBadRequest, "invalid_request", "A request that was passed on is not served.")
	}
	switch {
	case r.Method != http.MethodGet:
		return azure.Errorf(http.StatusMethodNotAllowed, "invalid_request", "The method is not supported.")
	case r.URL.Path != AppServicePath && r.URL.Path != MetadataPath:
		return azure.Errorf(http.StatusNotFound, "not_found", "There is nothing here.")
	case r.URL.Path == MetadataPath && !strings.EqualFold(r.Header.Get("Metadata"), "true"):
		return azure.Errorf(http.StatusBadRequest, "bad_request_102", "Required metadata header not specified")
	case subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Identity-Header")), []byte(e.secret)) != 1:
		// Also by the way of metadata, which has no such header in Azure: on one machine others could reach the listener.
		return azure.Errorf(http.StatusUnauthorized, "unauthorized_client", "The header X-IDENTITY-HEADER is not that of this instance.")
	}
	return nil
}

// identity finds the one that is asked for, or the only one there is.
func (e *Endpoint) identity(get func(string) string) (p ServicePrincipal, err error) {
	notFound := azure.Errorf(http.StatusBadRequest, "invalid_request", "Identity not found")
	var all []ServicePrincipal
	for _, object := range e.identities {
		if p, ok := e.directory.Principal(object); ok && !p.Disabled {
			all = append(all, p)
		}
	}
	asked := false
	for name, same := range map[string]func(ServicePrincipal) string{
		"client_id":    func(p ServicePrincipal) string { return p.App },
		"clientid":     func(p ServicePrincipal) string { return p.App },
		"object_id":    func(p ServicePrincipal) string { return p.Object },
		"principal_id": func(p ServicePrincipal) string { return p.Object },
		"mi_res_id":    func(p ServicePrincipal) string { return p.Resource },
		"msi_res_id":   func(p ServicePrincipal) string { return p.Resource },
	} {
		if value := get(name); value != "" {
			asked = true
			all = slices.DeleteFunc(all, func(p ServicePrincipal) bool { return !strings.EqualFold(same(p), value) })
		}
	}
	switch {
	case len(all) == 1:
		return all[0], nil
	case len(all) > 1 && !asked:
		return p, azure.Errorf(http.StatusBadRequest, "invalid_request", "Multiple user assigned identities exist (%d), please specify the clientId / resourceId of the identity in the token request", len(all))
	}
	return p, notFound
}
