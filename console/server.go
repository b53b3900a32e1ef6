package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
)

// maxRequestBytes bounds what one request may hold: a server with its certificates.
const maxRequestBytes = 1 << 20

// A Site is what the admin API needs of the site it administers. Whoever changes something is named, for the audit
// log; a change that cannot be audited is refused. Errors that wrap causeway.ErrNotFound or causeway.ErrUsage
// arrive as such at the command that asked.
type Site interface {
	Status(ctx context.Context) (Status, error)

	Servers(ctx context.Context) ([]Published, error)
	AddServer(ctx context.Context, by string, p Published) (Change, error)
	SetServer(ctx context.Context, by string, name causeway.ServerName, c PublishedChange) (Change, error)
	RemoveServer(ctx context.Context, by string, name causeway.ServerName) (Change, error)

	Devices(ctx context.Context) (Devices, error)
	IssueDevice(ctx context.Context, by string, name causeway.DeviceID) (DeviceCertificate, error)
	BlockDevice(ctx context.Context, by string, b identity.Block, reason string) (Change, error)
	UnblockDevice(ctx context.Context, by string, b identity.Block) (Change, error)

	Explain(ctx context.Context, q Question) (Explanation, error)
	// Stop begins an orderly stop and returns at once.
	Stop(ctx context.Context, by string) error
}

// A Server is the admin API. All fields but Logger are required.
type Server struct {
	Site       Site
	Credential string // every request carries it
	UID        int    // the user that may connect, root besides
	Logger     *slog.Logger
}

// Handler returns the API, to be served with ConnContext = PeerContext.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/servers", s.servers)
	mux.HandleFunc("POST /v1/servers", s.addServer)
	mux.HandleFunc("PATCH /v1/servers/{name}", s.setServer)
	mux.HandleFunc("DELETE /v1/servers/{name}", s.removeServer)
	mux.HandleFunc("GET /v1/devices", s.devices)
	mux.HandleFunc("POST /v1/devices/{name}/certificate", s.issueDevice)
	mux.HandleFunc("POST /v1/block", s.block)
	mux.HandleFunc("POST /v1/unblock", s.unblock)
	mux.HandleFunc("POST /v1/explain", s.explain)
	mux.HandleFunc("POST /v1/stop", s.stop)
	return s.authorised(mux)
}

// NewServer returns the HTTP server for the admin socket.
func (s *Server) NewServer() *http.Server {
	srv := NewHTTPServer(s.Handler())
	srv.ConnContext = withPeer
	return srv
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.Default()
	}
	return s.Logger
}

// by names who asks, for the audit log.
func by(r *http.Request) string {
	p, _ := r.Context().Value(peerKey{}).(peer)
	if !p.known {
		return "admin socket"
	}
	return "uid " + strconv.Itoa(p.uid)
}

// read decodes a request's body strictly.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return badRequest{fmt.Errorf("request: %w", err)}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest{errors.New("request: more than one JSON value")}
	}
	return nil
}

// A badRequest is a mistake of the program that calls the API.
type badRequest struct{ error }

func (b badRequest) Unwrap() []error { return []error{b.error, causeway.ErrUsage} }

// answer renders what a call of the site returned.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	if err != nil {
		s.log().Warn("admin request failed", "method", r.Method, "path", r.URL.Path, "by", by(r), "err", err)
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone: nobody to tell
}
