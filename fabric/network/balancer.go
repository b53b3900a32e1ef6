package network

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// A Balancer spreads connections over instances. Set the fields before Listen or Run; do not change them after.
type Balancer struct {
	// Address is the front end's IP address, IPv4 or IPv6; an unspecified one means all of the machine's. Required.
	Address string
	// Port is the front-end port of the rule; zero means 443. A negative one asks for any free port (tests).
	Port int
	// NATPortBase is the front-end port of slot 0's inbound NAT rule; zero means causeway.ChannelPortBase. A negative
	// one asks for any free ports (tests).
	NATPortBase int
	// Probe says how the health of instances is found out.
	Probe Probe
	// Allow is asked before a connection is handed over, as a network security group would be; nil allows all. What
	// it refuses is reset. It must not block.
	Allow func(Flow) bool
	// Control is the balancer's end of the control socket; Run serves it, closes it and ends with it. nil means none.
	Control *os.File
	// Logger may be nil, for slog.Default().
	Logger *slog.Logger

	counters counters

	mu       sync.Mutex // guards the fields below
	rule     *port
	slots    [causeway.MaxSlots]*slot
	launch   func(func(context.Context)) // starts a goroutine that Run waits for; nil unless Run is running
	finished bool

	backends atomic.Pointer[[]*instance] // what the rule chooses from; replaced, never changed
}

// A Flow is one connection that asks to be let in.
type Flow struct {
	Slot        causeway.Slot // of the inbound NAT rule; -1 for the load-balancing rule
	Source      netip.AddrPort
	Destination netip.AddrPort
}

// slot is one place for an instance: its NAT port stays when the instance is replaced.
type slot struct {
	nat     *port
	current atomic.Pointer[instance]
}

// Listen binds the rule's port, so that a process may give up the privilege for it before Run. Run calls it if
// nobody else did.
func (b *Balancer) Listen(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rule != nil {
		return nil
	}
	if err := b.Probe.check(); err != nil {
		return err
	}
	p, err := b.listen(ctx, cmp.Or(b.Port, causeway.HTTPSPort))
	b.rule = p
	return err
}

func (b *Balancer) listen(ctx context.Context, number int) (*port, error) {
	p, err := listen(ctx, b.Address, number)
	if err != nil {
		return nil, fmt.Errorf("balancer: %w", err)
	}
	return p, nil
}

// Run serves until ctx ends or the supervisor's end of Control is closed. When it returns, everything it started is
// gone; connections that were handed over live on.
func (b *Balancer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer b.finish()
	defer cancel()
	if err := b.Listen(ctx); err != nil {
		return err
	}
	launch := func(f func(context.Context)) { running.Go(func() { f(ctx) }) }
	b.begin(launch)
	b.log().Info("balancer listens", "address", b.rule.addr.String())
	if b.Control == nil {
		<-ctx.Done()
		return nil
	}
	return b.serveControl(ctx, b.Control)
}

// begin starts what was added before Run.
func (b *Balancer) begin(launch func(func(context.Context))) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.launch = launch
	launch(func(ctx context.Context) { b.frontEnd(ctx, b.rule, -1, b.balance) })
	for n, s := range b.slots {
		if s != nil {
			b.launchSlotLocked(causeway.Slot(n), s)
			b.launchInstanceLocked(s.current.Load())
		}
	}
}

// finish closes what Run holds.
func (b *Balancer) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished, b.launch = true, nil
	if b.rule != nil {
		b.rule.close()
	}
	for n, s := range b.slots {
		if s != nil {
			b.dropLocked(causeway.Slot(n))
		}
	}
}

