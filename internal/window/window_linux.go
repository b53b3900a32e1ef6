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
		fixBuffer(int(fd), roundTrip)
		// After the buffer, which has a window of its own. A kernel without them has its own bounds (tcp_rmem, tcp_wmem).
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, forRoundTrip(roundTrip))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}

// fixBuffer gives a receive buffer one size, because the kernel raises the window's bound with each enlargement. What it
// grants (net.core.rmem_max) may be too little: then the kernel goes on choosing.
func fixBuffer(fd int, roundTrip time.Duration) {
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK); err != nil {
		return // there would be no way back (Linux before 5.14)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, forRoundTrip(roundTrip)) != nil {
		return
	}
	// The kernel doubles what is asked for, for its own bookkeeping.
	if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || got/2 < forRoundTrip(roundTrip) {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0)
	}
}
