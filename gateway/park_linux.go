package gateway

import (
	"syscall"

	"github.com/causeway-gateway/causeway/internal/sock"
)

// A parker waits until a socket has something to read.
type parker struct {
	raw    syscall.RawConn
	ready  func(fd uintptr) bool // made once
	waited bool
}

// newParker returns nil for a connection that has no socket.
func newParker(c any) *parker {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	p := &parker{raw: raw}
	p.ready = p.look
	return p
}

// wait returns when there is something to read, or the end of it. The read deadline and a close end it with an error.
func (p *parker) wait() error {
	p.waited = false
	return p.raw.Read(p.ready)
}

// look is asked before anybody waits, and when the wait is over.
func (p *parker) look(fd uintptr) bool {
	if p.waited {
		return true
	}
	p.waited = true
	return sock.Readable(fd) // whoever reads will meet an error
}
