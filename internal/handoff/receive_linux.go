package handoff

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway/internal/sock"
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
	ends      map[*end]struct{}
	closed    bool
}

// An end is our half of what one balancer hands over.
type end struct {
	*Socket
	pending sync.WaitGroup // connections without a receipt
	givenUp atomic.Bool    // by us: for the balancer, nothing more is taken
}

// NewReceiver takes over f, the instance's end of its attach socket. It closes f in every case.
func NewReceiver(f *os.File) (*Receiver, error) {
	c, err := NewSocket(f)
	if err != nil {
		return nil, err
	}
	return &Receiver{attach: c, listeners: map[Tag]*listener{}, ends: map[*end]struct{}{}}, nil
}

// Listener returns the listener of one tag, always the same. Accept returns *net.TCPConn or sock.Shared, on the tag
// Channel other connections as well, and net.ErrClosed once the listener is closed or Run has returned.
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
	buf := make([]byte, parcelBytes)
	for {
		tag, _, _, fd, err := receive(r.attach, buf, 1)
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
	socket, err := NewSocket(os.NewFile(uintptr(fd), "hand-over"))
	if err != nil {
		r.malformed.Add(1)
		return
	}
	c := &end{Socket: socket}
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

// serve takes connections from one hand-over end until its peer is gone or sends no more, and all that it sent have
// their receipts.
func (r *Receiver) serve(c *end) {
	defer func() {
		c.pending.Wait()
		c.Close()
		r.mu.Lock()
		delete(r.ends, c)
		r.mu.Unlock()
	}()
	buf := make([]byte, maxMessageBytes+1)
	for {
		tag, number, payload, fd, err := receive(c.Socket, buf, parcelBytes)
		switch {
		case errors.Is(err, ErrMalformed):
			r.malformed.Add(1)
			if number != 0 { // we are out of descriptors, as a rule
				_ = c.write(notTaken, number) // a balancer that is gone need not know
			}
		case err != nil:
			return
		default:
			c.pending.Add(1)
			r.deliver(tag, payload, fd, func(verdict byte) error {
				defer c.pending.Done()
				return c.write(verdict, number)
			})
		}
	}
}

// deliver queues one connection, or gives it back.
func (r *Receiver) deliver(tag Tag, payload []byte, fd int, answer func(verdict byte) error) {
	again := tag == Again
	if again {
		tag = Public
	}
	conn, err := handedConn(fd, payload, again)
	if err != nil {
		r.malformed.Add(1)
		_ = answer(notTaken) // a balancer that is gone need not know
		return
	}
	a := arrival{conn, answer}
	r.mu.Lock()
	l := r.listeners[tag]
	r.mu.Unlock()
	switch {
	case l == nil:
		r.malformed.Add(1)
		a.giveBack()
	case l.put(a):
		r.received.Add(1)
	default:
		r.dropped.Add(1)
		a.giveBack()
	}
}

// receiptTimeout is how long a balancer may leave its receipts unread. One that hangs for longer is as good as gone:
// without its end it has to be introduced anew.
const receiptTimeout = time.Second

var errGivenUp = errors.New("balancer was given up")

// write writes one receipt. ErrGone says that there is no balancer any more that could give the connection to somebody
// else. After any other error it does so, because we have closed the end.
func (e *end) write(verdict byte, number uint32) error {
	err := e.receipt(verdict, number)
	if err != nil && !errors.Is(err, ErrGone) {
		e.giveUp()
	}
	if err != nil && e.givenUp.Load() {
		return errGivenUp
	}
	return err
}

func (s *Socket) receipt(verdict byte, number uint32) error {
	var receipt [receiptBytes]byte
	receipt[0] = verdict
	binary.BigEndian.PutUint32(receipt[1:], number)
	err := send(s.conn, receipt[:], -1)
	if errors.Is(err, ErrBusy) {
		_ = s.conn.SetWriteDeadline(time.Now().Add(receiptTimeout)) // it fails on a closed socket, and so does Write
		_, err = s.conn.Write(receipt[:])
	}
	return err
}

func (e *end) giveUp() {
	e.givenUp.Store(true)
	e.Close()
}

// shut closes everything that Run serves. What waits in the queues goes back, and so does what the kernel still holds
// for us: the balancer has no receipt for it.
func (r *Receiver) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.attach.Close()
	for _, l := range r.listeners {
		l.Close()
	}
	for c := range r.ends {
		c.giveUp()
	}
}

// receive reads one message of size bytes and its descriptor, which is the caller's. A parcel with the tag Channel may
// be longer; payload is that part of buf. The number of a malformed message is 0 unless its bytes are right.
func receive(s *Socket, buf []byte, size int) (tag Tag, number uint32, payload []byte, fd int, err error) {
	n, fd, err := read(s.conn, buf)
	long := size == parcelBytes && n > size && Tag(buf[0]) == Channel
	if err == nil && (n != size && !long || fd < 0) {
		if fd >= 0 {
			unix.Close(fd)
		}
		err = ErrMalformed
	}
	if n == parcelBytes || long {
		number = binary.BigEndian.Uint32(buf[1:])
	}
	if err != nil {
		return 0, number, nil, -1, err
	}
	return Tag(buf[0]), number, buf[size:n], fd, nil
}

// handedConn makes a connection of a received descriptor and what came with it. It consumes fd in every case.
func handedConn(fd int, payload []byte, again bool) (net.Conn, error) {
	if len(payload) > 0 {
		return forwardedConn(fd, payload)
	}
	c, err := tcpConn(fd)
	if err != nil {
		return nil, err // not a nil connection of a type
	}
	if again {
		return sock.Shared{TCPConn: c}, nil
	}
	return c, nil
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
