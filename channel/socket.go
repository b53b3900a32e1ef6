package channel

import (
	"crypto/tls"
	"net"
	"syscall"

	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/internal/window"
)

// boundSocket bounds the kernel's buffers of a bulk connection.
func boundSocket(c net.Conn) {
	if raw, ok := rawSocket(c); ok {
		window.Bound(raw)
	}
}

// rawSocket finds the socket below TLS and Batched.
func rawSocket(c net.Conn) (syscall.RawConn, bool) {
	for {
		switch t := c.(type) {
		case *tls.Conn:
			c = t.NetConn()
		case *batchedConn:
			c = t.Conn
		case *begun.Conn:
			c = t.Conn
		case syscall.Conn:
			raw, err := t.SyscallConn()
			return raw, err == nil
		default:
			return nil, false
		}
	}
}
