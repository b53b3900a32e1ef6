package connpoint

import (
	"math/rand/v2"
	"sync"
	"time"
)

// A circuit opens when a server cannot be reached several times in a row. While it is open, requests for the server
// are answered at once instead of each waiting for a dial of its own to fail; then one dial at a time tries again.
type circuit struct {
	mu       sync.Mutex // guards the fields below
	failures int        // in a row; those while open count once
	until    time.Time  // open until then
	probing  bool       // one dial is under way to see whether the server is back
	lastErr  string
	lastTry  time.Time // that failed with lastErr
}

const (
	circuitFailures = 3
	circuitFirst    = 250 * time.Millisecond
	circuitMost     = 5 * time.Second
)

// allow says whether a dial may be tried. If so, done must be called with its outcome.
func (c *circuit) allow(now time.Time) (probe, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures < circuitFailures {
		return false, true
	}
	if now.Before(c.until) || c.probing {
		return false, false
	}
	c.probing = true
	return true, true
}

// done notes the outcome of a dial. given up means that the device left before it was known.
func (c *circuit) done(now time.Time, probe bool, err error, givenUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if probe {
		c.probing = false
	}
	switch {
	case err == nil:
		c.failures, c.lastErr, c.lastTry = 0, "", time.Time{}
	case givenUp:
	case probe || c.failures < circuitFailures:
		c.failures++
		c.lastErr, c.lastTry = err.Error(), now
		if over := c.failures - circuitFailures; over >= 0 {
			wait := min(circuitFirst<<min(over, 8), circuitMost)
			c.until = now.Add(wait/2 + rand.N(wait/2))
		}
	}
}

// state tells an operator how things are.
func (c *circuit) state() (open bool, failures int, lastErr string, lastTry time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures >= circuitFailures, c.failures, c.lastErr, c.lastTry
}
