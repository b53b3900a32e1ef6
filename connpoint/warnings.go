package connpoint

import (
	"sync/atomic"

	"golang.org/x/time/rate"
)

// warnings keeps strangers from writing our log: at most ten lines a second about refused requests, and in the next
// line how many there were without one.
type warnings struct {
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

func newWarnings() *rate.Limiter { return rate.NewLimiter(10, 20) }

func (w *warnings) allow() (ok bool, suppressed int64) {
	if !w.limiter.Allow() {
		w.suppressed.Add(1)
		return false, 0
	}
	return true, w.suppressed.Swap(0)
}
