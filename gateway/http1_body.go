package gateway

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
)

// An http1Body is the request body, or what an upgraded connection brings, as package channel reads it: on one
// goroutine at a time, which need not be the one that called Exchange.
type http1Body struct {
	x        *http1Call
	rd       *http1.BodyReader // nil when raw
	raw      bool              // the connection was upgraded
	patience patience
	expect   bool // 100 Continue is owed

	eof      atomic.Bool
	failure  error // what the device did wrong
	trailers []byte
	upgraded chan struct{} // raw: closed once the device was told that it speaks another protocol now
	refused  chan struct{} // raw: closed when that will not happen

	mu      sync.Mutex // guards the fields below
	reading bool
	closed  bool
}

var errBodyClosed = errors.New("request body is no longer wanted")

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// Read reads more of the body. The first one says that the request was accepted and a channel chosen: the moment
// for 100 Continue.
func (b *http1Body) Read(p []byte) (int, error) {
	if b.eof.Load() {
		return 0, io.EOF
	}
	if b.failure != nil {
		return 0, b.failure
	}
	if b.expect {
		b.expect = false
		if err := b.x.send(continueLine); err != nil {
			b.failure = err
			return 0, err
		}
	}
	if b.raw {
		return b.readRaw(p)
	}
	if !b.begin(b.patience.next()) {
		return 0, errBodyClosed
	}
	began := time.Now()
	n, err := b.rd.Read(p)
	b.patience.took(time.Since(began), n)
	b.x.bytesIn += int64(n)
	return n, b.end(err)
}

// begin sets the deadline, unless the body was closed.
func (b *http1Body) begin(patience time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.reading = true
	_ = b.x.h.SetReadDeadline(time.Now().Add(patience))
	return true
}

func (b *http1Body) end(err error) error {
	b.mu.Lock()
	closed := b.closed
	b.reading = false
	b.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		b.trailers = b.rd.AppendTrailers(nil)
		b.eof.Store(true)
		// From here on nobody reads the connection, and the watch may.
		b.x.watch.arm()
		return io.EOF
	case closed:
		return errBodyClosed
	}
	b.failure = bodyFailure(err)
	return b.failure
}

// Close makes a blocked Read return.
func (b *http1Body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.raw && !b.closed {
		close(b.refused)
	}
	b.closed = true
	if b.reading {
		_ = b.x.h.SetReadDeadline(longAgo)
	}
	return nil
}

// takeTrailers returns what came behind a chunked body, nil if nothing did.
func (b *http1Body) takeTrailers() []byte {
	if len(b.trailers) == 0 {
		return nil
	}
	return b.trailers
}

// readRaw reads what an upgraded connection brings. It may be silent for as long as the other direction is not.
func (b *http1Body) readRaw(p []byte) (int, error) {
	select {
	case <-b.upgraded:
	case <-b.refused: // what follows is no data of ours, or nobody wants it
		return 0, errBodyClosed
	}
	const idle = policy.UpgradeIdleTimeout
	for {
		if !b.begin(idle) {
			return 0, errBodyClosed
		}
		n, err := b.x.h.rd.Read(p)
		b.mu.Lock()
		closed := b.closed
		b.reading = false
		b.mu.Unlock()
		b.x.bytesIn += int64(n)
		switch {
		case n > 0 || err == nil:
			return n, nil
		case closed:
			return 0, errBodyClosed
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, b.x.watch.moved.Load())) < idle:
			continue
		case err == io.EOF:
			b.eof.Store(true)
			return 0, io.EOF
		}
		b.failure = errors.Join(errDeviceGone, err)
		return 0, b.failure
	}
}
