package gateway

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsentBytes bounds what the kernel takes of an answer beyond what is on its way. The more it takes, the sooner a
// thousand devices that stop reading have filled what it has for all TCP connections of the machine, and then every
// connection crawls.
const maxUnsentBytes = 128 << 10

// boundUnsent sets it for one connection. A kernel that does not know it has its own bounds (tcp_wmem).
func boundUnsent(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsentBytes)
	})
}
