package handoff

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxUnanswered bounds the connections whose receipts are still to come, and with them the descriptors that an
// instance can make the balancer keep: what a listener's queue and the kernel's hold for three tags is less.
const maxUnanswered = 4096

// A Sender is the balancer's end towards one instance. Its methods may be called from many goroutines.
//
// It keeps a descriptor of every connection that it sent until the instance's receipt, so that a connection which the
// instance did not take, because it stops or died, can be given to another. Not a byte of it was read then.
type Sender struct {
	// Forwarded takes what the instance gives back for another; it owns the descriptor. nil takes nothing. Set it before
	// Run, which calls it.
	Forwarded func(fd int, f Forward)

	socket *Socket

	mu         sync.Mutex // guards the fields below, and keeps the order of numbers
	number     uint32     // of the last connection
	unanswered map[uint32]parcel
	running    bool
	closed     bool
}

// A parcel is a connection on its way.
type parcel struct {
	fd   int
	back func(fd int)
}

// NewSender takes f over, which came from Pair. It closes f in every case.
func NewSender(f *os.File) (*Sender, error) {
	s, err := NewSocket(f)
	if err != nil {
		return nil, err
	}
	return &Sender{socket: s, unanswered: map[uint32]parcel{}}, nil
}

// Send passes the socket fd to the instance without waiting. After success the descriptor is the Sender's. It comes
// back through back, on Run's goroutine, when the instance turns out not to have taken the connection; back owns it
// then. The errors are ErrBusy and ErrGone, rarely another, and leave the descriptor the caller's.
func (s *Sender) Send(tag Tag, fd int, back func(fd int)) error {
	return s.sendParcel(tag, nil, fd, back)
}

func (s *Sender) sendParcel(tag Tag, payload []byte, fd int, back func(fd int)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrGone
	case len(s.unanswered) >= maxUnanswered:
		return ErrBusy
	}
	number := max(s.number+1, 1) // there is no connection 0
	var room [parcelBytes]byte
	message := binary.BigEndian.AppendUint32(append(room[:0], byte(tag)), number)
	if err := send(s.socket.conn, append(message, payload...), fd); err != nil {
		return err
	}
	s.number = number
	s.unanswered[s.number] = parcel{fd, back}
	return nil
}

// Run takes receipts until the instance has closed its end or died (ErrGone), or ctx ends (nil). It closes the Sender.
// In the first case all connections come back that the instance had not taken; in the second those that were sent
// still reach it. Call it once.
func (s *Sender) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.socket.Close() })
	defer stop()
	s.takeReceipts()
	s.mu.Lock()
	s.closed = true
	rest := s.unanswered
	s.unanswered = nil
	s.mu.Unlock()
	s.socket.Close()
	for _, p := range rest {
		if ctx.Err() != nil || p.back == nil {
			unix.Close(p.fd)
			continue
		}
		p.back(p.fd)
	}
	if ctx.Err() != nil {
		return nil
	}
	return ErrGone
}

// takeReceipts reads until the end. An instance that writes anything else is broken, which is the end too.
func (s *Sender) takeReceipts() {
	// The first read after the death of an instance that had not read everything says just that. What it wrote before
	// can be read behind it.
	buf := make([]byte, maxMessageBytes+1)
	for resets := 0; resets < 2; {
		n, fd, err := read(s.socket.conn, buf)
		receipt := buf[:max(n, 0)]
		switch {
		case err == nil && fd >= 0:
			f, ok := parseForward(receipt)
			if !ok || s.Forwarded == nil {
				unix.Close(fd)
				return
			}
			s.Forwarded(fd, f)
		case errors.Is(err, unix.ECONNRESET):
			resets++
		case errors.Is(err, ErrMalformed) && lostDescriptor(receipt):
			// We are out of descriptors, as a rule, and the connection is lost: its client dials again.
		case err != nil || n != receiptBytes || !s.answered(binary.BigEndian.Uint32(receipt[1:]), receipt[0] == taken):
			return
		}
	}
}

// lostDescriptor reports whether a malformed message is what an instance gives back, whole but for the descriptor.
func lostDescriptor(message []byte) bool {
	_, ok := parseForward(message)
	return ok && len(message) <= maxMessageBytes
}

// answered reports whether the receipt is of a connection that waits for one.
func (s *Sender) answered(number uint32, taken bool) bool {
	s.mu.Lock()
	p, known := s.unanswered[number]
	delete(s.unanswered, number)
	s.mu.Unlock()
	if !known {
		return false
	}
	if taken || p.back == nil {
		unix.Close(p.fd)
	} else {
		p.back(p.fd)
	}
	return true
}

// Close sends no more. Connections that were sent already still reach the instance, and Run goes on until the instance
// has answered for them.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.running {
		return s.socket.conn.CloseWrite()
	}
	for _, p := range s.unanswered {
		unix.Close(p.fd)
	}
	s.unanswered = nil
	return s.socket.Close()
}

// Attach passes a hand-over end to the instance at the other end of the attach socket, without waiting. Both files
// stay the caller's. It is how a restarted balancer reaches instances that run already.
func Attach(attach, end *os.File) error {
	if err := write(attach, []byte{byte(tagAttach)}, end); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}
