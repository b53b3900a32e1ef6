package handoff

import (
	"net"
	"sync"
)

// queueLength bounds the connections of one tag that wait for Accept. It is the size of a kernel accept queue
// (somaxconn is 4096 today) at a quarter: an accept loop that is a thousand behind is not coming back.
const queueLength = 1024

// listener is the net.Listener of one tag.
type listener struct {
	tag   Tag
	queue chan *net.TCPConn

	mu     sync.Mutex // guards closed, and sending on queue against closing it
	closed bool
}

func newListener(tag Tag) *listener {
	return &listener{tag: tag, queue: make(chan *net.TCPConn, queueLength)}
}

// Accept returns the next connection that was handed over, or net.ErrClosed after Close.
func (l *listener) Accept() (net.Conn, error) {
	c, ok := <-l.queue
	if !ok {
		return nil, &net.OpError{Op: "accept", Net: "handoff", Addr: l.Addr(), Err: net.ErrClosed}
	}
	return c, nil
}

// Close ends Accept and resets what nobody accepted yet, as closing a kernel listener does.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "handoff", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	close(l.queue)
	for c := range l.queue {
		reset(c)
	}
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.tag) }

// put queues c and reports whether it did. It never waits: one listener that nobody serves must not hold up the
// connections of the others.
func (l *listener) put(c *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.queue <- c:
		return true
	default:
		return false
	}
}

// reset closes c so that the peer learns at once (RST) that nobody will answer.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
