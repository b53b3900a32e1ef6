package gateway

import (
	"errors"
	"time"

	"github.com/causeway-gateway/causeway/identity"
)

// A stranger is a connection on which no device has been admitted yet, or is admitted no more. It is kept only as
// long as a request head may take, counted anew from each refusal: what it holds, its certificates first of all,
// was given to it on no evidence.

func (s *Server) strangerTime() time.Duration { return min(s.timeouts.Head, s.timeouts.KeepAlive) }

// strange reports whether the connection is a stranger's.
func (c *deviceConn) strange() bool {
	st := c.standing.Load()
	return st == nil || st.device == nil
}

// patrol ends an HTTP/2 connection of a stranger when its time is over; HTTP/1.1 has a deadline for that. It is
// called after the handshake and whenever a request was judged.
func (c *deviceConn) patrol() {
	strange := c.strange()
	if !strange && !c.patrolled.Load() {
		return // as for almost every request
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state.Load() == connClosed:
	case !strange:
		c.patrolled.Store(false)
		c.strangerTimer.Stop()
	case c.strangerTimer == nil:
		c.patrolled.Store(true)
		c.strangerTimer = time.AfterFunc(c.s.strangerTime(), c.endStranger)
	default:
		c.patrolled.Store(true)
		c.strangerTimer.Reset(c.s.strangerTime())
	}
}

func (c *deviceConn) endStranger() {
	if c.strange() { // it may have been admitted at this very moment
		c.cut(cutStranger)
	}
}

// What strangers can make TLS hold of certificates. A handshake that goes beyond any proof is cut before all of it
// is in memory, and large chains, which are rare, have a bound over all connections that nobody was admitted on.
const (
	maxHandshakeBytes = identity.MaxEvidenceBytes + 32<<10
	largeChainBytes   = 16 << 10
	maxLargeChains    = 256
)

var errLargeHandshake = errors.New("handshake is larger than that of any device")

// carry counts a large chain. It reports false when there are too many.
func (c *deviceConn) carry() bool {
	if c.chainBytes() <= largeChainBytes {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load() == connClosed {
		return false
	}
	if c.s.largeChains.Add(1) > maxLargeChains {
		c.s.largeChains.Add(-1)
		return false
	}
	c.large = true
	return true
}

// lightenLocked ends the counting: the device is known, or the connection is closed.
func (c *deviceConn) lightenLocked() {
	if c.large {
		c.large = false
		c.s.largeChains.Add(-1)
	}
}

func (c *deviceConn) chainBytes() (n int) {
	for _, der := range c.chain {
		n += len(der)
	}
	return n
}

// oversized reports whether the device presented more certificates than any proof has. They are never read, and
// TLS holds them as long as the connection lives: one answer, and it ends.
func (c *deviceConn) oversized() bool {
	return len(c.chain) > identity.MaxChainCertificates || c.chainBytes() > identity.MaxEvidenceBytes
}
