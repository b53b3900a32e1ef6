package storage

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A plane is one service of the accounts: blobs or tables.
type plane struct {
	*Service
	kind  byte   // 'b' or 't', as an account's signature calls it
	name  string // "blob" or "table", as a service's signature calls it
	host  string
	read  func(*request) error // what the path names
	route func(*request) error
	fail  func(w http.ResponseWriter, r *http.Request, id string, e *azure.Error)
}

// A request is one that was read, and whose sender proved to be somebody.
type request struct {
	w     http.ResponseWriter
	r     *http.Request
	plane *plane
	id    string

	account    *account
	path       string            // below the account, without the slash that it begins with
	query      map[string]string // names in lower case
	apiVersion string
	conditions conditions
	proof      proof
	mustBeNew  bool // the proof allows to make something, but not to replace it

	container, blob string // of the blob plane

	// Of the table plane.
	about int // aboutTables and its like
	table string
	key   entityKey
	level int // how much metadata the answer has
}

const (
	maxQueryBytes   = 16 << 10
	maxPathBytes    = 8 << 10
	maxClientID     = 1024
	defaultVersion  = "2021-12-02"
	earliestVersion = "2015-02-21" // the first whose way to sign is known here
)

var isVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := azure.NewGUID()
	q := &request{w: w, r: r, plane: p, id: id}
	q.greet()
	err := q.read()
	if err == nil {
		q.account.usage.requests.Add(1)
		err = p.route(q)
	}
	if err == nil {
		return
	}
	e := azure.AsError(err)
	if e.Status < 500 { // anybody may cause it
		p.Log.DebugContext(r.Context(), "storage request refused", "plane", p.name, "request_id", id, "code", e.Code)
	} else {
		p.Log.ErrorContext(r.Context(), "storage request failed", "plane", p.name, "request_id", id, "err", err)
	}
	p.fail(w, r, id, e)
}

// greet sets the headers that every answer has.
func (q *request) greet() {
	h := q.w.Header()
	h.Set("x-ms-request-id", q.id)
	h.Set("Date", q.plane.Now().UTC().Format(http.TimeFormat))
	h.Set("x-ms-version", defaultVersion)
	if id := q.r.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= maxClientID && isPrintable(id) {
		h.Set("x-ms-client-request-id", id)
	}
}

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// read takes the request apart, and finds out who sent it.
func (q *request) read() (err error) {
	if len(q.r.URL.RawQuery) > maxQueryBytes || len(q.r.URL.EscapedPath()) > maxPathBytes {
		return refuse(http.StatusRequestURITooLong, "InvalidUri", "The requested URI is longer than what is supported.")
	}
	if q.query, err = readQuery(q.r.URL.RawQuery); err != nil {
		return err
	}
	if err := q.readVersion(); err != nil {
		return err
	}
	if err := q.readAccount(); err != nil {
		return err
	}
	if q.conditions, err = readConditions(q.r.Header); err != nil {
		return err
	}
	if err := q.plane.read(q); err != nil {
		return err
	}
	q.proof, err = q.prove()
	return err
}

func (q *request) readVersion() error {
	v := q.r.Header.Get("x-ms-version")
	if v == "" {
		v = q.query["sv"]
	}
	switch {
	case v == "":
		v = defaultVersion
	case !isVersion.MatchString(v) || v < earliestVersion:
		return errHeader("x-ms-version")
	}
	q.apiVersion = v
	q.w.Header().Set("x-ms-version", v)
	return nil
}

// readQuery refuses what two readers could understand in two ways: a parameter that stands there twice.
func readQuery(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.")
	}
	query := make(map[string]string)
	for name, v := range values {
		name = strings.ToLower(name)
		if _, twice := query[name]; twice || len(v) != 1 {
			return nil, refuse(http.StatusBadRequest, "InvalidQueryParameterValue", "A query parameter is specified more than once in the request URI.")
		}
		query[name] = v[0]
	}
	return query, nil
}

// readAccount finds the account in the host's name, or at the front of the path where the host is the plane itself.
func (q *request) readAccount() error {
	host, plane := hostOnly(q.r.Host), hostOnly(q.plane.host)
	path := strings.TrimPrefix(q.r.URL.Path, "/")
	name, ok := strings.CutSuffix(host, "."+plane)
	if !ok {
		if _, err := netip.ParseAddr(host); err != nil && host != plane && host != "localhost" {
			return refuse(http.StatusMisdirectedRequest, "InvalidUri", "The requested URI does not represent any resource on the server.")
		}
		name, path, _ = strings.Cut(path, "/")
		name = strings.TrimSuffix(name, "."+q.plane.name) // where one address serves all planes, their names say which
	}
	a, err := q.plane.Service.account(name)
	if err != nil {
		return refuse(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.")
	}
	q.account, q.path = a, path
	return q.checkTLS()
}

func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

func (q *request) checkTLS() error {
	switch {
	case q.r.TLS == nil:
		return refuse(http.StatusBadRequest, "AccountRequiresHttps", "The account being accessed does not support http.")
	case q.r.TLS.Version < tlsVersions[q.account.MinimumTLSVersion]:
		return refuse(http.StatusBadRequest, "TlsVersionNotPermitted", "The TLS version of the connection is not permitted on this storage account.")
	}
	return nil
}

// version sets the headers that say which version of something an answer is about.
func (q *request) version(etag string, modified time.Time) {
	q.w.Header().Set("ETag", `"`+etag+`"`)
	q.w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
}

// url returns the account's own on this plane, with a slash at its end. Links are never made of what a client sent.
func (q *request) url() string { return endpoint(q.account.Name, q.plane.host) }

// scope returns the id that roles are looked up for: the account, or what is in it.
func (q *request) scope() azure.ID {
	switch {
	case q.table != "":
		return q.account.resource.Child("tableServices", "default", "tables", q.table)
	case q.container != "":
		return q.account.resource.Child("blobServices", "default", "containers", q.container)
	}
	return q.account.resource
}