// Add makes id the instance of a slot, in place of the one that was there, and hands connections over through end,
// which it takes over and closes in every case. The instance gets public connections once its probe succeeds,
// channel connections at once. It returns the channel port's address.
func (b *Balancer) Add(ctx context.Context, n causeway.Slot, id causeway.InstanceID, end *os.File) (channel netip.AddrPort, err error) {
	sender, err := handoff.NewSender(end)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("add instance %s: %w", id, err)
	}
	if !n.Valid() {
		sender.Close()
		return netip.AddrPort{}, fmt.Errorf("add instance %s: no slot %d", id, n)
	}
	in, err := newInstance(ctx, n, id, sender)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("add instance %s: %w", id, err)
	}
	sender.Forwarded = func(fd int, f handoff.Forward) { b.forward(in, fd, f) }
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		in.close()
		return netip.AddrPort{}, fmt.Errorf("add instance %s: the balancer has stopped", id)
	}
	s := b.slots[n]
	if s == nil {
		nat, err := b.listenNAT(ctx, n)
		if err != nil {
			in.close()
			return netip.AddrPort{}, fmt.Errorf("add instance %s: %w", id, err)
		}
		s = &slot{nat: nat}
		s.current.Store(in)
		b.slots[n] = s
		b.launchSlotLocked(n, s)
	} else {
		s.current.Swap(in).remove()
	}
	b.launchInstanceLocked(in)
	b.publishLocked()
	b.log().Info("instance added", "slot", int(n), "instance", string(id), "channel", s.nat.addr.String(), "health", in.health.addr.String())
	return s.nat.addr, nil
}

func (b *Balancer) listenNAT(ctx context.Context, n causeway.Slot) (*port, error) {
	base := cmp.Or(b.NATPortBase, causeway.ChannelPortBase)
	if base < 0 {
		return b.listen(ctx, -1)
	}
	return b.listen(ctx, base+int(n))
}

// Remove takes the instance out of its slot. Connections that it has live on. It is causeway.ErrNotFound if another
// instance is there by now.
func (b *Balancer) Remove(n causeway.Slot, id causeway.InstanceID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !n.Valid() || b.slots[n] == nil || b.slots[n].current.Load().id != id {
		return fmt.Errorf("remove instance %s from slot %d: %w", id, n, causeway.ErrNotFound)
	}
	b.dropLocked(n)
	b.publishLocked()
	b.log().Info("instance removed", "slot", int(n), "instance", string(id))
	return nil
}

func (b *Balancer) dropLocked(n causeway.Slot) {
	s := b.slots[n]
	b.slots[n] = nil
	s.nat.close()
	s.current.Load().remove()
}

func (b *Balancer) launchSlotLocked(n causeway.Slot, s *slot) {
	if b.launch == nil {
		return
	}
	b.launch(func(ctx context.Context) {
		b.frontEnd(ctx, s.nat, n, func(fd int, _ Flow) { b.translate(s.current.Load(), fd) })
	})
}

func (b *Balancer) launchInstanceLocked(in *instance) {
	if b.launch == nil {
		return
	}
	b.launch(func(ctx context.Context) { in.watch(ctx, b.log()) })
	b.launch(func(ctx context.Context) { in.probe(ctx, b.Probe, b.log()) })
	b.launch(func(ctx context.Context) {
		b.accept(ctx, in.health, func(fd int, _ netip.AddrPort) {
			if !in.hand(handoff.Health, fd, reset) {
				reset(fd)
			}
		})
	})
}

// frontEnd serves one port that strangers reach. n is the slot of the NAT rule, or -1.
func (b *Balancer) frontEnd(ctx context.Context, p *port, n causeway.Slot, deliver func(fd int, f Flow)) {
	b.accept(ctx, p, func(fd int, from netip.AddrPort) {
		b.counters.accepted.Add(1)
		f := Flow{Slot: n, Source: from, Destination: destination(fd, p.addr)}
		if b.Allow != nil && !b.Allow(f) {
			b.counters.denied.Add(1)
			reset(fd)
			return
		}
		deliver(fd, f)
	})
}

// publishLocked makes the instances known to the rule.
func (b *Balancer) publishLocked() {
	backends := make([]*instance, 0, len(b.slots))
	for _, s := range b.slots {
		if s != nil {
			backends = append(backends, s.current.Load())
		}
	}
	b.backends.Store(&backends)
}

// Addr returns the rule's address, the zero value before Listen.
func (b *Balancer) Addr() netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rule == nil {
		return netip.AddrPort{}
	}
	return b.rule.addr
}

func (b *Balancer) log() *slog.Logger {
	if b.Logger == nil {
		return slog.Default()
	}
	return b.Logger
}
