package gateway

import (
	"errors"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

// What an HTTP/2 device may send without getting anywhere. The figures leave room for every way of working that
// has an end: a full receive window that no server reads yet, all streams at once with the largest heads, window
// updates of a long download, pings of an idle connection. Floods of frames that ask for nothing run through it
// within seconds.
const (
	// http2Window is what a device may have sent of bodies that were not read yet, over all streams.
	http2Window       = 1 << 20
	http2StreamWindow = 256 << 10
	allowanceBytes    = 256<<10 + http2Window
	maxAllowanceBytes = 4 << 20 // a connection that was good for hours is not owed a flood
	requestBytes      = 64 << 10
	pieceBytes        = 32                       // around a small piece of a body: frame, record
	byteTime          = int64(time.Second) >> 10 // in which time itself earns a byte

	allowanceResets    = 200
	maxAllowanceResets = 1000
	resetTime          = int64(time.Second)
	rapidReset         = time.Second // who waits longer has lost patience with a server, and does no harm
)

// An allowance is the unproductive bytes that a connection has left, counted below TLS, where nothing escapes, and
// the requests that it may still take back unanswered. Whatever it achieves earns more: requests that get an answer,
// bodies that are read, answers that are sent. Below zero the connection is cut: rapid resets, empty frames, pings,
// settings and priorities without end do no harm one by one, and have no other limit.
type allowance struct {
	mu     sync.Mutex // guards the fields below
	bytes  int64
	open   int64 // requests under way: each is trusted with requestBytes, until it is seen what it was
	resets int64
	// Until when time has earned bytes and resets, in ticks.
	bytesAt, resetsAt int64
}

func newAllowance(now int64) *allowance {
	return &allowance{bytes: allowanceBytes, resets: allowanceResets, bytesAt: now, resetsAt: now}
}

// spend takes n bytes that came. It reports false when the connection must end.
func (a *allowance) spend(n int, now int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passLocked(now)
	a.bytes -= int64(n)
	return a.bytes+a.open*requestBytes >= 0
}

// earn gives bytes back.
func (a *allowance) earn(n int) {
	a.mu.Lock()
	a.earnLocked(int64(n))
	a.mu.Unlock()
}

func (a *allowance) earnLocked(n int64) { a.bytes = min(a.bytes+n, maxAllowanceBytes) }

// read is a piece of a request body that somebody wanted.
func (a *allowance) read(n int) { a.earn(2*n + pieceBytes) }

// sent is a piece of an answer: what the device sends meanwhile is about it.
func (a *allowance) sent(n int) { a.earn(n / 8) }

// begin is a request that is to be judged.
func (a *allowance) begin() {
	a.mu.Lock()
	a.open++
	a.mu.Unlock()
}

// An outcome is what became of a request, as far as it says something of the device.
type outcome uint8

const (
	outcomeRefused  outcome = iota // by us
	outcomeAnswered                // a known device got the beginning of an answer at least
	outcomeReset                   // the device took it back before, within rapidReset
)

// end follows begin. Of the body, unread bytes may have come for nothing, because the answer did not need them: that
// is the answer's doing. It reports false when the connection must end.
func (a *allowance) end(o outcome, unread int64, now int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passLocked(now)
	a.open--
	if o != outcomeReset {
		a.earnLocked(min(unread, http2StreamWindow))
	}
	switch o {
	case outcomeAnswered:
		a.earnLocked(requestBytes)
		a.resets = min(a.resets+1, maxAllowanceResets)
	case outcomeReset:
		a.resets--
	}
	return a.resets >= 0
}

// passLocked lets time earn: who only waits and pings must never be cut, nor who gives up a long poll now and then.
func (a *allowance) passLocked(now int64) {
	if n := (now - a.bytesAt) / byteTime; n > 0 {
		a.bytesAt += n * byteTime
		a.earnLocked(n)
	}
	if n := (now - a.resetsAt) / resetTime; n > 0 {
		a.resetsAt += n * resetTime
		a.resets = min(a.resets+n, maxAllowanceResets)
	}
}

var errFlood = errors.New("device sends without end and asks for nothing")

// Read counts what is sent in a handshake, and by an HTTP/2 device, below TLS.
func (c *deviceConn) Read(p []byte) (int, error) {
	if c.probing {
		c.records.note(nil)
		return 0, errNotYet
	}
	if c.readWithin > 0 {
		c.beforeRead()
	}
	n, err := c.socket.Read(p)
	if c.allowance == nil {
		c.records.note(p[:n])
	}
	if c.handshakeLeft > 0 {
		if c.peek != nil {
			c.peek.note(p[:n])
		}
		if c.handshakeLeft -= n; c.handshakeLeft <= 0 {
			return 0, errLargeHandshake
		}
		return n, err
	}
	if c.allowance != nil && n > 0 && !c.allowance.spend(n, c.s.ticks()) {
		c.cut(cutBytes)
		return 0, errFlood
	}
	return n, err
}

// settle closes the account of one request.
func (c *deviceConn) settle(o outcome, unread int64) {
	if !c.allowance.end(o, unread, c.s.ticks()) {
		c.cut(cutResets)
	}
}

// Why an HTTP/2 connection is cut, as a metric's label.
const (
	cutStranger = "stranger" // no request of a known device in time
	cutBytes    = "bytes"    // frames that ask for nothing
	cutResets   = "resets"   // requests taken back
)

// cut ends the connection for what its device did.
func (c *deviceConn) cut(reason string) {
	if c.state.Load() == connClosed {
		return // and so its requests ended
	}
	_ = c.Close()
	c.s.metrics.cut.WithLabelValues(reason).Inc()
	if reason == cutStranger || !c.s.refusals.may(c.source.addr, causeway.CodeTooManyRequests) {
		return
	}
	device := ""
	if st := c.standing.Load(); st != nil && st.device != nil {
		device = shown(string(st.device.ID))
	}
	c.s.log.Warn("HTTP/2 connection cut", "source", c.address, "device_id", device, "reason", reason,
		"hint", "no ordinary client does this; if the device goes on, block it")
}
