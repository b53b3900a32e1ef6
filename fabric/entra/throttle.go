package entra

import (
	"sync"
	"time"
)

// Who guesses at a secret is slowed down: after some wrong tries an application has to wait. A secret has 240 bits, so
// this is for the sake of logs and of processors.
const (
	throttleTries = 20
	throttleTime  = time.Minute
	// throttleMost bounds how many are remembered.
	throttleMost = 4096
)

type throttle struct {
	mu    sync.Mutex // guards the field below
	tries map[string]*attempts
}

type attempts struct {
	n     int
	since time.Time
}

// may reports whether a client may try.
func (t *throttle) may(client string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.tries[client]
	return a == nil || a.n < throttleTries || now.Sub(a.since) >= throttleTime
}

// wrong notes a try that failed.
func (t *throttle) wrong(client string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tries == nil {
		t.tries = make(map[string]*attempts)
	}
	a := t.tries[client]
	if a == nil || now.Sub(a.since) >= throttleTime {
		if a == nil && len(t.tries) >= throttleMost {
			t.forget(now)
		}
		a = &attempts{since: now}
		t.tries[client] = a
	}
	a.n++
}

// forget drops those whose time is over, and all when that is not enough.
func (t *throttle) forget(now time.Time) {
	for client, a := range t.tries {
		if now.Sub(a.since) >= throttleTime {
			delete(t.tries, client)
		}
	}
	if len(t.tries) >= throttleMost {
		clear(t.tries)
	}
}
