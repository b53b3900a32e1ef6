//go:build unix

package channel

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/causeway-gateway/causeway/internal/sock"
)

// readAheadBytes is what one system call takes from the socket. crypto/tls alone asks for a record at a time.
const readAheadBytes = 64 << 10

var readAheads = sync.Pool{New: func() any { return new([readAheadBytes]byte) }}

// readAhead takes from a socket in large pieces, and holds memory only while it has bytes to give: it waits for the
// socket to be readable before it takes a buffer, so that a quiet connection costs none.
type readAhead struct {
	raw        syscall.RawConn
	read       func(fd uintptr, p []byte) (int, error)
	take       func(fd uintptr) bool // fill, as a value made once
	buf        *[readAheadBytes]byte // nil while empty
	start, end int
	err        error  // of the last fill
	head       []byte // to be read first
}

// newReadAhead returns nil for what has no socket.
func newReadAhead(c net.Conn) *readAhead {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	r := &readAhead{raw: raw, read: sock.ReadShared}
	if _, ours := c.(*net.TCPConn); ours {
		r.read = sock.Read
	}
	r.take = r.fill
	return r
}

// begin has these bytes read before those of the socket.
func (r *readAhead) begin(head []byte) { r.head = head }

func (r *readAhead) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		if r.head = r.head[n:]; len(r.head) == 0 {
			r.head = nil
		}
		return n, nil
	}
	if r.buf == nil {
		if len(p) == 0 {
			return 0, nil
		}
		if err := r.raw.Read(r.take); err != nil {
			return 0, err // a deadline, or closed
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.buf[r.start:r.end])
	if r.start += n; r.start == r.end {
		readAheads.Put(r.buf)
		r.buf = nil
	}
	return n, nil
}

// fill reads without waiting, and reports false when there is nothing to read yet.
func (r *readAhead) fill(fd uintptr) bool {
	buf := readAheads.Get().(*[readAheadBytes]byte)
	n, err := r.read(fd, buf[:])
	if n > 0 {
		r.buf, r.start, r.end, r.err = buf, 0, n, nil
		return true
	}
	readAheads.Put(buf)
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	if r.err = err; err == nil {
		r.err = io.EOF
	}
	return true
}
