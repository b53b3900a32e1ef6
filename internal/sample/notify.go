package sample

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// poll answers with the notes that wait for the device, or waits for the first one, at most ?wait= seconds.
func (s *server) poll(w http.ResponseWriter, r *http.Request) {
	_, d, ok := s.deviceOf(w, r)
	if !ok {
		return
	}
	wait, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		notes, wake := d.notes, d.wake
		d.notes = nil
		s.mu.Unlock()
		if len(notes) > 0 {
			writeJSON(w, http.StatusOK, map[string]any{"notifications": notes})
			return
		}
		select {
		case <-wake:
		case <-timeout.C:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func parseWait(v string) (time.Duration, error) {
	if v == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(v)
	if err != nil || seconds < 0 || seconds > int(maxWait/time.Second) {
		return 0, fmt.Errorf("wait=%q: want seconds from 0 to %d", v, int(maxWait/time.Second))
	}
	return time.Duration(seconds) * time.Second, nil
}

// notify leaves a note for a device that is already known: an unknown name must not grow the memory.
func (s *server) notify(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.deviceOf(w, r); !ok {
		return
	}
	var note json.RawMessage
	if err := readJSON(w, r, maxNoteBytes, &note); err != nil {
		fail(w, statusOfBody(err), err)
		return
	}
	if err := s.leave(r.PathValue("device"), note); err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// leave adds a note; the oldest gives way when the device does not fetch them.
func (s *server) leave(name string, note json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.devices[name]
	if !ok {
		return errors.New("no such device has asked anything yet")
	}
	if len(d.notes) == maxNotesPerDevice {
		d.notes = d.notes[1:]
	}
	d.notes = append(d.notes, note)
	close(d.wake)
	d.wake = make(chan struct{})
	return nil
}
