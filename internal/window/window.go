// Package window bounds what the kernel holds for a TCP connection that carries large bodies. Left alone it takes
// megabytes in for a reader that does not keep up. The less it is, the less memory a slow reader holds, and the more of
// what it holds is still in the processor's caches when it is read.
package window

import (
	"syscall"
	"time"
)

const (
	// minBytes and maxBytes bound the window, which is what the other side may send ahead of the reader.
	minBytes = 256 << 10
	maxBytes = 4 << 20
	// grownBytes is the least that the window of a reader that keeps up may grow to. With less, one machine alone carries a
	// fifth less of large answers and a third less of large uploads.
	grownBytes = 2 << 20
	// lookBytes is how much such a reader takes between two looks at how far its buffer has grown.
	lookBytes = 64 << 10
	// rate is what a connection should be able to carry, in bytes a second: 1 Gbit/s, and as much again, because a
	// window that is just enough is not. From a round trip of 16 ms on, maxBytes is the bound: 40 MB/s at 100 ms.
	rate = 250_000_000
	// unsentBytes bounds what was written, lies in the kernel and has not gone out.
	unsentBytes = 128 << 10
)

// A Window is the bound of one connection's window. The zero Window bounds nothing. Whoever reads owns it.
//
// The kernel raises the bound whenever it enlarges the buffer of a reader that keeps up, to tcp_rmem at most, and what a
// reader that stops leaves unread is as much as the buffer takes. So it may grow until it has twice the window. With three
// times the window at most, which a leap between two looks passes for a moment, that bounds what lies unread.
type Window struct {
	raw   syscall.RawConn // nil when there is nothing to do
	grown int             // how far the window may grow
	took  int             // since the last look
}

// Bound bounds the window of a connection that is established, as its line's round trip asks for. It does nothing where
// the system is not Linux.
func Bound(raw syscall.RawConn) Window {
	size := bound(raw)
	if size == 0 {
		return Window{}
	}
	return Window{raw: raw, grown: max(size, grownBytes)}
}

// Took says that n more bytes were read.
func (w *Window) Took(n int) {
	if w.raw == nil {
		return
	}
	if w.took += n; w.took < lookBytes {
		return
	}
	w.took = 0
	if hold(w.raw, w.grown) {
		w.raw = nil
	}
}

// forRoundTrip returns the window in bytes for a line with this round trip.
func forRoundTrip(d time.Duration) int { return int(min(max(d.Seconds()*rate, minBytes), maxBytes)) }
