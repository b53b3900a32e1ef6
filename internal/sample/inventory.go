package sample

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"time"
)

// A receipt is what stays of an upload.
type receipt struct {
	Bytes    int64     `json:"bytes"`
	SHA256   string    `json:"sha256"`
	Received time.Time `json:"received"`
}

// upload counts and hashes the body as it comes. A body that ends early leaves the earlier receipt alone.
func (s *server) upload(w http.ResponseWriter, r *http.Request) {
	_, d, ok := s.deviceOf(w, r)
	if !ok {
		return
	}
	h := sha256.New()
	n, err := io.Copy(h, http.MaxBytesReader(w, r.Body, maxInventoryBytes))
	if err != nil {
		fail(w, statusOfBody(err), err)
		return
	}
	rec := receipt{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil)), Received: s.now().UTC()}
	s.mu.Lock()
	d.inventory = rec
	s.mu.Unlock()
	writeJSON(w, http.StatusCreated, rec)
}

func (s *server) getInventory(w http.ResponseWriter, r *http.Request) {
	_, d, ok := s.deviceOf(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	rec := d.inventory
	s.mu.Unlock()
	if rec.SHA256 == "" {
		fail(w, http.StatusNotFound, errors.New("no inventory yet"))
		return
	}
	writeJSON(w, http.StatusOK, rec)
}
