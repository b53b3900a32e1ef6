package sample

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Bounds on what devices can make the server hold or do.
const (
	maxDevices        = 10_000
	maxCheckInBytes   = 64 << 10
	maxInventoryBytes = 64 << 20
	maxNoteBytes      = 4 << 10
	maxNotesPerDevice = 32
	maxWait           = 600 * time.Second
	maxSubscribers    = 1_000
)

// deviceHeader names the device; the connection point sets it and drops what came from outside.
const deviceHeader = "X-Causeway-Device-Id"

// Handler returns a management server with an empty memory.
func Handler() http.Handler { return newServer(time.Now).routes() }

// server is the memory behind the routes.
type server struct {
	now    func() time.Time
	policy document
	events broadcaster

	mu      sync.Mutex // guards devices and all they hold
	devices map[string]*device
}

// device is what the server remembers of one device.
type device struct {
	checkIns    int
	lastCheckIn time.Time
	inventory   receipt
	notes       []json.RawMessage
	wake        chan struct{} // closed and replaced when a note arrives
}

func newServer(now func() time.Time) *server {
	return &server{now: now, policy: defaultPolicy(), devices: make(map[string]*device)}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.front)
	mux.HandleFunc("POST /checkin", s.checkIn)
	mux.HandleFunc("GET /policy", s.getPolicy)
	mux.HandleFunc("POST /inventory", s.upload)
	mux.HandleFunc("PUT /inventory", s.upload)
	mux.HandleFunc("GET /inventory", s.getInventory)
	mux.HandleFunc("GET /notifications", s.poll)
	mux.HandleFunc("POST /notify/{device}", s.notify)
	mux.HandleFunc("GET /events", s.stream)
	mux.HandleFunc("GET /echo", s.echo)
	return s.managementPoint(mux)
}

// front tells a person who the gateway says they are, and what else can be asked.
func (s *server) front(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	name := r.Header.Get(deviceHeader)
	if name == "" {
		name = "nobody: this request did not come through a connection point"
	}
	fmt.Fprintf(w, `Hello from the sample management server.
You are %s.

  POST /checkin            say hello: {"os":"…","version":"…"}
  GET  /policy             what the device should do, with an ETag
  PUT  /inventory          upload up to 64 MiB; the answer is its size and SHA-256
  GET  /notifications      wait for a notification: ?wait=60
  POST /notify/<device>    send one, as JSON
  GET  /events             server-sent events, one per second
  GET  /echo               WebSocket echo
`, name)
}

// deviceOf returns the device that asks, known from now on; it answers the request itself when it cannot.
func (s *server) deviceOf(w http.ResponseWriter, r *http.Request) (string, *device, bool) {
	name := r.Header.Get(deviceHeader)
	if name == "" {
		fail(w, http.StatusForbidden, errors.New("no device identity"))
		return "", nil, false
	}
	d, err := s.device(name)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return "", nil, false
	}
	return name, d, true
}

func (s *server) device(name string) (*device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.devices[name]; ok {
		return d, nil
	}
	if len(s.devices) >= maxDevices {
		return nil, fmt.Errorf("%d devices are known, which is the limit", maxDevices)
	}
	d := &device{wake: make(chan struct{})}
	s.devices[name] = d
	return d, nil
}

func fail(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The device may be gone by now; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// readJSON decodes one bounded JSON value from the request's body.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if dec.More() {
		return errors.New("body: more than one JSON value")
	}
	return nil
}

// statusOfBody is 413 when the body was over its limit, else 400.
func statusOfBody(err error) int {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
