package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// instance is one gateway instance as the balancer sees it.
type instance struct {
	slot   causeway.Slot
	id     causeway.InstanceID
	sender *handoff.Sender
	health *port         // on loopback; what it accepts is handed over, so the probe tests the hand-over
	done   chan struct{} // closed by close
	once   sync.Once

	healthy atomic.Bool
	gone    atomic.Bool // closed, by whomever
	removed atomic.Bool // … by the supervisor

	public, channel, busy atomic.Uint64 // connections handed over, and found the queue full

	origins origins
	pace    bucket // of what it gives back; of the sender's Run alone

	mu        sync.Mutex // guards the fields below
	lastProbe time.Time
	probeErr  error
}

// newInstance takes the sender over.
func newInstance(ctx context.Context, slot causeway.Slot, id causeway.InstanceID, sender *handoff.Sender) (*instance, error) {
	health, err := listen(ctx, "127.0.0.1", 0)
	if err != nil {
		sender.Close()
		return nil, fmt.Errorf("health port: %w", err)
	}
	return &instance{slot: slot, id: id, sender: sender, health: health, done: make(chan struct{})}, nil
}

// close takes the instance out of service. What it took stays with it.
func (in *instance) close() {
	in.once.Do(func() {
		in.gone.Store(true)
		in.healthy.Store(false)
		close(in.done)
		in.health.close()
		in.sender.Close()
	})
}

// remove closes an instance that nobody wants here any more.
func (in *instance) remove() {
	in.removed.Store(true)
	in.close()
}

// hand passes the connection on and reports whether the instance has it now. Otherwise it stays the caller's. It comes
// back when the instance turns out not to have taken it; back owns it then.
func (in *instance) hand(tag handoff.Tag, fd int, back func(fd int)) bool {
	err := in.sender.Send(tag, fd, back)
	switch {
	case err == nil:
	case errors.Is(err, handoff.ErrGone):
		in.close()
		return false
	default:
		in.busy.Add(1)
		return false
	}
	switch tag {
	case handoff.Public, handoff.Again:
		in.public.Add(1)
	case handoff.Channel:
		in.channel.Add(1)
	}
	return true
}

// watch notices the instance's death before a connection does, and sees to what the instance did not take. The slot then
// waits for its successor.
func (in *instance) watch(ctx context.Context, log *slog.Logger) {
	err := in.sender.Run(ctx)
	in.close()
	if err != nil && !in.removed.Load() {
		log.Warn("instance is gone", "slot", int(in.slot), "instance", string(in.id))
	}
}
