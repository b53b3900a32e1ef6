package window

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns both ends of a connection. They are closed when the test ends.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return c.(*net.TCPConn), other.(*net.TCPConn)
}

func control(t *testing.T, raw syscall.RawConn, ask func(fd int) (int, error)) int {
	t.Helper()
	var got int
	var err error
	if ctl := raw.Control(func(fd uintptr) { got, err = ask(int(fd)) }); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return got
}

func TestBoundSetsBothOptions(t *testing.T) {
	c, _ := pair(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	Bound(raw)
	for option, want := range map[int]int{unix.TCP_WINDOW_CLAMP: minBytes, unix.TCP_NOTSENT_LOWAT: unsentBytes} {
		got := control(t, raw, func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.IPPROTO_TCP, option) })
		if got != want {
			t.Errorf("option %d is %d, want %d", option, got, want)
		}
	}
}
