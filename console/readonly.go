package console

import (
	"net"
	"net/http"
	"net/netip"
	"time"
)

// ReadOnly is what monitoring may ask over TCP: metrics and health. It has no handler that changes anything.
type ReadOnly struct {
	Metrics http.Handler
	Ready   func() error // nil while the site serves devices
}

// Handler returns the surface: three paths, GET and HEAD, and only under a loopback name.
func (ro *ReadOnly) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", ro.Metrics)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "live\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ro.Ready(); err != nil {
			text(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
			return
		}
		text(w, http.StatusOK, "ready\n")
	})
	return loopbackOnly(mux)
}

// NewHTTPServer returns a server for an admin surface, with limits that suit one.
func NewHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the caller is gone: nobody to tell
}

// loopbackOnly refuses requests under any other name than a loopback one: a page that rebinds its own name to
// 127.0.0.1 still sends that name.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		addr, err := netip.ParseAddr(host)
		if host != "localhost" && (err != nil || !addr.IsLoopback()) {
			text(w, http.StatusMisdirectedRequest, "this surface is reached as localhost or by its loopback address only\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}
