package gateway

import "time"

// A deadline costs about as much to set as a small request to parse, and nearly all of them are met. So a deadline of
// a device connection is set a little late, and left alone while it is late enough; and one for a read is set only
// when TLS has to ask the socket, because what it has already is there at once.

// latest is how long a deadline for d may be away. It is never nearer than d when something begins.
func latest(d time.Duration) time.Duration { return d + d/8 }

// stale reports whether the deadline by, in ticks, does not fit something that begins now and may take d.
func stale(by, now int64, d time.Duration) bool {
	left := time.Duration(by - now)
	return left < d || left > latest(d)
}

// allowRead gives the next read from the socket d. Only the goroutine that reads may call it, and only while no other
// means to interrupt it.
func (c *deviceConn) allowRead(d time.Duration) { c.readWithin = d }

// beforeRead sets the deadline that allowRead spoke of.
func (c *deviceConn) beforeRead() {
	d, now := c.readWithin, c.s.ticks()
	c.readWithin = 0
	if stale(c.readBy.Load(), now, d) {
		_ = c.SetReadDeadline(time.Now().Add(latest(d)))
		c.readBy.Store(now + int64(latest(d)))
	}
	if c.state.Load() == connClosed { // part may have come before us
		_ = c.SetReadDeadline(longAgo)
	}
}

// allowWrite gives the next write d.
func (c *deviceConn) allowWrite(d time.Duration) {
	if now := c.s.ticks(); stale(c.writeBy.Load(), now, d) {
		_ = c.SetWriteDeadline(time.Now().Add(latest(d)))
		c.writeBy.Store(now + int64(latest(d)))
	}
}

// others marks a deadline that was set directly, and is not to be moved by who does not know of it.
const others = -1

// SetReadDeadline sets it at once.
func (c *deviceConn) SetReadDeadline(t time.Time) error {
	c.readBy.Store(0)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline sets it at once.
func (c *deviceConn) SetWriteDeadline(t time.Time) error {
	c.noteWrite(t)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both at once.
func (c *deviceConn) SetDeadline(t time.Time) error {
	c.readBy.Store(0)
	c.noteWrite(t)
	return c.Conn.SetDeadline(t)
}

func (c *deviceConn) noteWrite(t time.Time) {
	if t.IsZero() {
		c.writeBy.Store(0)
	} else {
		c.writeBy.Store(others)
	}
}
