package gateway

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTuneBoundsWhatTheKernelTakesOfAnAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tune(c)
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if ctlErr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT) }); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
	if got != maxUnsentBytes {
		t.Errorf("TCP_NOTSENT_LOWAT is %d, want %d", got, maxUnsentBytes)
	}
}
