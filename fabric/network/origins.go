package network

import (
	"net/netip"
	"sync"
	"time"
)

// maxOrigins bounds what is kept of the connections handed to one instance. A connection for another instance is given
// back within a few seconds of its coming; one that is pushed out by then is refused, and dialled again.
const maxOrigins = 1 << 16

// origins are the latest connections that the rule handed to one instance. What the instance gives back must be one of
// them, or come through one: where a connection comes from is what the balancer saw, never the word of an instance.
type origins struct {
	mu           sync.Mutex                        // guards the fields below
	destinations map[netip.AddrPort]netip.AddrPort // by source
	order        []netip.AddrPort                  // a ring once it is full
	next         int
}

// note keeps a connection that the instance is about to get.
func (o *origins) note(source, destination netip.AddrPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.destinations == nil {
		o.destinations = map[netip.AddrPort]netip.AddrPort{}
	}
	if len(o.order) < maxOrigins {
		o.order = append(o.order, source)
	} else {
		delete(o.destinations, o.order[o.next])
		o.order[o.next] = source
		o.next = (o.next + 1) % maxOrigins
	}
	o.destinations[source] = destination
}

// take returns where the connection went, once.
func (o *origins) take(source netip.AddrPort) (destination netip.AddrPort, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	destination, ok = o.destinations[source]
	delete(o.destinations, source)
	return destination, ok
}

// How fast one instance may give connections back: about as fast as another would shake hands with them, so that what one
// passes on fills no queue of another that devices and the probe need too.
const (
	forwardsPerSecond = 150
	forwardsAtOnce    = 512
)

// A bucket is the pace of one instance. It belongs to one goroutine.
type bucket struct {
	used float64 // of forwardsAtOnce
	last time.Time
}

// take reports whether one more may go.
func (b *bucket) take(now time.Time) bool {
	b.used = max(0, b.used-now.Sub(b.last).Seconds()*forwardsPerSecond)
	b.last = now
	if b.used+1 > forwardsAtOnce {
		return false
	}
	b.used++
	return true
}
