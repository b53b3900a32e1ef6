package gateway

import (
	"context"
	"errors"
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
	waiters []chan struct{}
}

var errPaced = errors.New("too many channels are being made")

// wait returns when a handshake of the address may begin, or with an error after the time that it has, or when ctx ends:
// its connection was turned out, say.
func (p *pacer) wait(ctx context.Context, addr netip.Addr, most time.Duration) error {
	turn := p.enter(addr)
	if turn == nil {
		return nil
	}
	late := time.NewTimer(most)
	defer late.Stop()
	err := errPaced
	select {
	case <-turn:
		return nil
	case <-late.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removeLocked(addr, turn) {
		return err
	}
	return nil // its turn came at the same moment
}

// enter takes a token, or a place in the line.
func (p *pacer) enter(addr netip.Addr) (turn chan struct{}) {
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
	turn = make(chan struct{})
	l.waiters = append(l.waiters, turn)
	p.waiting++
	p.armLocked()
	return turn
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
		p.tokens--
		p.nextLocked()
	}
	if p.waiting > 0 {
		p.armLocked()
	}
}

// nextLocked lets the oldest of the address go whose turn it is.
func (p *pacer) nextLocked() {
	l := p.turns[0]
	p.turns = p.turns[1:]
	close(l.waiters[0])
	l.waiters = l.waiters[1:]
	p.waiting--
	if len(l.waiters) > 0 {
		p.turns = append(p.turns, l)
	} else {
		delete(p.lines, l.addr)
	}
}

// removeLocked takes a waiter out. It reports false when its turn has come.
func (p *pacer) removeLocked(addr netip.Addr, turn chan struct{}) bool {
	l := p.lines[addr]
	if l == nil {
		return false
	}
	for i, w := range l.waiters {
		if w != turn {
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
