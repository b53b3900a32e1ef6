package gateway

import (
	"net/http"
	"time"
)

// health says whether the balancer should send this instance new connections: once a channel is up, or when
// waiting for one is no use any more, because an instance without channels answers devices better (503 with a
// code) than one that the balancer hides.
func (s *Server) healthy() bool {
	if s.draining.Load() {
		return false
	}
	if s.wasReady.Load() {
		return true
	}
	if s.exchanger.Ready() {
		s.wasReady.Store(true)
		return true
	}
	now := s.now()
	if began := s.began.Load(); began != 0 && now.Sub(time.Unix(0, began)) >= s.timeouts.ReadyAnyway {
		return true
	}
	listed := s.listedAt.Load()
	return listed != 0 && now.Sub(time.Unix(0, listed)) >= s.timeouts.ReadyListed
}

// healthHandler serves the health port: one path, and nothing else.
func (s *Server) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if !s.healthy() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "ok", http.StatusOK)
	})
	return mux
}
