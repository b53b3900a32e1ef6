package resourcemanager

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// maxBodyBytes is Azure's bound of a request, which is that of a template.
const maxBodyBytes = 4 << 20

// A request is one that was authenticated.
type request struct {
	*http.Request
	s      *Service
	writer http.ResponseWriter
	caller
	segments []string // of the path
	id       azure.ID // of the resource or scope that it is about
	args     []string // what a pattern had {} for
	version  string   // of the API
}

// A caller is who wants something, and the correlation id by which the log says so.
type caller struct {
	who         azure.Principal
	correlation string
}

// An answer is what a request gets. A nil body is none.
type answer struct {
	status int
	body   any
}

func ok(body any) *answer { return &answer{http.StatusOK, body} }

// ServeHTTP is the control plane.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: r, s: s, writer: w, caller: caller{correlation: azure.NewGUID()}}
	h := w.Header()
	h.Set("x-ms-request-id", azure.NewGUID())
	if given := r.Header.Get("x-ms-correlation-request-id"); azure.IsGUID(given) {
		q.correlation = given
	}
	h.Set("x-ms-correlation-request-id", q.correlation)
	if id := r.Header.Get("x-ms-client-request-id"); printable(id) {
		h.Set("x-ms-client-request-id", id)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	a, err := q.guarded()
	switch {
	case err != nil:
		q.refuse(err)
	case a.body == nil:
		w.WriteHeader(a.status)
	default:
		azure.WriteJSON(w, a.status, a.body)
	}
}

func printable(id string) bool {
	return id != "" && len(id) <= 1024 && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' })
}

func (q *request) refuse(err error) {
	e := azure.AsError(err)
	if e.Status == http.StatusInternalServerError && q.Context().Err() == nil {
		q.s.cfg.Log.Error("request failed", "method", q.Method, "path", q.URL.Path, "err", err)
	}
	if e.Status == http.StatusUnauthorized {
		q.writer.Header().Set("WWW-Authenticate", `Bearer authorization_uri="`+q.s.cfg.Login+"/"+q.s.cfg.Tenant+`", error="invalid_token", error_description="The authentication failed because of missing 'Authorization' header or an invalid token."`)
	}
	if q.Method == http.MethodHead {
		q.writer.WriteHeader(e.Status)
		return
	}
	azure.WriteError(q.writer, err)
}

// guarded serves, and makes an error of a panic: what a provider does wrong is no reason to leave the client without an answer.
func (q *request) guarded() (a *answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			q.s.cfg.Log.Error("panic in a request", "method", q.Method, "path", q.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			a, err = nil, fmt.Errorf("panic: %v", v)
		}
	}()
	return q.serve()
}

func (q *request) serve() (*answer, error) {
	if q.URL.RawPath != "" || !strings.HasPrefix(q.URL.Path, "/") { // no name of Azure's needs an escaped slash
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestUri", "The request URI is not valid.")
	}
	if err := q.authenticate(); err != nil {
		return nil, err
	}
	if err := q.s.cfg.Hostile.Refuse(q.who, q.Method, q.URL.Path); err != nil {
		return nil, err
	}
	if q.version = q.URL.Query().Get("api-version"); q.version == "" {
		return nil, azure.Errorf(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	if !versionForm.MatchString(q.version) {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%.40s' is invalid. It is a date such as 2021-04-01, or one with -preview.", q.version)
	}
	for segment := range strings.SplitSeq(strings.Trim(q.URL.Path, "/"), "/") {
		if err := azure.CheckSegment(segment); err != nil {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestUri", "The request URI is not valid: %v.", err)
		}
		q.segments = append(q.segments, segment)
	}
	if len(q.segments) > 5 && strings.EqualFold(q.segments[2], "resourceGroups") && strings.EqualFold(q.segments[4], "deployments") { // an older form, which clients still use for operations
		q.segments = slices.Insert(q.segments, 4, "providers", "Microsoft.Resources")
	}
	if err := q.checkSubscription(); err != nil {
		return nil, err
	}
	return q.route()
}

var versionForm = regexp.MustCompile(`^20\d\d-\d\d-\d\d(-preview)?$`)

func (q *request) authenticate() (err error) {
	token, has := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	if !has || token == "" {
		return azure.Errorf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	q.who, err = q.s.cfg.Verify(token, q.s.cfg.Audiences...)
	if err != nil {
		return azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	}
	return nil
}

func (q *request) checkSubscription() error {
	if len(q.segments) < 2 || !strings.EqualFold(q.segments[0], "subscriptions") {
		return nil
	}
	if _, known := q.s.subscription(q.segments[1]); !known {
		return azure.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", q.segments[1])
	}
	return nil
}

// last is the path's last segment.
func (q *request) last() string { return q.segments[len(q.segments)-1] }

// object reads the body, which must be an object.
func (q *request) object() (*document.Object, error) { return q.objectBy(document.Parse) }

func (q *request) objectBy(parse func([]byte) (any, error)) (*document.Object, error) {
	body, err := q.read(parse)
	if err == nil && body == nil {
		err = azure.Errorf(http.StatusBadRequest, "MissingRequestBody", "The request content is missing.")
	}
	return body, err
}

// optionalObject reads the body, nil when there is none.
func (q *request) optionalObject() (*document.Object, error) { return q.read(document.Parse) }

func (q *request) read(parse func([]byte) (any, error)) (*document.Object, error) {
	text, err := io.ReadAll(io.LimitReader(q.Body, maxBodyBytes+1))
	switch {
	case err != nil:
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read.")
	case len(text) > maxBodyBytes:
		return nil, azure.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request content exceeds %d bytes.", maxBodyBytes)
	case len(strings.TrimSpace(string(text))) == 0:
		return nil, nil
	}
	v, err := parse(text)
	if err != nil {
		if e, is := errors.AsType[*document.SyntaxError](err); is {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", e)
		}
		return nil, err
	}
	o, is := v.(*document.Object)
	if !is {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is not an object.")
	}
	return o, nil
}
