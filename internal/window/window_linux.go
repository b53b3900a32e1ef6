package window

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func bound(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		roundTrip := time.Hour
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			roundTrip = time.Duration(info.Min_rtt) * time.Microsecond
		}
		// No SO_RCVBUF: it would let every connection have as much from the start, also those of readers that stop, and a
		// thousand of these fill what the kernel has for all. A kernel without them has its own bounds (tcp_rmem, tcp_wmem).
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, forRoundTrip(roundTrip))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
