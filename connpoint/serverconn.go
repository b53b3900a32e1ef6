package connpoint

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/internal/sock"
	"github.com/causeway-gateway/causeway/internal/window"
)

// A serverConn is one connection to a server, used by one request at a time.
type serverConn struct {
	// Fixed once connected.
	pool *serverPool
	net.Conn
	raw    net.Conn // below TLS
	secure bool
	socket idleSocket

	// Owned by the request that uses it.
	reader    http1.Reader
	ahead     readAhead
	idleUntil time.Time
	reused    bool

	ended atomic.Bool // closed, and its place among the open ones given back
}

func newServerConn(p *serverPool, raw net.Conn) *serverConn {
	c := &serverConn{pool: p, Conn: sock.New(raw), raw: raw}
	c.socket.init(raw)
	c.ahead.src = c.Conn
	c.reader.Reset(&c.ahead)
	return c
}

func (c *serverConn) setTLS(s *tls.Conn) {
	c.Conn, c.secure = s, true
	c.ahead.src = s
}

// close ends the connection. It may be called from any goroutine, and more than once.
func (c *serverConn) close() {
	if !c.ended.Swap(true) {
		_ = c.raw.Close() // without TLS's farewell, which could block
		c.pool.release()
	}
}

// Interrupt ends the connection because nobody waits for what comes over it.
func (c *serverConn) Interrupt() { c.close() }

// closeKeepingPlace ends the connection and leaves its place among the open ones to the caller.
func (c *serverConn) closeKeepingPlace() {
	if !c.ended.Swap(true) {
		_ = c.raw.Close()
	}
}

// put takes the connection back after a request, for at most idle; zero means the default.
func (c *serverConn) put(idle time.Duration) {
	if idle == 0 {
		idle = serverIdle
	}
	c.idleUntil = time.Now().Add(min(idle, serverIdleMost))
	c.reused = true
	c.pool.keep(c)
}

// clean reports whether the last answer left nothing behind: what a server sends unasked must never become the
// beginning of the next device's answer.
func (c *serverConn) clean() bool {
	c.reader.Release()
	if c.reader.Buffered() > 0 || c.ahead.buffered() > 0 {
		return false
	}
	if c.secure {
		// TLS may hold plain text that nobody asked for yet. A deadline in the past lets it look without waiting.
		if c.SetReadDeadline(time.Unix(1, 0)) != nil {
			return false
		}
		var one [1]byte
		if n, err := c.Conn.Read(one[:]); n > 0 || !isTimeout(err) {
			return false
		}
	}
	return c.SetDeadline(time.Time{}) == nil
}

// usable reports whether an idle connection is still open and silent.
func (c *serverConn) usable(now time.Time) bool {
	return now.Before(c.idleUntil) && c.socket.silent()
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout() || os.IsTimeout(err)
}

// readAhead reads small wishes in one larger read: the reader of heads asks for one byte first, so that it holds no
// buffer while it waits, and that would be a system call of its own.
type readAhead struct {
	src        interface{ Read([]byte) (int, error) }
	buf        *[aheadBytes]byte
	start, end int
	window     window.Window
}

const aheadBytes = 4 << 10

var aheadBuffers = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

func (r *readAhead) buffered() int { return r.end - r.start }

func (r *readAhead) Read(p []byte) (int, error) {
	if r.start == r.end {
		if len(p) >= aheadBytes {
			n, err := r.src.Read(p)
			r.window.Took(n)
			return n, err
		}
		r.buf = aheadBuffers.Get().(*[aheadBytes]byte)
		n, err := r.src.Read(r.buf[:])
		r.start, r.end = 0, n
		if n == 0 {
			r.drop()
			return 0, err
		}
	}
	n := copy(p, r.buf[r.start:r.end])
	if r.start += n; r.start == r.end {
		r.drop()
	}
	return n, nil
}

func (r *readAhead) drop() {
	aheadBuffers.Put(r.buf)
	r.buf, r.start, r.end = nil, 0, 0
}

// buffered returns how many bytes of the server were read and not yet used.
func (c *serverConn) buffered() int { return c.reader.Buffered() + c.ahead.buffered() }

// closeWrite tells the server that no more comes, where the connection can say that without ending.
func (c *serverConn) closeWrite() bool {
	w, ok := c.Conn.(interface{ CloseWrite() error })
	return ok && w.CloseWrite() == nil
}
