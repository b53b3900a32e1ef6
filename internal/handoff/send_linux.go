package handoff

import (
	"context"
	"fmt"
	"net"
	"os"
)

// A Sender is the balancer's end towards one instance. Its methods may be called from many goroutines.
type Sender struct {
	socket *Socket
}

// NewSender takes f over, which came from Pair. It closes f in every case.
func NewSender(f *os.File) (*Sender, error) {
	s, err := NewSocket(f)
	if err != nil {
		return nil, err
	}
	return &Sender{s}, nil
}

// Send passes the socket fd to the instance without waiting. The descriptor stays the caller's, to be closed in
// any case: after success the instance has its own. The errors are ErrBusy and ErrGone, rarely another.
func (s *Sender) Send(tag Tag, fd int) error { return send(s.socket.conn, []byte{byte(tag)}, fd) }

// SendConn is Send for a connection of package net.
func (s *Sender) SendConn(tag Tag, c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = s.Send(tag, int(fd)) }); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return sent
}

// WaitGone blocks until the instance has closed its end or died (ErrGone), or ctx ends (nil). It closes the Sender.
// Instances never write, so whatever arrives is the end too.
func (s *Sender) WaitGone(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	defer s.Close()
	if _, f, _ := s.socket.Read(make([]byte, 2)); f != nil {
		f.Close()
	}
	if ctx.Err() != nil {
		return nil
	}
	return ErrGone
}

// Close ends the hand-over. Connections that were sent already still reach the instance.
func (s *Sender) Close() error { return s.socket.Close() }

// Attach passes a hand-over end to the instance at the other end of the attach socket, without waiting. Both files
// stay the caller's. It is how a restarted balancer reaches instances that run already.
func Attach(attach, end *os.File) error {
	if err := write(attach, []byte{byte(tagAttach)}, end); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}
