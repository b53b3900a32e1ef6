package gateway

import (
	"net"
	"net/netip"
	"sync"
)

// maxSources bounds the source table beyond the sources that have connections open.
const maxSources = 1 << 16

// sources counts what each address of the internet has open, and slows down the ones that keep being refused.
// IPv6 is counted by /64, because one host has that many addresses.
type sources struct {
	now func() int64

	mu      sync.Mutex // guards the fields below
	total   int
	pending waitingRoom // handshakes not finished, over all sources
	byAddr  map[netip.Addr]*source
}

// A source is one address.
type source struct {
	addr        netip.Addr
	connections int // guarded by sources.mu
	pending     int // guarded by sources.mu
	refusals    bucket
}

func newSources(now func() int64) *sources {
	return &sources{now: now, byAddr: make(map[netip.Addr]*source)}
}

// sourceAddr is the address by which a peer is counted.
func sourceAddr(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{} // tests over pipes: all one source
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

// shed says why a connection is not accepted.
type shed string

const (
	shedNot              shed = ""
	shedConnections      shed = "connections"
	shedSource           shed = "connections_of_source"
	shedHandshakes       shed = "handshakes"
	shedSourceHandshakes shed = "handshakes_of_source"
	shedLargeChains      shed = "large_chains"
)

// accept counts one more connection, with its handshake still to come, or says which limit forbids it. A connection
// that has to make room for it is closed.
func (t *sources) accept(addr netip.Addr, l *Limits, conn net.Conn) (*source, *place, shed) {
	s, p, out, why := t.admit(addr, l, conn)
	if out != nil {
		_ = out.Close()
	}
	return s, p, why
}

func (t *sources) admit(addr netip.Addr, l *Limits, conn net.Conn) (s *source, p *place, out net.Conn, why shed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total >= l.MaxConnections {
		return nil, nil, nil, shedConnections
	}
	s = t.byAddr[addr]
	if s == nil {
		if len(t.byAddr) >= maxSources+l.MaxConnections {
			t.sweepLocked()
		}
		if len(t.byAddr) >= maxSources+l.MaxConnections {
			return nil, nil, nil, shedConnections
		}
		s = &source{addr: addr}
	}
	switch {
	case s.connections >= l.MaxConnectionsPerSource:
		return nil, nil, nil, shedSource
	case s.pending >= l.MaxHandshakesPerSource:
		return nil, nil, nil, shedSourceHandshakes
	}
	if len(t.pending.places) >= l.MaxHandshakes {
		if out = t.pending.turnOut(s.pending); out == nil {
			return nil, nil, nil, shedHandshakes
		}
	}
	t.byAddr[addr] = s
	t.total++
	s.connections++
	return s, t.pending.enter(conn, &s.pending), out, shedNot
}

// established says that the handshake of a connection is over, well or not.
func (t *sources) established(p *place) {
	t.mu.Lock()
	t.pending.leave(p)
	t.mu.Unlock()
}

// closed undoes one accept after established.
func (t *sources) closed(s *source) {
	t.mu.Lock()
	t.total--
	s.connections--
	if s.connections == 0 && s.refusals.full(t.now()) {
		delete(t.byAddr, s.addr)
	}
	t.mu.Unlock()
}

// sweep forgets sources without connections whose refusals are long past.
func (t *sources) sweep() {
	t.mu.Lock()
	t.sweepLocked()
	t.mu.Unlock()
}

func (t *sources) sweepLocked() {
	now := t.now()
	for addr, s := range t.byAddr {
		if s.connections == 0 && s.refusals.full(now) {
			delete(t.byAddr, addr)
		}
	}
}

// open returns the connections open now and the handshakes among them.
func (t *sources) open() (connections, pending int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total, len(t.pending.places)
}
