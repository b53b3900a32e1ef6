package gateway

import (
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

// oversized reports whether the device presented more certificates than any proof has. They are never read, and
// TLS holds them as long as the connection lives: one answer, and it ends.
func (c *deviceConn) oversized() bool {
	n := 0
	for _, der := range c.chain {
		n += len(der)
	}
	return len(c.chain) > identity.MaxChainCertificates || n > identity.MaxEvidenceBytes
}
