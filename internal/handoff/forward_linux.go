package handoff

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// Forward gives a connection back, for the channel of the instance of a slot. Without a source it is a TCP connection,
// otherwise one end of a StreamPair. It stays the caller's, to be closed in any case. The errors are ErrBusy and
// ErrGone, rarely another.
func (r *Receiver) Forward(c syscall.Conn, f Forward) error {
	message, err := f.appendTo([]byte{byte(tagForward), byte(f.Slot)})
	if err != nil {
		return err
	}
	r.mu.Lock()
	ends := make([]*end, 0, len(r.ends))
	for e := range r.ends {
		ends = append(ends, e)
	}
	r.mu.Unlock()
	err = ErrGone
	for _, e := range ends { // a balancer that is being replaced may not read any more
		if err = sendSocket(e.Socket, message, c); err == nil {
			return nil
		}
	}
	return err
}

func sendSocket(s *Socket, message []byte, c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = send(s.conn, message, int(fd)) }); err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	return sent
}

// SendForward is Send with the tag Channel, for a connection that another instance gave back.
func (s *Sender) SendForward(fd int, f Forward, back func(fd int)) error {
	payload, err := f.appendTo(nil)
	if err != nil {
		return err
	}
	return s.sendParcel(Channel, payload, fd, back)
}

// parseForward reads what an instance gives back; b is reused after it.
func parseForward(b []byte) (f Forward, ok bool) {
	if len(b) < 3 || Tag(b[0]) != tagForward {
		return f, false
	}
	f.Slot = int(b[1])
	return f, f.parse(b[2:])
}

// forwardedConn makes a connection of a received descriptor and what came with it. It consumes fd in every case.
func forwardedConn(fd int, payload []byte) (net.Conn, error) {
	var f Forward
	if !f.parse(payload) {
		unix.Close(fd)
		return nil, ErrMalformed
	}
	if !f.Source.IsValid() {
		c, err := tcpConn(fd)
		if err != nil {
			return nil, err
		}
		return &begun.Conn{Conn: sock.Shared{TCPConn: c}, Head: f.Head}, nil
	}
	c, err := streamConn(fd)
	if err != nil {
		return nil, err
	}
	return &begun.Conn{Conn: c, Head: f.Head, Source: net.TCPAddrFromAddrPort(f.Source)}, nil
}

// streamConn makes a connection of one end of a StreamPair. It consumes fd in every case.
func streamConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "stream")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok || u.LocalAddr().Network() != "unix" {
		c.Close()
		return nil, ErrMalformed
	}
	return u, nil
}

// StreamPair returns two connections that are joined to each other, for a process that may make no other sockets.
func StreamPair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("stream pair: %w", os.NewSyscallError("socketpair", err))
	}
	a, err = streamConn(fds[0])
	if err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	if b, err = streamConn(fds[1]); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}
