package gateway

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// Status is a look at an instance, for people and programs on the premises.
type Status struct {
	Site           causeway.SiteID      `json:"site"`
	Gateway        causeway.GatewayName `json:"gateway"`
	Instance       causeway.InstanceID  `json:"instance"`
	Slot           causeway.Slot        `json:"slot"`
	Software       string               `json:"software"`
	State          string               `json:"state"` // starting, ready, no-channel, stale, draining
	Since          time.Time            `json:"since,omitzero"`
	Ready          bool                 `json:"ready"`   // a channel takes requests and devices are admitted
	Healthy        bool                 `json:"healthy"` // what the balancer is told
	Configuration  ConfigurationStatus  `json:"configuration"`
	Certificate    CertificateStatus    `json:"certificate"`
	Connections    int                  `json:"connections"`
	Handshakes     int                  `json:"handshakes_pending"`
	RequestsActive int64                `json:"requests_in_flight"`
	Devices        int                  `json:"devices"`
	Memory         MemoryStatus         `json:"memory"`
	Channels       []channel.SetStatus  `json:"channels"`
	Endpoints      []EndpointStatus     `json:"endpoints"`
}

// ConfigurationStatus is the signed document in force.
type ConfigurationStatus struct {
	Generation   uint64    `json:"generation"`
	Issued       time.Time `json:"issued,omitzero"`
	ValidUntil   time.Time `json:"valid_until,omitzero"`
	Stale        bool      `json:"stale"`
	ServiceName  string    `json:"service_name,omitempty"`
	Publications int       `json:"publications"`
	Listed       bool      `json:"listed"` // it names this life of this instance
}

// CertificateStatus is the service certificate in use.
type CertificateStatus struct {
	Subject  string    `json:"subject"`
	DNSNames []string  `json:"dns_names,omitempty"`
	NotAfter time.Time `json:"not_after,omitzero"`
}

// MemoryStatus is what bodies for slow readers hold.
type MemoryStatus struct {
	UsedBytes   int64     `json:"used_bytes"`
	BudgetBytes int64     `json:"budget_bytes"`
	LastRefused time.Time `json:"last_refused,omitzero"` // a request was turned away because the budget was used up
}

// EndpointStatus is what one rule of one publication has carried.
type EndpointStatus struct {
	Publication   causeway.ServerName `json:"publication"`
	URI           string              `json:"uri"`
	Requests      uint64              `json:"requests"`
	Failed        uint64              `json:"failed"`
	RequestBytes  uint64              `json:"request_bytes"`
	AnswerBytes   uint64              `json:"answer_bytes"`
	InFlight      int64               `json:"in_flight"`
	MaxConcurrent int64               `json:"max_concurrent"`
}

// Status returns how the instance is.
func (s *Server) Status() Status {
	open, pending := s.sources.open()
	st := Status{
		Site: s.site, Gateway: s.gateway, Instance: s.instance, Slot: s.slot, Software: s.software,
		Healthy: s.healthy(), Connections: open, Handshakes: pending, RequestsActive: s.inFlight.Load(),
		Devices: s.devices.size(), Channels: s.exchanger.Status(),
	}
	st.Memory = MemoryStatus{UsedBytes: s.exchanger.MemoryUsedBytes(), BudgetBytes: s.exchanger.MemoryBudgetBytes()}
	if at := s.memoryRefused.Load(); at != 0 {
		st.Memory.LastRefused = time.Unix(at, 0).UTC()
	}
	if began := s.began.Load(); began != 0 {
		st.Since = time.Unix(0, began).UTC()
	}
	stale := true
	if snap := s.snapshot.Load(); snap != nil {
		stale = snap.stale(s.now(), s.timeouts.Stale)
		st.Configuration = ConfigurationStatus{
			Generation: snap.header.Generation, Issued: snap.header.Issued, ValidUntil: snap.header.ValidUntil,
			Stale: snap.header.Stale(s.now()), ServiceName: snap.doc.ServiceName, Publications: len(snap.doc.Publications),
			Listed: snap.lists(s.slot, s.instance),
		}
	}
	st.Ready = s.ready()
	st.State = s.state(stale)
	if leaf := s.certificates.Leaf(); leaf != nil {
		st.Certificate = CertificateStatus{leaf.Subject.String(), leaf.DNSNames, leaf.NotAfter.UTC()}
	}
	for _, e := range s.traffic.list() {
		c, failed := e.counts(), uint64(0)
		for _, n := range c.failed {
			failed += n
		}
		st.Endpoints = append(st.Endpoints, EndpointStatus{e.key.publication, e.uri, c.requests, failed, c.requestBytes, c.answerBytes,
			e.inFlight.Load(), e.maxConcurrent.Load()})
	}
	return st
}

func (s *Server) state(stale bool) string {
	switch {
	case s.draining.Load():
		return "draining"
	case s.snapshot.Load() == nil:
		return "starting"
	case stale:
		return "stale"
	case !s.exchanger.Ready():
		return "no-channel"
	}
	return "ready"
}

// ready reports whether a device with a good request would get an answer from a server.
func (s *Server) ready() bool {
	snap := s.snapshot.Load()
	return snap != nil && !snap.stale(s.now(), s.timeouts.Stale) && !s.draining.Load() && s.exchanger.Ready()
}

// AdminHandler is the read-only administration: GET /metrics, /livez, /readyz and /status. It belongs on a socket
// that only the premises reach, never on a port of the internet.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "ok", http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "ok", http.StatusOK)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(s.Status()) // the asker is gone
	})
	return mux
}
