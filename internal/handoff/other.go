//go:build !linux

package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

var errUnsupported = fmt.Errorf("handing connections over needs Linux: %w", errors.ErrUnsupported)

// Pair is not supported here.
func Pair() (a, b *os.File, err error) { return nil, nil, errUnsupported }

// Attach is not supported here.
func Attach(attach, end *os.File) error { return errUnsupported }

// A Socket cannot be made here.
type Socket struct{}

// NewSocket closes f and is not supported here.
func NewSocket(f *os.File) (*Socket, error) {
	f.Close()
	return nil, errUnsupported
}

// Write is not supported here.
func (s *Socket) Write(message []byte, pass *os.File) error { return errUnsupported }

// Read is not supported here.
func (s *Socket) Read(buf []byte) (n int, passed *os.File, err error) { return 0, nil, errUnsupported }

// SetReadDeadline does nothing here.
func (s *Socket) SetReadDeadline(t time.Time) error { return nil }

// Close does nothing here.
func (s *Socket) Close() error { return nil }

// A Sender cannot be made here.
type Sender struct {
	Forwarded func(fd int, f Forward)
}

// NewSender closes f and is not supported here.
func NewSender(f *os.File) (*Sender, error) {
	f.Close()
	return nil, errUnsupported
}

// Send is not supported here.
func (s *Sender) Send(tag Tag, fd int, back func(fd int)) error { return errUnsupported }

// Run is not supported here.
func (s *Sender) Run(ctx context.Context) error { return errUnsupported }

// SendForward is not supported here.
func (s *Sender) SendForward(fd int, f Forward, back func(fd int)) error { return errUnsupported }

// Close does nothing here.
func (s *Sender) Close() error { return nil }

// A Receiver cannot be made here.
type Receiver struct{}

// NewReceiver closes f and is not supported here.
func NewReceiver(f *os.File) (*Receiver, error) {
	f.Close()
	return nil, errUnsupported
}

// Listener returns a closed listener here.
func (r *Receiver) Listener(tag Tag) net.Listener {
	l := newListener(tag)
	l.Close()
	return l
}

// Forward is not supported here.
func (r *Receiver) Forward(c syscall.Conn, f Forward) error { return errUnsupported }

// StreamPair is not supported here.
func StreamPair() (a, b *net.UnixConn, err error) { return nil, nil, errUnsupported }

// Stats returns nothing here.
func (r *Receiver) Stats() Stats { return Stats{} }

// Run is not supported here.
func (r *Receiver) Run(ctx context.Context) error { return errUnsupported }
