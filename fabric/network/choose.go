package network

import (
	"hash/maphash"
	"net/netip"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// seed makes the hash unforeseeable: nobody outside can pick source ports that all reach one instance.
var seed = maphash.MakeSeed()

// tuple is what a flow is hashed by. The protocol is always TCP.
type tuple struct{ source, destination netip.AddrPort }

// balance hands a connection to the healthy instance that its 5-tuple points at, or to the next one if that instance
// takes no more. With none left it is reset, so that the client learns at once.
func (b *Balancer) balance(fd int, f Flow) {
	b.spread(fd, handoff.Public, tuple{f.Source, f.Destination}, [causeway.MaxSlots]bool{})
}

// spread is balance among the instances that were not tried yet. What an instance gives back, because it stops or died
// before it took the connection, goes to the next.
func (b *Balancer) spread(fd int, tag handoff.Tag, t tuple, tried [causeway.MaxSlots]bool) {
	hash := maphash.Comparable(seed, t)
	for {
		in := b.choose(hash, &tried)
		if in == nil {
			b.refuse(fd)
			return
		}
		tried[in.slot] = true
		in.origins.note(t.source, t.destination)
		if in.hand(tag, fd, func(fd int) { b.spread(fd, handoff.Again, t, tried) }) {
			return
		}
	}
}

// refuse resets a connection that no instance takes.
func (b *Balancer) refuse(fd int) {
	b.counters.refused.Add(1)
	reset(fd)
}

// choose returns the untried healthy instance with the highest weight for this hash (rendezvous hashing): when one
// comes or goes, only its own share of the flows moves. The weight hangs on the slot, so a restarted instance gets
// the flows of the one before.
func (b *Balancer) choose(hash uint64, tried *[causeway.MaxSlots]bool) (best *instance) {
	backends := b.backends.Load()
	if backends == nil {
		return nil
	}
	var highest uint64
	for _, in := range *backends {
		if tried[in.slot] || !in.healthy.Load() {
			continue
		}
		if w := mix(hash ^ mix(uint64(in.slot)+1)); best == nil || w > highest {
			best, highest = in, w
		}
	}
	return best
}

// mix is the finaliser of splitmix64: every input bit changes half of the output bits.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// translate is inbound NAT: to this instance whatever its health, or to nobody.
func (b *Balancer) translate(in *instance, fd int) {
	if !in.hand(handoff.Channel, fd, b.refuse) {
		b.refuse(fd)
	}
}
