package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// paceRate is how many channel handshakes are begun in a second, paceBurst how many at once after a while without
	// any. A hundred connection points that lost this instance together are back within two seconds, and devices keep
	// most of the processor meanwhile: each handshake signs, verifies and reads documents.
	paceRate  = 150
	paceBurst = 32
	// maxPaced is how many may be in line: the last of them has his turn within five seconds, half of what a handshake may
	// take.
	maxPaced = 5 * paceRate
)

// A pacer lets channel handshakes begin at a steady pace. Who has to wait waits in the line of his address, and the
// addresses take turns: a stranger with a thousand connections delays himself.
type pacer struct {
	mu      sync.Mutex // guards the fields below
	tokens  float64
	filled  time.Time // when tokens was true
	lines   map[netip.Addr]*paceLine
	turns   []*paceLine // addresses that wait, in the order of their turns
	waiting int
	timer   *time.Timer // runs while somebody waits
}

// A paceLine is what one address has waiting, the oldest first.
type paceLine struct {
	addr    netip.Addr
	waiters []*paceWaiter
}

// A paceWaiter is a connection that waits.
type paceWaiter struct {
	conn net.Conn
	turn chan struct{} // closed when its turn has come
	gone bool          // set before that: nobody is there to take it
}

var (
	errPaced  = errors.New("too many channels are being made")
	errHungUp = errors.New("hung up while its handshake had to wait")
)

// wait returns when the handshake of conn, which came from the address, may begin, or with an error after the time that it
// has, or when ctx ends: the connection was turned out, say. Who hangs up meanwhile takes no turn.
func (p *pacer) wait(ctx context.Context, addr netip.Addr, most time.Duration, conn net.Conn) error {
	w := p.enter(addr, conn)
	if w == nil {
		return nil
	}
	late := time.NewTimer(most)
	defer late.Stop()
	err := errPaced
	select {
	case <-w.turn:
		return w.outcome()
	case <-late.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removeLocked(addr, w) {
		return err
	}
	return w.outcome() // its turn came at the same moment
}

// outcome is for who has had his turn.
func (w *paceWaiter) outcome() error {
	if w.gone {
		return errHungUp
	}
	return nil
}

// enter takes a token, which is nil, or a place in the line.
func (p *pacer) enter(addr netip.Addr, conn net.Conn) *paceWaiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fillLocked()
	if p.waiting == 0 && p.tokens >= 1 {
		p.tokens--
		return nil
	}
	l := p.lines[addr]
	if l == nil {
		l = &paceLine{addr: addr}
		if p.lines == nil {
			p.lines = make(map[netip.Addr]*paceLine)
		}
		p.lines[addr] = l
		p.turns = append(p.turns, l)
	}
	w := &paceWaiter{conn: conn, turn: make(chan struct{})}
	l.waiters = append(l.waiters, w)
	p.waiting++
	p.armLocked()
	return w
}

// fillLocked adds what time has earned.
func (p *pacer) fillLocked() {
	now := time.Now()
	if p.filled.IsZero() {
		p.tokens = paceBurst
	}
	p.tokens = min(paceBurst, p.tokens+paceRate*now.Sub(p.filled).Seconds())
	p.filled = now
}

// armLocked has grant called when there is a token.
func (p *pacer) armLocked() {
	if p.timer != nil {
		return
	}
	missing := max(0, 1-p.tokens)
	p.timer = time.AfterFunc(time.Duration(missing/paceRate*float64(time.Second))+time.Microsecond, p.grant)
}

func (p *pacer) grant() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	p.fillLocked()
	for p.tokens >= 1 && p.waiting > 0 {
		if p.nextLocked() {
			p.tokens--
		}
	}
	if p.waiting > 0 {
		p.armLocked()
	}
}

// nextLocked lets the oldest of the address go whose turn it is, and reports whether he is still there to take it.
func (p *pacer) nextLocked() bool {
	l := p.turns[0]
	p.turns = p.turns[1:]
	w := l.waiters[0]
	w.gone = hungUp(w.conn)
	close(w.turn)
	l.waiters = l.waiters[1:]
	p.waiting--
	if len(l.waiters) > 0 {
		p.turns = append(p.turns, l)
	} else {
		delete(p.lines, l.addr)
	}
	return !w.gone
}

// removeLocked takes a waiter out. It reports false when its turn has come.
func (p *pacer) removeLocked(addr netip.Addr, gone *paceWaiter) bool {
	l := p.lines[addr]
	if l == nil {
		return false
	}
	for i, w := range l.waiters {
		if w != gone {
			continue
		}
		l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
		p.waiting--
		if len(l.waiters) == 0 {
			p.dropLocked(l)
		}
		return true
	}
	return false
}

func (p *pacer) dropLocked(l *paceLine) {
	delete(p.lines, l.addr)
	for i, other := range p.turns {
		if other == l {
			p.turns = append(p.turns[:i], p.turns[i+1:]...)
			return
		}
	}
}
