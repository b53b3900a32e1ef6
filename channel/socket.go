package channel

import (
	"net"

	"github.com/causeway-gateway/causeway/internal/sock"
	"github.com/causeway-gateway/causeway/internal/window"
)

// boundSocket bounds the kernel's buffers of a bulk connection, whatever it came by.
func boundSocket(c net.Conn) {
	s := sock.Below(c)
	if s == nil {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		window.Bound(raw)
	}
}
