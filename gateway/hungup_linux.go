package gateway

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func socketHungUp(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	ended := true // closed on our side, unless we get to ask
	_ = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds[:], 0)
		ended = n > 0 && err == nil // POLLHUP and POLLERR come unasked
	})
	return ended
}
