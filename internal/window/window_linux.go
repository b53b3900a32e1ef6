package window

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func bound(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		most := maxBytes
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			most = forRoundTrip(time.Duration(info.Min_rtt) * time.Microsecond)
		}
		// A kernel without them has its own bounds (tcp_rmem, tcp_wmem).
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, most)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
