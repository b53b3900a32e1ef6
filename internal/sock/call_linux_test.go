//go:build !race && !386

package sock

import (
	"syscall"
	"testing"
	"time"
)

// Another process that has the socket can make it one that blocks. Reading and writing it does not wait all the same.
func TestASocketThatWasMadeToBlockHoldsUpNobody(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0) // these block
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := Read(uintptr(fds[0]), make([]byte, 16)); n != 0 || err != syscall.EAGAIN {
			t.Errorf("read gave %d, %v, want EAGAIN", n, err)
		}
		for _, size := range []int{4 << 10, maxQuickWrite + 1} {
			err := error(nil)
			for written := 0; err == nil && written < 64<<20; {
				var n int
				n, err = Write(uintptr(fds[0]), make([]byte, size))
				written += n
			}
			if err != syscall.EAGAIN {
				t.Errorf("writes of %d bytes to a full socket end with %v, want EAGAIN", size, err)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("a call waits")
	}
}
