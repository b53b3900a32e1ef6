//go:build unix

package sock

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection; the first is by New.
func pair(t *testing.T) (near net.Conn, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = d.Close()
	})
	return New(c), d.(*net.TCPConn)
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestEverythingArrivesInBothDirections(t *testing.T) {
	near, far := pair(t)
	want := random(8 << 20) // far more than a socket holds
	go func() {
		_, _ = io.Copy(far, far)
		_ = far.CloseWrite()
	}()
	go func() {
		for p := want; len(p) > 0; {
			n, err := near.Write(p[:min(len(p), 1+len(p)%300_000)])
			if err != nil {
				return
			}
			p = p[n:]
		}
		_ = near.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_ = near.SetReadDeadline(time.Now().Add(30 * time.Second))
	got, err := io.ReadAll(near)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes came back, the same: %v, %v", len(got), len(want), bytes.Equal(got, want), err)
	}
}

func TestReadEndsAsInPackageNet(t *testing.T) {
	var b [1]byte
	t.Run("deadline", func(t *testing.T) {
		near, _ := pair(t)
		_ = near.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := near.Read(b[:])
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !err.(net.Error).Timeout() || err.(*net.OpError).Op != "read" {
			t.Errorf("%d bytes, %v", n, err)
		}
		if n, err := near.Read(nil); n != 0 || err != nil {
			t.Errorf("nothing: %d bytes, %v", n, err)
		}
	})
	t.Run("end", func(t *testing.T) {
		near, far := pair(t)
		_ = far.CloseWrite()
		if n, err := near.Read(b[:]); n != 0 || err != io.EOF {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		near, far := pair(t)
		_ = far.SetLinger(0)
		_ = far.Close()
		n, err := near.Read(b[:])
		if n != 0 || !errors.Is(err, syscall.ECONNRESET) || err.(*net.OpError).Op != "read" {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("closed here", func(t *testing.T) {
		near, _ := pair(t)
		done := make(chan error, 1)
		go func() {
			_, err := near.Read(b[:])
			done <- err
		}()
		time.Sleep(10 * time.Millisecond) // most often it waits by now
		_ = near.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestWriteEndsAsInPackageNet(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		near, far := pair(t)
		want := random(32 << 20)
		_ = near.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := near.Write(want)
		if n == 0 || n == len(want) || !errors.Is(err, os.ErrDeadlineExceeded) || err.(*net.OpError).Op != "write" {
			t.Fatalf("%d bytes, %v", n, err)
		}
		_ = near.Close()
		_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
		if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want[:n]) {
			t.Errorf("said to have written %d bytes, %d came, %v", n, len(got), err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		near, far := pair(t)
		_ = far.SetLinger(0)
		_ = far.Close()
		var err error
		for end := time.Now().Add(15 * time.Second); err == nil && time.Now().Before(end); {
			_, err = near.Write([]byte("x"))
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%v", err)
		}
	})
	t.Run("closed here", func(t *testing.T) {
		near, _ := pair(t)
		_ = near.Close()
		if n, err := near.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestReadableSaysWhatAReadWouldMeet(t *testing.T) {
	readable := func(c net.Conn) (yes bool) {
		raw, err := c.(syscall.Conn).SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { yes = Readable(fd) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	eventually := func(c net.Conn) bool {
		for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if readable(c) {
				return true
			}
		}
		return false
	}
	near, far := pair(t)
	if readable(near) {
		t.Error("a silent connection is readable")
	}
	_, _ = far.Write([]byte("x"))
	if !eventually(near) {
		t.Error("bytes are not seen")
	}
	near, far = pair(t)
	_ = far.Close()
	if !eventually(near) {
		t.Error("the end is not seen")
	}
}

func TestNewLeavesOthersAlone(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if New(near) != near {
		t.Error("a pipe was wrapped")
	}
	_, tcp := pair(t)
	if shared := net.Conn(Shared{tcp}); New(shared) != shared {
		t.Error("a connection that another process may have was wrapped")
	}
}

func TestReadAndWriteAllocateNothing(t *testing.T) {
	near, far := pair(t)
	out, in := []byte("ping"), make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = near.Write(out)
		_, _ = io.ReadFull(far, in)
		_, _ = far.Write(in)
		_, _ = io.ReadFull(near, in)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
