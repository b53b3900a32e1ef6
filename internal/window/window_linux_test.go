package window

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

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

// TestAReaderThatStopsLeavesLittle reads so fast, and so much, that the kernel enlarges the buffer, and stops then.
func TestAReaderThatStopsLeavesLittle(t *testing.T) {
	const much = 64 << 20
	c, far := pair(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	w := Bound(raw)
	done := make(chan struct{})
	defer func() {
		c.Close()
		far.Close()
		<-done
	}()
	go func() {
		defer close(done)
		p := make([]byte, 256<<10)
		for {
			if _, err := far.Write(p); err != nil {
				return
			}
		}
	}()
	p := make([]byte, 64<<10)
	for read := 0; read < much; {
		n, err := c.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		w.Took(n)
		read += n
	}
	unread, same := 0, 0
	for end := time.Now().Add(15 * time.Second); same < 20 && time.Now().Before(end); same++ {
		time.Sleep(10 * time.Millisecond)
		n := control(t, raw, func(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.TIOCINQ) })
		if n != unread {
			unread, same = n, 0
		}
	}
	t.Logf("%d bytes unread", unread)
	if most := 3 * grownBytes; unread == 0 || unread > most {
		t.Errorf("%d bytes lie in the kernel, want no more than %d", unread, most)
	}
}

func TestHoldEndsTheGrowthOfALargeBuffer(t *testing.T) {
	const size = 64 << 10
	for name, c := range map[string]struct {
		has, want int // twice of what is asked for
		done      bool
	}{
		"still growing": {has: 96 << 10, want: 96 << 10},
		"grown":         {has: 160 << 10, want: 160 << 10, done: true},
		"leapt":         {has: 256 << 10, want: 128 << 10, done: true},
	} {
		conn, _ := pair(t)
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		control(t, raw, func(fd int) (int, error) {
			return 0, errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.has/2),
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0))
		})
		if done := hold(raw, size); done != c.done {
			t.Errorf("%s: hold returned %v", name, done)
		}
		has := control(t, raw, func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF) })
		lock := control(t, raw, func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK) })
		if has != c.want || lock == unix.SOCK_RCVBUF_LOCK != c.done {
			t.Errorf("%s: a buffer of %d bytes, lock %d; want %d", name, has, lock, c.want)
		}
	}
}

// TestALeapThatCannotBeUndoneMayGoOn asks for more than the system grants, which must not leave a buffer small for good.
func TestALeapThatCannotBeUndoneMayGoOn(t *testing.T) {
	const size = 64 << 20
	c, _ := pair(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var forced error
	granted := control(t, raw, func(fd int) (int, error) {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		granted, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		forced = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 2*size)
		return granted, err
	})
	if forced != nil || granted >= 2*size {
		t.Skip("needs the right to force a buffer, and a system that grants no large one:", forced, granted)
	}
	done := hold(raw, size)
	if lock := control(t, raw, func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK) }); done || lock != 0 {
		t.Errorf("the buffer was fixed at %d bytes", granted)
	}
}
