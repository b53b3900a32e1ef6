package channel

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
)

// comes has a channel join the pool, over nothing.
func comes(t *testing.T, p *Pool) *gatewayLink {
	t.Helper()
	conn, _ := net.Pipe()
	l := &gatewayLink{link: newLink(conn, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour), hello: Hello{ConnectionPoint: "cp-1"}}
	if err := p.join(l); err != nil {
		t.Fatal(err)
	}
	return l
}

func goes(p *Pool, l *gatewayLink) {
	l.fail(net.ErrClosed)
	p.part(l)
}

func TestAWaitingRequestIsServedByTheFirstChannelBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Gatekeeper: &keeper{}})
		goes(p, comes(t, p))
		time.Sleep(roomOpen - time.Millisecond)
		began := time.Now()
		var waiters sync.WaitGroup
		for range 100 {
			waiters.Go(func() {
				l, _ := p.await(t.Context())
				if took := time.Since(began); l == nil || took != 700*time.Millisecond {
					t.Errorf("channel: %v, after %v", l != nil, took)
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		goes(p, comes(t, p)) // too short a visit for anybody who looks up after it
		synctest.Wait()
		time.Sleep(400 * time.Millisecond)
		l := comes(t, p)
		waiters.Wait()
		if got := p.Room(); got != (RoomStatus{Served: 100}) {
			t.Errorf("%+v", got)
		}
		l.fail(net.ErrClosed)
	})
}

// TestTheWaitingRoomIsBounded is the attack of devices that fill it, and everything else that ends or refuses a wait.
func TestTheWaitingRoomIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Gatekeeper: &keeper{}})
		at := func(what string, want time.Duration, do func()) {
			t.Helper()
			began := time.Now()
			do()
			if took := time.Since(began); took != want {
				t.Errorf("%s took %v, want %v", what, took, want)
			}
		}
		wait := func(ctx context.Context) func() {
			return func() {
				if l, full := p.await(ctx); l != nil || full {
					t.Error("a channel out of nothing")
				}
			}
		}
		at("wait before there ever was a channel", 0, wait(t.Context()))
		l := comes(t, p)
		l.fail(net.ErrClosed) // lost, and the pool does not know yet
		at("wait for another", roomPatience, wait(t.Context()))
		p.part(l)
		at("wait in vain", roomPatience, wait(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), roomPatience/2)
		at("wait of a device that leaves", roomPatience/2, wait(ctx))
		cancel()
		time.Sleep(roomOpen)
		at("wait long after", 0, wait(t.Context()))

		goes(p, comes(t, p))
		var crowd sync.WaitGroup
		for range roomPlaces {
			crowd.Go(wait(t.Context()))
		}
		synctest.Wait()
		at("wait in a full room", 0, wait(t.Context()))
		if p.Room().Waiting != roomPlaces {
			t.Errorf("%+v", p.Room())
		}
		at("drain of a full room", 0, func() { p.Drain(t.Context()); crowd.Wait() })
		at("wait in an instance that drains", 0, wait(t.Context()))
		if got := p.Room(); got.Waiting != 0 || got.Served != 0 || got.Left != roomPlaces+3 {
			t.Errorf("%+v", got)
		}
	})
}

// TestARequestWhoseOnlyChannelIsLostGoesOverTheNext has the server answer the second time alone.
func TestARequestWhoseOnlyChannelIsLostGoesOverTheNext(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		b := newBed(t, PoolConfig{})
		got := make(chan struct{}, 8)
		hold := make(chan struct{})
		first := b.join("cp-1", func(*Inbound) { got <- struct{}{}; <-hold }, SessionConfig{})
		if !delivered {
			first.raw.Close()
			waitFor(t, "loss", func() bool { return !b.pool.Ready() })
		}
		done := make(chan error, 1)
		var r recorder
		go func() { done <- b.pool.Exchange(t.Context(), get("/"), &r) }()
		if delivered {
			<-got
			first.raw.Close()
		}
		waitFor(t, "the request in the waiting room", func() bool { return b.pool.Room().Waiting == 1 })
		b.join("cp-1", answer("second"), SessionConfig{})
		if err := <-done; err != nil || r.body.String() != "second" {
			t.Errorf("delivered %v: %v, %q", delivered, err, r.body.String())
		}
		close(hold)
	}
}

// TestNothingElseWaits: what may not be sent twice, what has a body, and what a connection point turned away.
func TestNothingElseWaits(t *testing.T) {
	b := newBed(t, PoolConfig{})
	var asked atomic.Int64
	p := b.join("cp-1", func(in *Inbound) {
		asked.Add(1)
		in.Refuse(causeway.CodeConnectorOverloaded, NotDelivered)
	}, SessionConfig{})
	if got := codeOf(t, b.pool.Exchange(t.Context(), get("/"), &recorder{})); got != causeway.CodeConnectorOverloaded || asked.Load() != 1 {
		t.Errorf("%v after %d tries", got, asked.Load())
	}
	p.raw.Close()
	waitFor(t, "loss", func() bool { return !b.pool.Ready() })
	unsafe, upgrade := get("/"), get("/")
	unsafe.Idempotent, upgrade.Upgrade = false, true
	for _, req := range []*Request{unsafe, upgrade} {
		if got := codeOf(t, b.pool.Exchange(t.Context(), req, &recorder{})); got != causeway.CodeNoConnectionPoint {
			t.Error(got)
		}
	}
	if got := b.pool.Room(); got != (RoomStatus{}) {
		t.Errorf("%+v", got)
	}
}
