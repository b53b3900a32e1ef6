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

// writePatiently writes p, and gives up only when not one byte was taken for patience: a slow line is not a dead one.
func writePatiently(c net.Conn, p []byte, patience time.Duration) error {
	look := lastLook(patience)
	for wait := patience - look; ; {
		if err := c.SetWriteDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		n, err := c.Write(p)
		p = p[n:]
		switch {
		case err == nil, !errors.Is(err, os.ErrDeadlineExceeded), n == 0 && wait == look:
			return err
		case n == 0:
			wait = look
		default:
			wait = patience - look
		}
	}
}

// lastLook is the part of a patience that is kept until the rest is used up. If this process was the one that stood still,
// all of the rest passed at once, and what it waited for is there when it looks again.
func lastLook(patience time.Duration) time.Duration { return patience / 16 }
