// Package corked turns many small writes into one. TLS writes every record of 16 KiB by itself; where more is to be
// written, the records are held back until all are there and leave in one system call.
package corked

import (
	"io"
	"sync"
)

// A Writer stands between TLS and its connection. The zero value writes through. It may be used from several
// goroutines at once, as TLS does when it answers a key update while somebody writes.
type Writer struct {
	mu     sync.Mutex // guards the fields below, and the order of writes
	corked bool
	expect int
	held   *[]byte // nil while empty
}

// What is held back lies in a buffer while a connection writes, and in none while it is idle. A buffer is used again, but
// not one that is far too large: who is held up by a slow reader keeps it for long.
var (
	buffers      = sync.Pool{New: func() any { return new([]byte) }} // up to mostBytes
	largeBuffers = sync.Pool{New: func() any { return new([]byte) }} // up to mostLargeBytes
)

const (
	mostBytes      = 96 << 10
	mostLargeBytes = 384 << 10
)

// Cork holds back what is written from now on, which will be about expect bytes.
func (w *Writer) Cork(expect int) {
	w.mu.Lock()
	w.corked, w.expect = true, expect
	w.mu.Unlock()
}

// Write writes p to c, or holds a copy of it back.
func (w *Writer) Write(c io.Writer, p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.corked {
		return c.Write(p)
	}
	if w.held == nil {
		w.held = take(w.expect)
	}
	*w.held = append(*w.held, p...)
	return len(p), nil
}

// Uncork has write write what was held back, if anything was. Others that write meanwhile wait.
func (w *Writer) Uncork(write func([]byte) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = false
	held := w.held
	if held == nil {
		return nil
	}
	w.held = nil
	err := write(*held)
	give(held)
	return err
}

// take returns a buffer for about n bytes and what TLS adds.
func take(n int) *[]byte {
	if n < mostBytes*3/4 {
		return buffers.Get().(*[]byte)
	}
	return largeBuffers.Get().(*[]byte)
}

func give(b *[]byte) {
	*b = (*b)[:0]
	switch {
	case cap(*b) <= mostBytes:
		buffers.Put(b)
	case cap(*b) <= mostLargeBytes:
		largeBuffers.Put(b)
	}
}
