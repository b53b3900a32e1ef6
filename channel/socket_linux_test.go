package channel

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway/internal/begun"
)

// Whatever a bulk connection came by, its buffers are bounded.
func TestEverySocketIsBounded(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"slot port":            Batched,
		"began as something":   func(c net.Conn) net.Conn { return Batched(&begun.Conn{Conn: c}) },
		"WebSocket":            func(c net.Conn) net.Conn { return Batched(Messages(c, tls.Client(c, &tls.Config{}))) },
		"WebSocket in a proxy": func(c net.Conn) net.Conn { return Batched(Messages(c, &begun.Conn{Conn: c})) },
	} {
		c, far := tcpPair(t)
		defer far.Close()
		defer c.Close()
		bound := func() (unsent int) {
			raw, err := c.(syscall.Conn).SyscallConn()
			if err == nil {
				err = raw.Control(func(fd uintptr) {
					unsent, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			return unsent
		}
		before := bound()
		boundSocket(tls.Client(wrap(c), &tls.Config{}))
		if bound() == before {
			t.Errorf("%s: the buffers have no bound", name)
		}
	}
}
