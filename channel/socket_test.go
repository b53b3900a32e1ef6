package channel

import (
	"net"
	"testing"

	"github.com/causeway-gateway/causeway/internal/begun"
)

// Also a connection that began as something else has its buffers bounded.
func TestSocketIsFoundBelowWhatWasRead(t *testing.T) {
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
	if _, ok := rawSocket(Batched(&begun.Conn{Conn: c})); !ok {
		t.Error("the socket is not found, so its buffers have no bound")
	}
}
