package begun

import (
	"io"
	"net"
	"testing"
)

func TestHeadComesFirst(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		_, _ = far.Write([]byte("rest"))
		_ = far.Close()
	}()
	c := &Conn{Conn: near, Head: []byte("head, ")}
	one := make([]byte, 3)
	if n, err := c.Read(one); n != 3 || err != nil || string(one) != "hea" {
		t.Errorf("%d bytes %q, %v", n, one, err)
	}
	if rest, err := io.ReadAll(c); string(rest) != "d, rest" || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
}

func TestHeadIsTakenOnce(t *testing.T) {
	c := &Conn{Head: []byte("head")}
	if first, second := c.TakeHead(), c.TakeHead(); string(first) != "head" || second != nil {
		t.Errorf("%q, then %q", first, second)
	}
}
