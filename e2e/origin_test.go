//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// An origin is a server inside, of the test's own: it says what reached it, and answers in all the ways that clients
// of a gateway depend on.
type origin struct {
	url      string
	requests atomic.Int64

	mu   sync.Mutex
	seen []echoed
}

// An echoed is one request as it arrived.
type echoed struct {
	Method, Target, Host string
	Header               http.Header
	Bytes                int64
	SHA256               string
}

// fileBytes is the size of /file, whose bytes are always the same.
const fileBytes = 3 << 20

var fileData = sync.OnceValue(func() []byte {
	data := make([]byte, fileBytes)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data) // never fails
	return data
})

func startOrigin(t *testing.T) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", address()+":0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{url: "http://" + ln.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("/", o.echo)
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "file.bin", time.Unix(1700000000, 0), bytes.NewReader(fileData()))
	})
	mux.HandleFunc("/bytes", serveBytes)
	mux.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", o.url+"/landed?from=redirect") // as a server does that knows its inside name only
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "abc123", Path: "/", HttpOnly: true})
	})
	mux.HandleFunc("/events", serveEvents)
	mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		wait, _ := time.ParseDuration(r.FormValue("wait"))
		select {
		case <-time.After(wait):
			fmt.Fprintln(w, "news")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/websocket", serveWebSocket)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		if path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") {
			o.echo(w, r) // ServeMux would redirect it to what it takes for the same
			return
		}
		mux.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	return o
}

// echo answers with the request itself, and keeps it.
func (o *origin) echo(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	got := echoed{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}
	o.mu.Lock()
	o.seen = append(o.seen, got)
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(got) // a client that left does not matter
}

// targets lists what echo was asked for since the last call.
func (o *origin) targets() (targets []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.seen {
		targets = append(targets, e.Target)
	}
	o.seen = nil
	return targets
}

// serveBytes sends as many zeros as asked for, of a length known beforehand or not.
func serveBytes(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.ParseInt(r.FormValue("n"), 10, 64)
	if r.FormValue("chunked") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	block := make([]byte, 256<<10)
	for n > 0 {
		k, err := w.Write(block[:min(n, int64(len(block)))])
		if err != nil {
			return
		}
		n -= int64(k)
	}
}

// serveEvents sends n server-sent events, one each interval.
func serveEvents(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("n"))
	interval, _ := time.ParseDuration(r.FormValue("interval"))
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(max(interval, time.Millisecond))
	defer tick.Stop()
	for i := range n {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i)
		w.(http.Flusher).Flush()
	}
}

// serveWebSocket echoes messages.
func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 << 20)
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// A rawServer answers each connection with a script: what bad servers send.
type rawServer struct {
	url string
}

func startRawServer(t *testing.T, scripts map[string]func(net.Conn)) *rawServer {
	t.Helper()
	ln, err := net.Listen("tcp", address()+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{url: "http://" + ln.Addr().String()}
	var conns sync.WaitGroup
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(2 * time.Minute)) // nothing here takes longer
				if script := scripts[rawPath(conn)]; script != nil {
					script(conn)
				} else { // up asks before it says that it is ready
					_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				}
			})
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		conns.Wait()
	})
	return s
}

// rawPath reads one request head and returns its path.
func rawPath(conn net.Conn) string {
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b[0]) {
		if _, err := conn.Read(b); err != nil {
			return ""
		}
	}
	fields := bytes.Fields(head)
	if len(fields) < 2 {
		return ""
	}
	return string(fields[1])
}
