//go:build unix

package connpoint

import (
	"net"
	"syscall"

	"github.com/causeway-gateway/causeway/internal/sock"
)

// An idleSocket looks at a connection that should be silent without reading from it.
type idleSocket struct {
	raw  syscall.RawConn
	look func(fd uintptr)
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
	s.look = func(fd uintptr) { s.ok = !sock.Readable(fd) }
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
