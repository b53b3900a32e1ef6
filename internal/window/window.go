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
	// rate is what a connection should be able to carry, in bytes a second: 1 Gbit/s, and as much again, because a
	// window that is just enough is not. From a round trip of 16 ms on, maxBytes is the bound: 40 MB/s at 100 ms.
	rate = 250_000_000
	// unsentBytes bounds what was written, lies in the kernel and has not gone out.
	unsentBytes = 128 << 10
)

// Bound bounds the window of a connection that is established, as its line's round trip asks for, until the kernel
// enlarges the buffer of a reader that keeps up, to tcp_rmem at most. It does nothing where the system is not Linux.
func Bound(raw syscall.RawConn) { bound(raw) }

// forRoundTrip returns the window in bytes for a line with this round trip.
func forRoundTrip(d time.Duration) int { return int(min(max(d.Seconds()*rate, minBytes), maxBytes)) }
