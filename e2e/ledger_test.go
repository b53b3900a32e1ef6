//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A ledger is a server that counts how often each request id reaches it. Its answers are made from the id, so that a
// device can tell its own answer from everybody else's, byte for byte.
type ledger struct {
	url string

	mu   sync.Mutex
	seen map[string]int
}

// startLedger serves on a loopback address of the test's own, or on listen if there is one.
func startLedger(t *testing.T, listen string) *ledger {
	t.Helper()
	if listen == "" {
		listen = address() + ":0"
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{url: "http://" + ln.Addr().String(), seen: map[string]int{}}
	server := &http.Server{Handler: http.HandlerFunc(l.serve)}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	return l
}

// serve counts the request before it reads its body: a request that was cut half-way was delivered all the same.
func (l *ledger) serve(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("id")
	if id != "" {
		l.mu.Lock()
		l.seen[id]++
		l.mu.Unlock()
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	wait, _ := time.ParseDuration(r.FormValue("wait"))
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return
	}
	n, _ := strconv.Atoi(r.FormValue("n"))
	w.Header().Set("X-Body-Sum", hex.EncodeToString(sum.Sum(nil)))
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = w.Write(ledgerBody(id, n)) // a client that left does not matter
}

// times returns how often an id came.
func (l *ledger) times(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[id]
}

// ledgerBody is n bytes that only the request with that id gets.
func ledgerBody(id string, n int) []byte {
	line := fmt.Sprintf("answer to %s\n", id)
	return bytes.Repeat([]byte(line), n/len(line)+1)[:n]
}
