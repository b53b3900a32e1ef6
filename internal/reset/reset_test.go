package reset

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestPeerLearnsThatItWasNotTheEnd holds that nothing of a connection that was reset looks like an orderly end, whether
// or not it had something to send.
func TestPeerLearnsThatItWasNotTheEnd(t *testing.T) {
	for name, bytes := range map[string]int{"nothing sent": 0, "more than fits": 32 << 20} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			if bytes > 0 {
				_ = near.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				if _, err := near.Write(make([]byte, bytes)); err == nil {
					t.Fatal("all of it fits")
				}
			}
			waits := make(chan error, 1)
			go func() {
				_, err := near.Read(make([]byte, 1))
				waits <- err
			}()
			TCP(near)
			near.Close()
			if err := <-waits; err == nil {
				t.Error("who read the connection got something")
			}
			_ = far.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.Copy(io.Discard, far); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer got %v, want a reset", err)
			}
		})
	}
}

func TestOtherConnectionsStay(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	TCP(near)
	go func() { _, _ = near.Write([]byte("x")) }()
	if _, err := far.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}
