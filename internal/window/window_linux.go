package window

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bound returns the window's size in bytes.
func bound(raw syscall.RawConn) (size int) {
	_ = raw.Control(func(fd uintptr) {
		roundTrip := time.Hour
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			roundTrip = time.Duration(info.Min_rtt) * time.Microsecond
		}
		size = forRoundTrip(roundTrip)
		// A kernel without these options has its own bounds (tcp_rmem, tcp_wmem).
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, size)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
	return size
}

// hold ends the growth of a buffer that is large enough for this window. It reports whether there is nothing more to do,
// as also before Linux 5.14, which cannot let a buffer grow and stop. To fix its size at the start would be simpler, but
// every connection could fill it then, also those of readers that stop, and a thousand fill what the kernel has for all.
func hold(raw syscall.RawConn, size int) (done bool) {
	err := raw.Control(func(fd uintptr) { done = holdBuffer(int(fd), size) })
	return done || err != nil
}

func holdBuffer(fd, size int) (done bool) {
	// Half of a buffer is for the kernel's own bookkeeping.
	has, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err == nil && has < 2*size {
		return false
	}
	if err != nil || unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, unix.SOCK_RCVBUF_LOCK) != nil {
		return true
	}
	if has <= 3*size {
		return true
	}
	// It grew in one leap. What net.core.rmem_max grants may be too little: then it grows from there again.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	if has, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && has < 2*size {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0)
		return false
	}
	return true
}
