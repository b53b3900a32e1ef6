package gateway

import (
	"sync/atomic"
	"time"
)

// A rate is how often something may happen: burst times at once, and then once every interval.
type rate struct {
	interval time.Duration
	burst    int
}

// perSecond makes a rate; n <= 0 means no limit at all.
func perSecond(n float64, burst int) rate {
	if n <= 0 {
		return rate{}
	}
	return rate{interval: max(1, time.Duration(float64(time.Second)/n)), burst: max(1, burst)}
}

// A bucket holds one limit's state in a single word (the generic cell rate algorithm), so that taking from it costs
// one compare-and-swap and a table of a hundred thousand of them costs next to nothing. The zero bucket is full.
type bucket struct {
	due atomic.Int64 // when the bucket will be full again, in nanoseconds of the caller's clock
}

// take takes one token at the instant now. It returns zero, or how long to wait until one is there.
func (b *bucket) take(r rate, now int64) time.Duration {
	if r.interval <= 0 {
		return 0
	}
	for {
		old := b.due.Load()
		due := max(old, now) + int64(r.interval)
		if over := due - now - int64(r.interval)*int64(r.burst); over > 0 {
			return time.Duration(over)
		}
		if b.due.CompareAndSwap(old, due) {
			return 0
		}
	}
}

// full reports whether the bucket has forgotten every past take.
func (b *bucket) full(now int64) bool { return b.due.Load() <= now }
