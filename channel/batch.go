package channel

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/internal/corked"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// Batched wraps the raw connection of a channel before TLS is put on top of it, so that one batch of frames
// becomes one write and what has arrived one read: crypto/tls alone makes a system call for every 16 KiB record.
func Batched(c net.Conn) net.Conn {
	if b, ok := c.(*begun.Conn); ok {
		ahead := newReadAhead(b.Conn)
		if ahead != nil {
			ahead.begin(b.TakeHead())
		}
		return &batchedConn{Conn: &begun.Conn{Conn: sock.New(b.Conn), Head: b.Head, Source: b.Source}, ahead: ahead}
	}
	return &batchedConn{Conn: sock.New(c), ahead: newReadAhead(c)}
}

// batchedConn collects what is written between cork and flush. Outside of that (handshake, alerts) it writes
// through.
type batchedConn struct {
	net.Conn
	ahead *readAhead // nil without a socket

	out corked.Writer
}

// NetConn returns what is below.
func (b *batchedConn) NetConn() net.Conn { return b.Conn }

func (b *batchedConn) Read(p []byte) (int, error) {
	if b.ahead == nil {
		return b.Conn.Read(p)
	}
	return b.ahead.Read(p)
}

func (b *batchedConn) Write(p []byte) (int, error) { return b.out.Write(b.Conn, p) }

func (b *batchedConn) cork(expect int) { b.out.Cork(expect) }

func (b *batchedConn) flush(patience time.Duration) error {
	return b.out.Uncork(func(p []byte) error { return writePatiently(b.Conn, p, patience) })
}

// looksOf returns in how many parts a patience with a connection passes, each with a look at what it waits for. If this
// process was the one that stood still, all that time passed within one part, and what it waited for is there at the next
// look. A WebSocket's library ends the connection with the first deadline that passes, so there the whole patience is one.
func looksOf(c net.Conn) int {
	for {
		switch t := c.(type) {
		case *messages:
			return 1
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return 16
		}
	}
}

// writePatiently writes p, and gives up when not one byte was taken for patience: a slow line is not a dead one.
func writePatiently(c net.Conn, p []byte, patience time.Duration) error {
	looks := looksOf(c)
	for idle := 0; ; {
		if err := c.SetWriteDeadline(time.Now().Add(patience / time.Duration(looks))); err != nil {
			return err
		}
		n, err := c.Write(p)
		p = p[n:]
		if n > 0 {
			idle = 0 // but for this part, which the last byte may have begun
		}
		if idle++; err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || idle >= looks {
			return err
		}
	}
}
