//go:build unix

package connpoint

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// An idleSocket looks at a connection that should be silent without reading from it.
type idleSocket struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	poll [1]unix.PollFd
	ok   bool
}

func (s *idleSocket) init(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.raw = raw
	s.look = func(fd uintptr) {
		s.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(s.poll[:], 0)
		for err == unix.EINTR { // the runtime's signals come at any time
			n, err = unix.Poll(s.poll[:], 0)
		}
		s.ok = n == 0 && err == nil
	}
}

// silent reports whether the connection is open and nothing waits to be read. Neither the end of the stream nor
// bytes that nobody asked for may be there.
func (s *idleSocket) silent() bool {
	if s.raw == nil {
		return false // cannot be told, so it is not used again
	}
	s.ok = false
	return s.raw.Control(s.look) == nil && s.ok
}
