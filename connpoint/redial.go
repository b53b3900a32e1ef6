package connpoint

import (
	"context"
	"math/rand/v2"
	"time"
)

// Times of redialling.
const (
	redialFirst = 200 * time.Millisecond
	redialMost  = 5 * time.Second
	// lasted is how long a connection must have been up for the next redial to start over.
	lasted = 10 * time.Second
)

// A backoff says how long to wait before the next dial: anything between nothing and a bound that doubles. A hundred
// connection points that lost the same gateway spread over that time instead of coming back together.
type backoff struct{ bound time.Duration }

func (b *backoff) reset() { b.bound = 0 }

func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, redialFirst), redialMost)
	return rand.N(b.bound) + time.Millisecond
}

// sleep waits for d, or less when ctx ends; it reports whether ctx is still good.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
