package gateway

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// watchAfter is how long a request is under way before anybody looks whether its device is still there: most
	// requests are over by then and pay nothing.
	watchAfter = 100 * time.Millisecond
	// watchEvery is how often a watch looks whether the answer still moves.
	watchEvery = 5 * time.Second
)

// A watch notices that the device of an HTTP/1.1 request has gone, by waiting for the first byte of its next one, and
// that an answer has stopped moving. It runs only while nobody else reads the connection.
type watch struct {
	conn   *deviceConn
	wait   func() error            // Reader.Wait: nobody looks at the head any more, and a long poll needs no buffer for it
	cancel context.CancelCauseFunc // ends the connection's context

	moved atomic.Int64 // when the answer last moved, in nanoseconds; 0 while it has not begun
	idle  time.Duration

	mu       sync.Mutex // guards the fields below
	over     sync.Cond
	timer    *time.Timer
	armed    bool
	running  bool
	stopping bool
}

// begin readies the watch for a request on h. It is used again, and only requests have one: an idle connection does not.
func (w *watch) begin(h *http1Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over.L = &w.mu
	w.conn, w.wait, w.cancel = h.deviceConn, h.wait, h.cancel
	w.moved.Store(0)
}

// forget lets go of the connection. The watch must not be armed.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn, w.wait, w.cancel = nil, nil, nil
}

// arm begins watching in a moment. The request must be read to its end.
func (w *watch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, w.run)
		return
	}
	w.timer.Reset(watchAfter)
}

// disarm ends watching. When it returns, the connection may be read by others again.
func (w *watch) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed {
		return
	}
	w.armed = false
	w.timer.Stop()
	w.stopping = true
	if w.running {
		_ = w.conn.SetReadDeadline(longAgo)
	}
	for w.running {
		w.over.Wait()
	}
	w.stopping = false
	w.moved.Store(0)
}

// longAgo as a deadline interrupts whoever is waiting.
var longAgo = time.Unix(1, 0)

func (w *watch) run() {
	w.mu.Lock()
	if !w.armed || w.running { // the timer of an earlier request, stopped too late; it may also come too early for this one
		w.mu.Unlock()
		return
	}
	w.running = true
	w.mu.Unlock()
	for w.look() {
	}
	w.mu.Lock()
	w.running = false
	w.over.Broadcast()
	w.mu.Unlock()
}

// look waits once. It reports whether to go on.
func (w *watch) look() bool {
	w.mu.Lock()
	if w.stopping {
		w.mu.Unlock()
		return false
	}
	_ = w.conn.SetReadDeadline(time.Now().Add(watchEvery))
	w.mu.Unlock()
	err := w.wait()
	if err == nil {
		return false // the device sends its next request already, so it is there
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		w.cancel(errDeviceGone)
		return false
	}
	if at := w.moved.Load(); at != 0 && time.Since(time.Unix(0, at)) > w.idle+watchEvery {
		w.cancel(errIdleAnswer)
		return false
	}
	return true
}
