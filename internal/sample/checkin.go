package sample

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// A checkInAnswer tells the device when to come again and which policy is in force.
type checkInAnswer struct {
	Device             string    `json:"device"`
	CheckIns           int       `json:"check_ins"`
	Time               time.Time `json:"time"`
	Policy             string    `json:"policy_etag"`
	NextCheckInSeconds int       `json:"next_check_in_seconds"`
	Notifications      int       `json:"notifications_waiting"`
}

func (s *server) checkIn(w http.ResponseWriter, r *http.Request) {
	name, d, ok := s.deviceOf(w, r)
	if !ok {
		return
	}
	var facts map[string]any // what a device says of itself is checked for form and not kept
	if err := readJSON(w, r, maxCheckInBytes, &facts); err != nil {
		fail(w, statusOfBody(err), err)
		return
	}
	s.mu.Lock()
	d.checkIns++
	d.lastCheckIn = s.now()
	a := checkInAnswer{
		Device: name, CheckIns: d.checkIns, Time: d.lastCheckIn.UTC(), Policy: s.policy.etag,
		NextCheckInSeconds: 60, Notifications: len(d.notes),
	}
	s.mu.Unlock()
	s.events.send("check-in", name)
	writeJSON(w, http.StatusOK, a)
}

// document is a fixed answer with its validator.
type document struct {
	body []byte
	etag string
}

func newDocument(v any) document {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // a literal of this package that is not JSON is a broken program
	}
	body = append(body, '\n')
	sum := sha256.Sum256(body)
	return document{body: body, etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
}

func defaultPolicy() document {
	return newDocument(map[string]any{
		"version": 1,
		"settings": map[string]any{
			"check_in_seconds":  60,
			"inventory_seconds": 86_400,
			"notifications":     true,
		},
	})
}

func (s *server) getPolicy(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.deviceOf(w, r); !ok {
		return
	}
	w.Header().Set("ETag", s.policy.etag)
	w.Header().Set("Cache-Control", "no-cache")
	if matches(r.Header.Get("If-None-Match"), s.policy.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.policy.body)
}

// matches reports whether an If-None-Match list names etag; weak and strong forms are equal here (RFC 9110 13.1.2).
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == etag {
			return true
		}
	}
	return false
}
