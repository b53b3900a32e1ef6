package channel

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

// inboundBulk is what a request at the connection point knows of the bulk connection that its bodies move to. Body
// and answer share one, and may be on two goroutines.
type inboundBulk struct {
	pool *Bulk // nil without bulk connections

	mu   sync.Mutex // guards the field below
	conn *bulkConn  // lent to the stream

	// Owned by who writes the answer.
	answer *bulkConn // conn, once the answer moved
	sent   int       // bytes since the answer began, or since a connection was asked for in vain
	cut    bool      // the exchange was reset

	// Owned by who reads the body.
	offered  bool
	received int // bytes since the body began, or since a connection was asked for in vain
	body     bulkReader
}

// lend returns the stream's bulk connection: the one it has, or one that is at hand, or nil.
func (in *Inbound) lend() *bulkConn {
	k := &in.bulk
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		return k.conn
	}
	c := k.pool.take(in.stream.link, in.stream.id)
	if c == nil {
		return nil
	}
	if in.stream.ride(c) != nil { // the stream has ended
		c.Interrupt()
		return nil
	}
	k.conn = c
	return c
}

// moveAnswer moves the rest of the answer to a bulk connection once it is large, if one is at hand.
func (in *Inbound) moveAnswer() error {
	k := &in.bulk
	if k.answer != nil || k.pool == nil || k.sent < bulkAfter {
		return nil
	}
	k.sent = 0
	c := in.lend()
	if c == nil {
		return nil
	}
	k.answer = c
	return in.move(frameMove, c)
}

// Bulk reports whether the rest of the answer goes over a connection of its own. It is for who sends the answer.
func (in *Inbound) Bulk() bool { return in.bulk.answer != nil }

// offerBulk offers the gateway a bulk connection for the rest of a body that is large, if one is at hand.
func (in *Inbound) offerBulk() (bool, error) {
	k := &in.bulk
	if k.offered || k.pool == nil || in.bodyBytes >= 0 && in.bodyBytes <= bulkAfter || in.bodyBytes < 0 && k.received < bulkAfter {
		return false, nil
	}
	k.received = 0
	c := in.lend()
	if c == nil {
		return false, nil
	}
	k.offered = true
	return true, in.move(frameOffer, c)
}

func (in *Inbound) move(t frameType, c *bulkConn) error {
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], c.number)
	_, err := in.stream.link.write(frameHeader{stream: in.stream.id, typ: t}, number[:], nil, nil)
	return err
}

// readBulk reads the body from the bulk connection that it moved to.
func (b *inboundBody) readBulk(p []byte) (int, error) {
	in := b.in
	n, err := in.bulk.body.Read(p)
	switch {
	case err == io.EOF:
		b.eof, b.trailers = true, in.bulk.body.trailers
	case err != nil:
		err = in.bulkLost()
	}
	return n, err
}

// bulkLost ends a stream whose bulk connection ended under it, and returns why. When the gateway closed it, it has said
// or will say so itself; what we say then comes too late to matter.
func (in *Inbound) bulkLost() error {
	s := in.stream
	if cause := s.ending(); cause != nil {
		return cause
	}
	s.sendReset(causeway.CodeChannelLost, Final)
	s.end(s.link, s.id, &streamReset{lost: true})
	return s.ending()
}

// sendBulk sends more of an answer that moved.
func (in *Inbound) sendBulk(p []byte, last bool) error {
	if in.bulk.answer.send(in.stream.id, p, last) != nil {
		return in.bulkLost()
	}
	return nil
}

// moved goes on with the body where the gateway moved it.
func (b *inboundBody) moved(number uint32) error {
	k := &b.in.bulk
	k.mu.Lock()
	c := k.conn
	k.mu.Unlock()
	if c == nil || !k.offered || c.number != number {
		return violation("body of stream %d moves to bulk connection %d, which was not offered", b.in.stream.id, number)
	}
	k.body = bulkReader{b: c, stream: b.in.stream.id}
	return nil
}

// settleBulk gives the bulk connection back. The stream is not over before the gateway has taken what moved to it:
// until then its end still ends the connection. A gateway that never says so loses it.
func (in *Inbound) settleBulk() {
	k := &in.bulk
	c := k.conn // nobody else is left
	if c == nil {
		return
	}
	freed := false
	switch {
	case k.cut, k.offered && !in.body.eof:
		c.Interrupt()
	case k.answer == nil && k.body.b == nil: // nothing moved
		freed = true
	default:
		late := time.NewTimer(freePatience)
		defer late.Stop()
		select {
		case <-c.free:
			freed = true
		case <-c.ended:
		case <-late.C:
			c.Interrupt()
		}
	}
	in.stream.alight() // first: from then on it serves another
	if freed {
		k.pool.freed(c)
	}
}
