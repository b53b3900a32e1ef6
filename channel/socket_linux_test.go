package channel

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

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

// What a bulk connection reads counts towards the end of its buffer's growth.
func TestAGrownBufferOfABulkConnectionGrowsNoMore(t *testing.T) {
	c, far := tcpPair(t)
	defer far.Close()
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := &bulkConn{conn: c, deadAfter: 15 * time.Second, looks: 1, window: boundSocket(c)}
	var forced, other error
	err = raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 5<<19)
		other = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0)
	})
	if err := errors.Join(forced, other); err != nil {
		t.Skip("cannot make a buffer large:", err)
	}
	const some = 128 << 10
	go func() { _, _ = far.Write(make([]byte, some)) }()
	if _, err := io.CopyN(io.Discard, aliveReader{b}, some); err != nil {
		t.Fatal(err)
	}
	lock := 0
	err = errors.Join(err, raw.Control(func(fd uintptr) {
		lock, other = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	}), other)
	if err != nil || lock != unix.SOCK_RCVBUF_LOCK {
		t.Errorf("the buffer may grow still: lock %d, %v", lock, err)
	}
}
