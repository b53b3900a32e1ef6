package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

const (
	// maxGateWait bounds how long a request waits for its turn before the device is told to come back.
	maxGateWait = time.Second
	// maxGateQueue and maxGateLine bound who waits at one gate: everybody, and one device.
	maxGateQueue = 4096
	maxGateLine  = 64
)

// A gate lets a bounded number of requests be in flight towards one publication. When it is full, requests queue
// first come first served per device, and the devices take turns: one that sends a thousand requests makes only
// itself wait.
type gate struct {
	mu      sync.Mutex // guards the fields below
	max     int
	inUse   int
	waiting int
	lines   map[*deviceEntry]*line
	turns   []*line // devices that wait, in the order of their turns
}

// A line is what one device has waiting at a gate, oldest first.
type line struct {
	device  *deviceEntry
	waiters []*waiter
}

type waiter struct {
	turn    chan struct{} // closed when the waiter is let in
	granted bool          // guarded by the gate's mu
}

func newGate(limit int) *gate { return &gate{max: limit, lines: make(map[*deviceEntry]*line)} }

// resize changes the limit; who waits and now fits is let in.
func (g *gate) resize(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.max = limit
	for g.inUse < g.max && g.grantLocked() {
		g.inUse++
	}
}

// enter lets the device in, now or within maxGateWait, or says that the publication is overloaded.
// Every nil answer must be followed by one leave.
func (g *gate) enter(ctx context.Context, d *deviceEntry) error {
	g.mu.Lock()
	if g.inUse < g.max && g.waiting == 0 {
		g.inUse++
		g.mu.Unlock()
		return nil
	}
	w, ok := g.queueLocked(d)
	g.mu.Unlock()
	if !ok {
		return overloaded("the queue of the publication is full")
	}
	timer := time.NewTimer(maxGateWait)
	defer timer.Stop()
	var err error
	select {
	case <-w.turn:
		return nil
	case <-timer.C:
		err = overloaded("the publication's requests in flight stayed at their limit")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.granted { // its turn came at the same moment
		if ctx.Err() == nil {
			return nil
		}
		g.leaveLocked()
		return err
	}
	g.removeLocked(d, w)
	return err
}

// leave gives the place to whose turn it is.
func (g *gate) leave() {
	g.mu.Lock()
	g.leaveLocked()
	g.mu.Unlock()
}

func (g *gate) leaveLocked() {
	if g.inUse > g.max || !g.grantLocked() {
		g.inUse--
	}
}

// grantLocked lets in the first waiter of the device whose turn it is and reports whether there was one.
func (g *gate) grantLocked() bool {
	if len(g.turns) == 0 {
		return false
	}
	l := g.turns[0]
	g.turns = g.turns[1:]
	w := l.waiters[0]
	l.waiters = l.waiters[1:]
	if len(l.waiters) > 0 {
		g.turns = append(g.turns, l)
	} else {
		delete(g.lines, l.device)
	}
	g.waiting--
	w.granted = true
	close(w.turn)
	return true
}

func (g *gate) queueLocked(d *deviceEntry) (*waiter, bool) {
	l := g.lines[d]
	if g.waiting >= maxGateQueue || l != nil && len(l.waiters) >= maxGateLine {
		return nil, false
	}
	if l == nil {
		l = &line{device: d}
		g.lines[d] = l
		g.turns = append(g.turns, l)
	}
	w := &waiter{turn: make(chan struct{})}
	l.waiters = append(l.waiters, w)
	g.waiting++
	return w, true
}

func (g *gate) removeLocked(d *deviceEntry, w *waiter) {
	l := g.lines[d]
	for i, x := range l.waiters {
		if x == w {
			l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
			g.waiting--
			break
		}
	}
	if len(l.waiters) > 0 {
		return
	}
	delete(g.lines, d)
	for i, x := range g.turns {
		if x == l {
			g.turns = append(g.turns[:i], g.turns[i+1:]...)
			break
		}
	}
}

func overloaded(reason string) error {
	return &causeway.Refusal{Code: causeway.CodeOverloaded, Reason: reason, RetryAfter: time.Second}
}
