package network

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// forward takes a connection that an instance gives back, because it came on the rule's port and is for the channel of a
// slot. What becomes of it is what inbound NAT would have made of it: the same question to Allow, and the instance that is
// in the slot now, whatever its health. The giver is not trusted: it has a pace, and its word is no address.
func (b *Balancer) forward(giver *instance, fd int, f handoff.Forward) {
	n := causeway.Slot(f.Slot)
	in := b.current(n)
	if in == nil || !giver.pace.take(time.Now()) {
		b.refuse(fd)
		return
	}
	from := source(fd, f)
	to, ok := giver.origins.take(from)
	if !ok || b.Allow != nil && !b.Allow(Flow{Slot: n, Source: from, Destination: to}) {
		b.counters.denied.Add(1)
		reset(fd)
		return
	}
	switch err := in.sender.SendForward(fd, f, b.refuse); {
	case err == nil:
		in.channel.Add(1)
		return
	case errors.Is(err, handoff.ErrGone):
		in.close()
	default:
		in.busy.Add(1)
	}
	b.refuse(fd)
}

// current returns the instance in a slot, nil when there is none.
func (b *Balancer) current(n causeway.Slot) *instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !n.Valid() || b.slots[n] == nil {
		return nil
	}
	return b.slots[n].current.Load()
}

// source is who is at the other end: as the connection knows it, or as the instance says that holds the other end of it.
func source(fd int, f handoff.Forward) netip.AddrPort {
	if f.Source.IsValid() {
		return f.Source
	}
	sa, err := unix.Getpeername(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}
