package gateway

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
)

// takeTrailers returns what came behind the body. net/http knows those that the request announced.
func (x *http2Call) takeTrailers() []byte {
	var b []byte
	for name, values := range x.r.Trailer {
		if http1.DroppedTrailer(name) {
			continue
		}
		for _, v := range values {
			b = http1.AppendField(b, name, v)
		}
	}
	return b
}

// An http2Body is the request body of one stream.
type http2Body struct {
	x        *http2Call
	left     int64 // that the rule still allows
	patience patience
	eof      bool

	mu      sync.Mutex // guards the fields below
	closed  bool
	failure error
}

// Read reads more of the body. net/http sends 100 Continue at the first one if the device waits for it.
func (b *http2Body) Read(p []byte) (int, error) {
	b.mu.Lock()
	closed, failure := b.closed, b.failure
	b.mu.Unlock()
	if failure != nil {
		return 0, failure
	}
	if closed {
		return 0, errBodyClosed
	}
	_ = b.x.w.SetReadDeadline(time.Now().Add(b.patience.next()))
	began := time.Now()
	n, err := b.x.r.Body.Read(p)
	b.patience.took(time.Since(began), n)
	b.x.bytesIn += int64(n)
	if n > 0 {
		b.x.conn.allowance.read(n)
	}
	if b.left -= int64(n); b.left < 0 {
		err = http1.ErrBodyTooLarge
	}
	if err == nil || err == io.EOF {
		b.eof = err == io.EOF
		return n, err
	}
	return 0, b.fail(err)
}

func (b *http2Body) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errBodyClosed
	}
	if b.failure = bodyFailure(err); os.IsTimeout(err) {
		b.failure = &causeway.Refusal{Code: causeway.CodeRequestTimeout, Reason: "request body too slow"}
	}
	return b.failure
}

func (b *http2Body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failure
}

// unread is how much of a body of the given length, -1 for unknown, was not read.
func (b *http2Body) unread(length, read int64) int64 {
	switch {
	case b.eof:
		return 0
	case length < 0:
		return http2StreamWindow
	}
	return max(0, length-read)
}

// Close makes a blocked Read return.
func (b *http2Body) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	return b.x.r.Body.Close()
}
