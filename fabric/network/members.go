package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// Members is the supervisor's list of running instances. It brings every instance and the balancer together, in
// whatever order they start and restart: each meeting gets a hand-over pair of its own.
type Members struct {
	Logger *slog.Logger // nil means slog.Default()

	mu      sync.Mutex // guards the fields below; held while the balancer is asked, so that orders keep their order
	running [causeway.MaxSlots]*member
	control *Control
}

type member struct {
	id      causeway.InstanceID
	attach  *os.File
	channel string
}

// InstanceStarted notes that an instance runs in a slot, in place of any other, and introduces it to the balancer if
// there is one. attach is the supervisor's end of its attach socket; Members takes it over. An error is the balancer's:
// the instance stays noted and is introduced to the next balancer.
func (m *Members) InstanceStarted(ctx context.Context, n causeway.Slot, id causeway.InstanceID, attach *os.File) error {
	if !n.Valid() {
		attach.Close()
		return fmt.Errorf("instance %s: no slot %d", id, n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.running[n]; old != nil {
		old.attach.Close()
	}
	m.running[n] = &member{id: id, attach: attach}
	if m.control == nil {
		return nil
	}
	return m.introduceLocked(ctx, n)
}

// InstanceStopped takes an instance out of its slot, here and in the balancer, unless another is there by now.
func (m *Members) InstanceStopped(ctx context.Context, n causeway.Slot, id causeway.InstanceID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !n.Valid() || m.running[n] == nil || m.running[n].id != id {
		return nil
	}
	m.running[n].attach.Close()
	m.running[n] = nil
	if m.control == nil {
		return nil
	}
	if err := m.control.Remove(ctx, n, id); err != nil && !errors.Is(err, causeway.ErrNotFound) {
		return err
	}
	return nil
}

// BalancerStarted introduces every running instance to a new balancer. control is the supervisor's end of its control
// socket; Members takes it over. The balancer need not listen yet, but must do so within seconds.
func (m *Members) BalancerStarted(ctx context.Context, control *os.File) error {
	c, err := NewControl(control)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closeControlLocked()
	m.control = c
	var errs []error
	for n, member := range m.running {
		if member != nil {
			errs = append(errs, m.introduceLocked(ctx, causeway.Slot(n)))
		}
	}
	return errors.Join(errs...)
}

// BalancerStopped forgets the balancer. Instances keep what it handed over.
func (m *Members) BalancerStopped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closeControlLocked()
}

// mendInterval is how often Run looks for instances that the balancer lost.
const mendInterval = time.Second

// Run brings together again who lost each other although both run, until ctx ends: an instance that was out of
// descriptors when it should have taken the hand-over end, or a channel port that was taken for a while.
func (m *Members) Run(ctx context.Context) error {
	t := time.NewTicker(mendInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			m.mend(ctx)
		}
	}
}

// mend introduces every instance that the balancer does not know or holds for gone. If it is gone, that fails, and the
// supervisor will say so soon.
func (m *Members) mend(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.control == nil {
		return
	}
	status, err := m.control.Status(ctx)
	if err != nil {
		return // hung or gone: the supervisor's business as well
	}
	var known [causeway.MaxSlots]bool
	for _, in := range status.Instances {
		member := m.running[in.Slot]
		known[in.Slot] = member != nil && member.id == in.Instance && !in.Gone
	}
	for n, member := range m.running {
		if member == nil || known[n] {
			continue
		}
		if err := m.introduceLocked(ctx, causeway.Slot(n)); err != nil && !errors.Is(err, handoff.ErrGone) {
			m.log().Warn("instance and balancer do not meet", "slot", n, "instance", string(member.id), "err", err)
		}
	}
}

// Status asks the balancer; it is causeway.ErrNotRunning when there is none.
func (m *Members) Status(ctx context.Context) (Status, error) {
	m.mu.Lock()
	c := m.control
	m.mu.Unlock()
	if c == nil {
		return Status{}, fmt.Errorf("balancer: %w", causeway.ErrNotRunning)
	}
	return c.Status(ctx)
}

// ChannelAddress returns where inbound NAT reaches a slot, "" until the balancer has said so.
func (m *Members) ChannelAddress(n causeway.Slot) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !n.Valid() || m.running[n] == nil {
		return ""
	}
	return m.running[n].channel
}

// Close closes every socket, which tells balancer and instances that nobody looks after them any more.
func (m *Members) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closeControlLocked()
	for n, member := range m.running {
		if member != nil {
			member.attach.Close()
			m.running[n] = nil
		}
	}
}

// introduceLocked gives the instance one end of a new pair and the balancer the other.
func (m *Members) introduceLocked(ctx context.Context, n causeway.Slot) error {
	member := m.running[n]
	forInstance, forBalancer, err := handoff.Pair()
	if err != nil {
		return err
	}
	defer forInstance.Close()
	defer forBalancer.Close()
	// The instance first: the balancer may send at once.
	if err := handoff.Attach(member.attach, forInstance); err != nil {
		return fmt.Errorf("instance %s: %w", member.id, err)
	}
	channel, err := m.control.Add(ctx, n, member.id, forBalancer)
	if err != nil {
		return err
	}
	member.channel = channel
	m.log().Info("instance and balancer introduced", "slot", int(n), "instance", string(member.id), "channel", channel)
	return nil
}

func (m *Members) closeControlLocked() {
	if m.control != nil {
		m.control.Close()
		m.control = nil
	}
}

func (m *Members) log() *slog.Logger {
	if m.Logger == nil {
		return slog.Default()
	}
	return m.Logger
}
