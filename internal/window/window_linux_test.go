package window

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBoundSetsBothOptions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	Bound(raw)
	for option, want := range map[int]int{unix.TCP_WINDOW_CLAMP: minBytes, unix.TCP_NOTSENT_LOWAT: unsentBytes} {
		var got int
		if ctl := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option) }); ctl != nil || err != nil {
			t.Fatal(ctl, err)
		}
		if got != want {
			t.Errorf("option %d is %d, want %d", option, got, want)
		}
	}
}
