package channel

import (
	"net"

	"github.com/causeway-gateway/causeway/internal/sock"
	"github.com/causeway-gateway/causeway/internal/window"
)

// boundSocket bounds the kernel's buffers of a bulk connection, whatever it came by.
func boundSocket(c net.Conn) window.Window {
	if s := sock.Below(c); s != nil {
		if raw, err := s.SyscallConn(); err == nil {
			return window.Bound(raw)
		}
	}
	return window.Window{}
}
