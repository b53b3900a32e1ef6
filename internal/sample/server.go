package sample

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// checkinEvery is how often a device is asked to check in.
const checkinEvery = 15 * time.Minute

// policyText is the same for every device; its ETag makes If-None-Match worth sending.
const policyText = `{"version":1,"checkin_seconds":900,"inventory":"weekly"}` + "\n"

// A Server answers like a management server. The zero value works.
type Server struct {
	Logger *slog.Logger // nil means slog.Default()

	news news
}

// Handler returns the server's endpoints. Long-polls and event streams end with the request's context.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.hello)
	mux.HandleFunc("POST /checkin", s.checkin)
	mux.HandleFunc("CCM_POST /ccm_system/request", s.checkin)
	mux.HandleFunc("GET /policy", s.policy)
	mux.HandleFunc("GET /sms_mp/.sms_aut", s.policy)
	mux.HandleFunc("PUT /inventory", s.inventory)
	mux.HandleFunc("POST /inventory", s.inventory)
	mux.HandleFunc("BITS_POST /ccm_incoming/", s.inventory)
	mux.HandleFunc("GET /notifications", s.notifications)
	mux.HandleFunc("GET /bgb", s.notifications)
	mux.HandleFunc("POST /notifications", s.notify)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /socket", s.socket)
	return s.logged(foldManagementPoint(mux))
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.Default()
	}
	return s.Logger
}

// foldManagementPoint lower-cases the paths that management points compare without regard to case.
func foldManagementPoint(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lower := strings.ToLower(r.URL.Path)
		for _, prefix := range []string{"/ccm_system/", "/ccm_incoming/", "/sms_mp/", "/bgb"} {
			if strings.HasPrefix(lower, prefix) {
				r.URL.Path, r.URL.RawPath = lower, ""
				break
			}
		}
		next.ServeHTTP(w, r)
	})
}

// logged writes one line per request that ended, with the id that ties the hops together.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		next.ServeHTTP(w, r)
		s.log().Info("request served", "method", r.Method, "path", r.URL.Path, "client_id", device(r),
			"request_id", r.Header.Get("X-Request-Id"), "took_ms", time.Since(begin).Milliseconds())
	})
}

// device is who asks, as the connection point says; a request that came another way has nobody's name.
func device(r *http.Request) string { return r.Header.Get("X-Causeway-Device-Id") }

func (s *Server) hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if id := device(r); id != "" {
		io.WriteString(w, "hello "+id+", this is the sample management server\n")
		return
	}
	io.WriteString(w, "hello, this is the sample management server; nobody vouched for you\n")
}

func (s *Server) checkin(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
		http.Error(w, "the report is too long or was cut short", http.StatusBadRequest)
		return
	}
	answer(w, map[string]any{
		"device": device(r), "request_id": r.Header.Get("X-Request-Id"),
		"next_checkin_seconds": int(checkinEvery.Seconds()),
	})
}

func (s *Server) policy(w http.ResponseWriter, r *http.Request) {
	sum := sha256.Sum256([]byte(policyText))
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(policyText))
}

func (s *Server) inventory(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, "the upload was cut short", http.StatusBadRequest)
		return
	}
	answer(w, map[string]any{"device": device(r), "bytes": n, "sha256": hex.EncodeToString(sum.Sum(nil))})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the device is gone: nobody to tell
}
