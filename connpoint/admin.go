package connpoint

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// Status is a look at a connection point, for people and programs on the premises.
type Status struct {
	Site            causeway.SiteID            `json:"site"`
	ID              causeway.ConnectionPointID `json:"id"`
	Software        string                     `json:"software"`
	State           string                     `json:"state"` // Connected, Disconnected, Draining
	Since           time.Time                  `json:"since"`
	Ready           bool                       `json:"ready"` // a document is in force and a channel is up
	Configuration   DocumentStatus             `json:"configuration"`
	GatewayDocument uint64                     `json:"gateway_document_generation"`
	Certificate     CertificateStatus          `json:"certificate"`
	Channels        []ChannelStatus            `json:"channels"`
	Servers         []ServerStatus             `json:"servers"`
	Traffic         TrafficReport              `json:"traffic"`
}

// DocumentStatus is the signed document in force.
type DocumentStatus struct {
	Generation uint64    `json:"generation"`
	Issued     time.Time `json:"issued,omitzero"`
	ValidUntil time.Time `json:"valid_until,omitzero"`
	Stale      bool      `json:"stale"`
}

// CertificateStatus is the role certificate in use.
type CertificateStatus struct {
	Subject   string    `json:"subject,omitempty"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	LastError string    `json:"last_error,omitempty"`
}

// ServerStatus is one published server as it is reached from here.
type ServerStatus struct {
	Name      causeway.ServerName `json:"name"`
	URL       string              `json:"url"`
	State     string              `json:"state"` // Reachable, Unreachable: the last dial failed, Unknown: there was none
	Open      int                 `json:"open"`
	Idle      int                 `json:"idle"`
	Waiting   int                 `json:"waiting"`
	Dials     uint64              `json:"dials"`
	Reuses    uint64              `json:"reuses"`
	Failures  int                 `json:"dial_failures_in_a_row"`
	LastError string              `json:"last_error,omitempty"`
	LastTry   time.Time           `json:"last_failed_try,omitzero"`
}

// Status returns how things are.
func (a *Agent) Status() Status {
	a.init()
	now := a.state.inside.now()
	s := Status{
		Site: a.Site, ID: a.ID, Software: a.Software, State: "Disconnected", Since: a.state.started.UTC(),
		GatewayDocument: a.state.channels.newest().generation,
		Channels:        a.state.channels.status(),
		Servers:         []ServerStatus{},
		Traffic:         a.state.inside.counts.report(a.state.started, now),
	}
	c := a.state.inside.config.Load()
	if c != nil {
		s.Configuration = documentStatus(c.header, now)
		for _, t := range c.targets {
			s.Servers = append(s.Servers, t.status())
		}
	}
	for _, ch := range s.Channels {
		if ch.Connected > 0 {
			s.State = "Connected"
		}
	}
	if a.state.channels.leaving.Load() {
		s.State = draining
	}
	s.Ready = c != nil && s.State == "Connected"
	cert, err := a.state.certs.state()
	if cert != nil {
		s.Certificate.Subject, s.Certificate.NotAfter = cert.Leaf.Subject.String(), cert.Leaf.NotAfter
	}
	if err != nil {
		s.Certificate.LastError = err.Error()
	}
	return s
}

func documentStatus(h signed.Header, now time.Time) DocumentStatus {
	return DocumentStatus{Generation: h.Generation, Issued: h.Issued, ValidUntil: h.ValidUntil, Stale: h.Stale(now)}
}

func (t *target) status() ServerStatus {
	p := t.pool.state()
	_, failures, lastErr, lastTry := t.pool.circuit.state()
	s := ServerStatus{
		Name: t.server.Name, URL: t.server.URL, State: "Reachable", Open: p.open, Idle: p.idle, Waiting: p.waiting,
		Dials: p.dials, Reuses: p.reuses, Failures: failures, LastError: lastErr, LastTry: lastTry.UTC(),
	}
	switch {
	case failures > 0:
		s.State = "Unreachable"
	case p.dials == 0:
		s.State = "Unknown"
	}
	return s
}

// AdminHandler answers the read-only questions of operators: /metrics, /livez, /readyz and /status. It belongs on a
// socket or loopback address on the premises.
func (a *Agent) AdminHandler() http.Handler {
	a.init()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.state.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s := a.Status(); s.Ready {
			plain(w, http.StatusOK, "ok")
		} else {
			plain(w, http.StatusServiceUnavailable, "no channel")
		}
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(a.Status()) // who asked may be gone
	})
	return mux
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
