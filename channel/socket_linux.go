package channel

import (
	"crypto/tls"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway/internal/begun"
)

const (
	// bulkWindowBytes bounds what the kernel may take in for a reader that does not keep up. A line of 100 ms carries
	// 40 MB/s with it.
	bulkWindowBytes = 4 << 20
	// bulkUnsentBytes bounds what lies in the kernel and has not gone out, so that it neither waits nor takes memory
	// there.
	bulkUnsentBytes = 256 << 10
)

// boundSocket bounds the kernel's buffers of a bulk connection. They still grow and shrink by themselves below that,
// which fixed sizes would end.
func boundSocket(c net.Conn) {
	raw, ok := rawSocket(c)
	if !ok {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		// A kernel without them has its own bounds (tcp_rmem, tcp_wmem).
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, bulkWindowBytes)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bulkUnsentBytes)
	})
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
