package window

import (
	"net"
	"os"
	"strconv"
	"strings"
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

// TestAReaderThatStopsLeavesLittle reads so fast, and so much, that a kernel that may enlarge the buffer does, and stops
// then.
func TestAReaderThatStopsLeavesLittle(t *testing.T) {
	const much = 64 << 20
	c, far := pair(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	Bound(raw)
	done := make(chan struct{})
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
		read += n
	}
	unread, still := 0, 0
	for end := time.Now().Add(15 * time.Second); still < 20 && time.Now().Before(end); still++ {
		time.Sleep(10 * time.Millisecond)
		n := control(t, raw, func(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.TIOCINQ) })
		if n != unread {
			unread, still = n, -1
		}
	}
	c.Close()
	far.Close()
	<-done
	t.Logf("%d bytes unread", unread)
	most := 2 * minBytes
	if granted := setting(t, "core/rmem_max", 0); granted < minBytes { // and the kernel chooses
		most = setting(t, "ipv4/tcp_rmem", 2)
	}
	if unread == 0 || unread > most {
		t.Errorf("%d bytes lie in the kernel, want no more than %d", unread, most)
	}
}

// setting returns one of the numbers of a setting of the kernel's network.
func setting(t *testing.T, name string, field int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/" + name)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.Fields(string(text))[field])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
