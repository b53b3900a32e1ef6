package channel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A bulkSet holds the bulk connections of one channel set at the gateway.
type bulkSet struct {
	mu       sync.Mutex // guards the fields below
	conns    map[uint32]*bulkConn
	bytesIn  uint64 // of connections that are gone
	bytesOut uint64
}

func (s *bulkSet) add(b *bulkConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.conns) >= maxBulkConns:
		return causeway.Refuse(causeway.CodeOverloaded, "the channel set has %d bulk connections already", len(s.conns))
	case s.conns[b.number] != nil:
		return causeway.Refuse(causeway.CodeBadRequest, "the channel set has a bulk connection %d already", b.number)
	}
	if s.conns == nil {
		s.conns = map[uint32]*bulkConn{}
	}
	s.conns[b.number] = b
	return nil
}

func (s *bulkSet) remove(b *bulkConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, b.number)
	s.bytesIn += b.bytesIn.Load()
	s.bytesOut += b.bytesOut.Load()
}

func (s *bulkSet) find(number uint32) *bulkConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[number]
}

// recheck judges every connection again and ends those that are no longer admitted.
func (s *bulkSet) recheck(k Gatekeeper) {
	for _, b := range s.all() {
		if _, err := b.from.judge(k, b.hello); err != nil {
			b.fail(err)
		}
	}
}

func (s *bulkSet) all() []*bulkConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.conns))
}

// closeAll ends every connection.
func (s *bulkSet) closeAll(err error) {
	for _, b := range s.all() {
		b.fail(err)
	}
}

// figures counts the connections there are, those in use, and the bytes of all there were.
func (s *bulkSet) figures() (open, used int, in, out uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out = s.bytesIn, s.bytesOut
	for _, b := range s.conns {
		in += b.bytesIn.Load()
		out += b.bytesOut.Load()
		if b.lent() {
			used++
		}
	}
	return len(s.conns), used, in, out
}

// serveBulk runs a bulk connection that was admitted, from its welcome to its end.
func (p *Pool) serveBulk(ctx context.Context, l *link, h Hello, w Welcome, checked uint64) error {
	b := newBulkConn(l, h.Bulk)
	b.hello = h
	set, err := p.joinBulk(b, h)
	if err != nil {
		l.refuse(err)
		l.fail(err)
		return err
	}
	defer set.bulk.remove(b)
	if err := p.rejudge(l, h, checked); err != nil {
		b.fail(err)
		return err
	}
	if err := errors.Join(l.conn.SetReadDeadline(time.Time{}), l.sendJSON(frameWelcome, w)); err != nil {
		l.fail(err)
		return err
	}
	if err = b.run(ctx, nil); refused(err) || errors.Is(err, errProtocol) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBulkEnded, err)
}

// joinBulk adds a bulk connection to the channel set it was dialled for.
func (p *Pool) joinBulk(b *bulkConn, h Hello) (*channelSet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := p.sets[h.ConnectionPoint]
	if set == nil || !set.hasLocked(h.Set) {
		return nil, causeway.Refuse(causeway.CodeNoConnectionPoint, "a bulk connection for channel set %q, which is not here", h.Set)
	}
	return set, set.bulk.add(b)
}

// hasLocked reports whether one of the set's request connections goes by name.
func (s *channelSet) hasLocked(name string) bool {
	for _, l := range s.all {
		if l.hello.Set == name {
			return true
		}
	}
	return false
}
