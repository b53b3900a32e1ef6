package handoff

import (
	"errors"
	"net"
	"sync"

	"github.com/causeway-gateway/causeway/internal/reset"
)

// queueLength bounds the connections of one tag that wait for Accept. It is the size of a kernel accept queue
// (somaxconn is 4096 today) at a quarter: an accept loop that is a thousand behind is not coming back.
const queueLength = 1024

// An arrival is a connection that waits for Accept.
type arrival struct {
	conn net.Conn
	// answer tells the balancer what became of the connection. ErrGone says that there is none any more.
	answer func(verdict byte) error
}

// take makes the connection ours, unless the balancer could not be told, which then gives it to somebody else.
func (a arrival) take() bool {
	if err := a.answer(taken); err == nil || errors.Is(err, ErrGone) {
		return true
	}
	a.conn.Close()
	return false
}

// giveBack lets the balancer find somebody else for the connection, or resets it when there is no balancer.
func (a arrival) giveBack() {
	if a.answer(notTaken) != nil {
		reset.TCP(a.conn) // the peer learns at once that nobody will answer
	}
	a.conn.Close()
}

// listener is the net.Listener of one tag.
type listener struct {
	tag   Tag
	queue chan arrival

	mu     sync.Mutex // guards closed, and sending on queue against closing it
	closed bool
}

func newListener(tag Tag) *listener {
	return &listener{tag: tag, queue: make(chan arrival, queueLength)}
}

// Accept returns the next connection that was handed over, or net.ErrClosed after Close.
func (l *listener) Accept() (net.Conn, error) {
	for a := range l.queue {
		if a.take() {
			return a.conn, nil
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "handoff", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close ends Accept and gives back what nobody accepted yet.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "handoff", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	close(l.queue)
	for a := range l.queue {
		a.giveBack()
	}
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.tag) }

// put queues a connection and reports whether it did. It never waits: one listener that nobody serves must not hold up
// the connections of the others.
func (l *listener) put(a arrival) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.queue <- a:
		return true
	default:
		return false
	}
}
