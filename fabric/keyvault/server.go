package keyvault

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// maxRequestBytes bounds a body: a PFX with its chain has some KiB, a backup some hundred.
const maxRequestBytes = 2 << 20

// ServeHTTP serves the data plane of all vaults: by host (NAME.vault.…), else by path (/NAME/secrets/…).
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-request-id", azure.NewGUID())
	w.Header().Set("x-ms-keyvault-service-version", "1.9.0.0")
	w.Header().Set("Cache-Control", "no-cache")
	status, answer, err := s.serve(r)
	switch {
	case err != nil:
		s.refuse(w, err)
	case answer == nil:
		w.WriteHeader(status)
	default:
		azure.WriteJSON(w, status, answer)
	}
}

// refuse answers with an error as Key Vault does: with a second code within, where there is one.
func (s *Service) refuse(w http.ResponseWriter, err error) {
	e := azure.AsError(err)
	if e.Status == http.StatusInternalServerError {
		s.cfg.Log.Error("key vault request failed", "err", err)
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="`+s.cfg.Authority+`", resource="https://`+s.cfg.Suffix+`"`)
	}
	body := map[string]any{"code": e.Code, "message": e.Message}
	if i, ok := errors.AsType[inner](err); ok {
		body["innererror"] = map[string]string{"code": i.code}
	}
	azure.WriteJSON(w, e.Status, map[string]any{"error": body})
}

// A request is one that was authenticated.
type request struct {
	*http.Request
	service *Service
	vault   *Vault
	who     azure.Principal
	parts   []string // of the path, without the vault's name
	body    []byte
	now     time.Time
}

// An operation is what a request asks for.
type operation struct {
	method string
	path   string // with {name} and {version}
	kind   string // whose permission it wants
	allow  string // the permission of access policies
	action string // the data action of roles
	run    func(*request) (status int, answer any, err error)
}

func (s *Service) serve(r *http.Request) (int, any, error) {
	name, parts := s.address(r)
	who, err := s.authenticate(r)
	if err != nil {
		return 0, nil, err
	}
	if err := checkVersion(r); err != nil {
		return 0, nil, err
	}
	op, ok := match(r.Method, parts)
	if !ok {
		return 0, nil, azure.Errorf(http.StatusNotFound, "NotFound", "This Key Vault has no operation %s %.200q.", r.Method, "/"+strings.Join(parts, "/"))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes+1))
	if err != nil || len(body) > maxRequestBytes {
		return 0, nil, azure.Errorf(http.StatusRequestEntityTooLarge, "RequestTooLarge", "The request is larger than %d bytes.", maxRequestBytes)
	}
	s.mu.Lock() // requests are few, and each is one transaction
	defer s.mu.Unlock()
	v := s.vaults[strings.ToLower(name)]
	if v == nil || !v.Deleted.IsZero() {
		// One that is not there is none for anybody; Azure's would not even have a name to call.
		return 0, nil, vaultNotFound(name)
	}
	q := &request{r, s, v, who, parts, body, s.cfg.Now()}
	if err := q.permit(op); err != nil {
		return 0, nil, err
	}
	return op.run(q)
}

// address finds the vault's name and the rest of the path.
func (s *Service) address(r *http.Request) (name string, parts []string) {
	parts = strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	suffix, _, err := net.SplitHostPort(s.cfg.Suffix)
	if err != nil {
		suffix = s.cfg.Suffix
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if name, ok := strings.CutSuffix(strings.ToLower(host), "."+suffix); ok {
		return name, parts
	}
	return strings.TrimSuffix(parts[0], ".vault"), parts[1:] // where one address serves all planes, names say which
}

func (s *Service) authenticate(r *http.Request) (who azure.Principal, err error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return who, azure.Errorf(http.StatusUnauthorized, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
	}
	host, _, err := net.SplitHostPort(s.cfg.Suffix)
	if err != nil {
		host = s.cfg.Suffix
	}
	who, err = s.cfg.Verify(token, "https://"+s.cfg.Suffix, "https://"+host)
	if err != nil {
		return who, azure.Errorf(http.StatusUnauthorized, "Unauthorized", "AKV10022: Invalid audience or token. Expected https://%s.", s.cfg.Suffix)
	}
	return who, nil
}

// apiVersion is 7.0 and later, or a date.
var apiVersion = regexp.MustCompile(`^(7\.\d{1,2}(-preview(\.\d)?)?|20\d\d-\d\d-\d\d(-preview)?)$`)

func checkVersion(r *http.Request) error {
	switch v := r.URL.Query().Get("api-version"); {
	case v == "":
		return bad("BadParameter", "AKV10001: api-version must be specified")
	case !apiVersion.MatchString(v):
		return bad("BadParameter", "AKV10002: The specified version (%.32q) is not recognized. Consider using the latest supported version (7.5).", v)
	}
	return nil
}

// match finds the operation of a method and a path.
func match(method string, parts []string) (operation, bool) {
	for _, op := range operations {
		want := strings.Split(op.path, "/")
		if op.method != method || len(want) != len(parts) {
			continue
		}
		if slices.EqualFunc(want, parts, func(w, p string) bool { return w[0] == '{' && p != "" || strings.EqualFold(w, p) }) {
			return op, true
		}
	}
	return operation{}, false
}

// permit asks the vault's access policies, or the roles.
func (q *request) permit(op operation) error {
	if q.vault.RBAC {
		on, err := azure.ParseID(q.vault.ID)
		if err == nil && q.service.cfg.Allowed(q.who, op.action, true, on) {
			return nil
		}
		return forbidden("ForbiddenByRbac", "Caller is not authorized to perform action on resource. If role assignments, deny assignments or role definitions were changed recently, "+
			"please observe propagation time. Caller: appid=%s;oid=%s;iss=%s Action: '%s' Resource: '%s' Vault: %s;location=%s", q.who.App, q.who.Object, q.service.cfg.Authority, op.action, q.vault.ID,
			q.vault.Name, q.vault.Location)
	}
	for _, p := range q.vault.Policies {
		if !strings.EqualFold(p.Object, q.who.Object) {
			continue
		}
		given := map[string][]string{secrets: p.Secrets, certificates: p.Certificates, keys: p.Keys}[op.kind]
		if slices.ContainsFunc(given, func(g string) bool { return strings.EqualFold(g, op.allow) || strings.EqualFold(g, "all") }) {
			return nil
		}
	}
	return forbidden("AccessDenied", "The user, group or application 'appid=%s;oid=%s;iss=%s' does not have %s %s permission on key vault '%s;location=%s'. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287", q.who.App, q.who.Object, q.service.cfg.Authority, op.kind, op.allow, q.vault.Name, q.vault.Location)
}

// name returns the object's name from the path, if it can be one.
func (q *request) name() (string, error) {
	name := q.parts[1]
	if !objectName.MatchString(name) {
		return "", bad("BadParameter", "The request URI contains an invalid name: %.140q", name)
	}
	return name, nil
}

// id returns the version from the path, "" for the latest.
func (q *request) id() string {
	if len(q.parts) > 2 {
		return strings.ToLower(q.parts[2])
	}
	return ""
}

func (q *request) read(into any) error {
	if len(q.body) == 0 {
		return bad("BadParameter", "The request body is missing.")
	}
	if err := json.Unmarshal(q.body, into); err != nil {
		return bad("BadParameter", "The request body is not the JSON of this operation.")
	}
	return nil
}

// update has f change what lies on a shelf, all of it or nothing.
func (q *request) update(kind string, f func(h shelf) error) error {
	return q.service.cfg.State.Update(q.Context(), func(tx *state.Tx) error { return f(shelf{tx, q.vault, kind, q.now}) })
}

// view has f read it.
func (q *request) view(kind string, f func(h shelf) error) error {
	return q.service.cfg.State.View(q.Context(), func(tx *state.Tx) error { return f(shelf{tx, q.vault, kind, q.now}) })
}

// uri is what an object is called outside.
func (q *request) uri(parts ...string) string {
	return q.service.URI(q.vault.Name) + strings.Join(parts, "/")
}
