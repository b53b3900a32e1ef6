package channel

import (
	"sync"
	"sync/atomic"
)

// A buffer holds the payload of one received frame until its reader has passed it on.
type buffer struct {
	b []byte
}

const (
	smallBufferBytes  = 4 << 10
	mediumBufferBytes = 16 << 10
	largeBufferBytes  = maxDataBytes + 1<<10
)

var (
	smallBuffers  = sync.Pool{New: func() any { return &buffer{make([]byte, smallBufferBytes)} }}
	mediumBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, mediumBufferBytes)} }}
	largeBuffers  = sync.Pool{New: func() any { return &buffer{make([]byte, largeBufferBytes)} }}
)

// getBuffer returns a buffer of exactly n bytes.
func getBuffer(n int) *buffer {
	var b *buffer
	switch {
	case n <= smallBufferBytes:
		b = smallBuffers.Get().(*buffer)
	case n <= mediumBufferBytes:
		b = mediumBuffers.Get().(*buffer)
	case n <= largeBufferBytes:
		b = largeBuffers.Get().(*buffer)
	default:
		return &buffer{make([]byte, n)} // a frame with a very large head: rare, and not worth keeping
	}
	b.b = b.b[:n]
	return b
}

func putBuffer(b *buffer) {
	if b == nil {
		return
	}
	b.b = b.b[:cap(b.b)]
	switch len(b.b) {
	case smallBufferBytes:
		smallBuffers.Put(b)
	case mediumBufferBytes:
		mediumBuffers.Put(b)
	case largeBufferBytes:
		largeBuffers.Put(b)
	}
}

// A budget counts the body bytes that a process holds for slow readers, over all its sessions. It does not
// reserve: every stream is bounded by its own window, and the budget decides whether windows may grow and
// whether new requests may begin.
type budget struct {
	limit int64
	used  atomic.Int64
}

// DefaultMemoryBudgetBytes is the budget of a process that sets none.
const DefaultMemoryBudgetBytes = 256 << 20

func newBudget(limit int64) *budget {
	if limit <= 0 {
		limit = DefaultMemoryBudgetBytes
	}
	return &budget{limit: limit}
}

func (b *budget) add(n int) { b.used.Add(int64(n)) }

// roomy reports whether windows may grow, and large answers begin. A quarter of the budget is kept for small ones.
func (b *budget) roomy() bool { return b.used.Load() < b.limit/4*3 }

// spent reports whether new requests have to be turned away.
func (b *budget) spent() bool { return b.used.Load() >= b.limit }
