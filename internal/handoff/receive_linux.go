package handoff

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxEnds bounds the balancers attached at once: one that serves, one that is being replaced, and some whose death
// was not noticed yet.
const maxEnds = 8

// A Receiver is the instance's end: it turns what balancers hand over into listeners. Ask for the listeners, then
// Run. Connections with a tag that nobody asked for are reset.
type Receiver struct {
	attach *Socket

	received, dropped, malformed atomic.Uint64

	mu        sync.Mutex // guards the fields below
	listeners map[Tag]*listener
	ends      map[*Socket]struct{}
	closed    bool
}

// NewReceiver takes over f, the instance's end of its attach socket. It closes f in every case.
func NewReceiver(f *os.File) (*Receiver, error) {
	c, err := NewSocket(f)
	if err != nil {
		return nil, err
	}
	return &Receiver{attach: c, listeners: map[Tag]*listener{}, ends: map[*Socket]struct{}{}}, nil
}

// Listener returns the listener of one tag, always the same. Accept returns *net.TCPConn, and net.ErrClosed once
// the listener is closed or Run has returned.
func (r *Receiver) Listener(tag Tag) net.Listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.listeners[tag]
	if l == nil {
		l = newListener(tag)
		r.listeners[tag] = l
		if r.closed {
			l.Close()
		}
	}
	return l
}

// Stats returns the counters.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Received: r.received.Load(), Dropped: r.dropped.Load(), Malformed: r.malformed.Load(), Ends: len(r.ends)}
}

// Run serves until ctx ends (nil) or the supervisor's end of the attach socket is gone (ErrGone). A balancer that
// dies only ends its own hand-over. When Run returns, every listener is closed; accepted connections live on.
func (r *Receiver) Run(ctx context.Context) error {
	var ends sync.WaitGroup
	defer ends.Wait()
	defer r.shut()
	stop := context.AfterFunc(ctx, func() { r.attach.Close() })
	defer stop()
	for {
		tag, fd, err := receive(r.attach)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				unix.Close(fd)
			}
			return nil
		case errors.Is(err, ErrMalformed):
			r.malformed.Add(1)
		case err != nil:
			return ErrGone
		default:
			r.attachEnd(tag, fd, &ends)
		}
	}
}

// attachEnd starts serving one more hand-over end.
func (r *Receiver) attachEnd(tag Tag, fd int, ends *sync.WaitGroup) {
	c, err := NewSocket(os.NewFile(uintptr(fd), "hand-over"))
	if err != nil {
		r.malformed.Add(1)
		return
	}
	r.mu.Lock()
	ok := tag == tagAttach && len(r.ends) < maxEnds
	if ok {
		r.ends[c] = struct{}{}
	}
	r.mu.Unlock()
	if !ok {
		r.malformed.Add(1)
		c.Close()
		return
	}
	ends.Go(func() { r.serve(c) })
}

// serve takes connections from one hand-over end until its peer is gone.
func (r *Receiver) serve(c *Socket) {
	defer func() {
		c.Close()
		r.mu.Lock()
		delete(r.ends, c)
		r.mu.Unlock()
	}()
	for {
		tag, fd, err := receive(c)
		switch {
		case errors.Is(err, ErrMalformed):
			r.malformed.Add(1)
		case err != nil:
			return
		default:
			r.deliver(tag, fd)
		}
	}
}

// deliver queues one connection, or resets it.
func (r *Receiver) deliver(tag Tag, fd int) {
	conn, err := tcpConn(fd)
	if err != nil {
		r.malformed.Add(1)
		return
	}
	r.mu.Lock()
	l := r.listeners[tag]
	r.mu.Unlock()
	switch {
	case l == nil:
		r.malformed.Add(1)
		reset(conn)
	case l.put(conn):
		r.received.Add(1)
	default:
		r.dropped.Add(1)
		reset(conn)
	}
}

// shut closes everything that Run serves. Connections that the kernel still holds for us are reset with it.
func (r *Receiver) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.attach.Close()
	for c := range r.ends {
		c.Close()
	}
	for _, l := range r.listeners {
		l.Close()
	}
}

// receive reads one tag and its descriptor, which is the caller's.
func receive(s *Socket) (Tag, int, error) {
	var buf [2]byte
	n, fd, err := read(s.conn, buf[:])
	switch {
	case err != nil:
		return 0, -1, err
	case n != 1 || fd < 0:
		if fd >= 0 {
			unix.Close(fd)
		}
		return 0, -1, ErrMalformed
	}
	return Tag(buf[0]), fd, nil
}

// tcpConn makes a connection of a received descriptor. It consumes fd in every case.
func tcpConn(fd int) (*net.TCPConn, error) {
	f := os.NewFile(uintptr(fd), "handed over")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	t, ok := c.(*net.TCPConn)
	if !ok || t.RemoteAddr() == nil { // a listening or unconnected socket has no peer
		c.Close()
		return nil, ErrMalformed
	}
	return t, nil
}
