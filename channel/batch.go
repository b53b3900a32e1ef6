package channel

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/internal/begun"
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

	mu     sync.Mutex // guards the fields below
	corked bool
	out    *[]byte // nil while empty
}

// NetConn returns what is below.
func (b *batchedConn) NetConn() net.Conn { return b.Conn }

func (b *batchedConn) Read(p []byte) (int, error) {
	if b.ahead == nil {
		return b.Conn.Read(p)
	}
	return b.ahead.Read(p)
}

func (b *batchedConn) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.corked {
		return b.Conn.Write(p)
	}
	if b.out == nil {
		b.out = batches.Get().(*[]byte)
	}
	*b.out = append(*b.out, p...)
	return len(p), nil
}

func (b *batchedConn) cork() {
	b.mu.Lock()
	b.corked = true
	b.mu.Unlock()
}

// batches are output buffers: a connection has one while it writes a batch, and none while it is idle.
var batches = sync.Pool{New: func() any { return new([]byte) }}

// maxKeptBatchBytes is the largest output buffer that is used again: a batch of all that may wait, with TLS around it.
const maxKeptBatchBytes = maxPendingBytes + maxPendingBytes/4

func (b *batchedConn) flush(patience time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.corked = false
	if b.out == nil {
		return nil
	}
	err := writePatiently(b.Conn, *b.out, patience)
	if cap(*b.out) <= maxKeptBatchBytes {
		*b.out = (*b.out)[:0]
		batches.Put(b.out)
	}
	b.out = nil
	return err
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
