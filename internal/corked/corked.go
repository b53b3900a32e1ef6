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
	held   *[]byte // nil while empty
}

// buffers are what is held back: a connection has one while it writes, and none while it is idle.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxKeptBytes is the largest buffer that is used again.
const maxKeptBytes = 384 << 10

// Cork holds back what is written from now on.
func (w *Writer) Cork() {
	w.mu.Lock()
	w.corked = true
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
		w.held = buffers.Get().(*[]byte)
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
	if cap(*held) <= maxKeptBytes {
		*held = (*held)[:0]
		buffers.Put(held)
	}
	return err
}
