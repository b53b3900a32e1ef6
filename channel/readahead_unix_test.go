//go:build unix

package channel

import (
	"net"
	"reflect"
	"testing"

	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// A call that nobody was told of holds up the whole process when another one holds the socket's lock.
func TestSocketsThatOthersMayHaveAreReadAsInPackageNet(t *testing.T) {
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
	shared := sock.Shared{TCPConn: c.(*net.TCPConn)}
	for _, test := range []struct {
		conn   net.Conn
		shared bool
	}{{c, false}, {&begun.Conn{Conn: c}, false}, {shared, true}, {&begun.Conn{Conn: shared}, true}} {
		b := Batched(test.conn).(*batchedConn)
		if pointer := reflect.ValueOf(b.ahead.read).Pointer(); (pointer == reflect.ValueOf(sock.ReadShared).Pointer()) != test.shared {
			t.Errorf("%T is read in another way", test.conn)
		}
		below := b.NetConn()
		if inner, ok := below.(*begun.Conn); ok {
			below = inner.Conn
		}
		if _, left := below.(sock.Shared); left != test.shared {
			t.Errorf("%T is written by a %T", test.conn, below)
		}
	}
}
