package channel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
)

// TestAGatewayThatGrantsNothingGetsItsStreamsEnded has a gateway ask for a large answer, take the first window and no more.
func TestAGatewayThatGrantsNothingGetsItsStreamsEnded(t *testing.T) {
	withoutPools(t)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() { _, _ = io.Copy(io.Discard, far) })
		l := newLink(near, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour)
		defer l.fail(net.ErrClosed)
		st := newStream(l, 1, requestWindow, answerWindow)
		if err := l.add(1, st); err != nil {
			t.Fatal(err)
		}
		in := newInbound(t.Context(), st, nil, &openHeader{}, getBuffer(openHeaderBytes), true)
		var server serverStub
		began := time.Now()
		in.run(handlerFunc(func(in *Inbound) {
			in.OnGone(&server)
			_ = in.Answer([]byte(okHead), nil, false)
			if err := in.Data(make([]byte, 1<<20), true); !errors.Is(err, errNoCredit) {
				t.Errorf("Data: %v", err)
			}
		}))
		if took := time.Since(began); took != bulkPatience {
			t.Errorf("the stream was held for %v, want %v", took, bulkPatience)
		}
		if !server.closed.Load() || l.inFlight() != 0 {
			t.Errorf("server's connection closed: %v, %d streams", server.closed.Load(), l.inFlight())
		}
	})
}

// TestASlowDeviceKeepsItsAnswer has a gateway grant what a device reads at a kilobyte a second.
func TestASlowDeviceKeepsItsAnswer(t *testing.T) {
	withoutPools(t)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		defer work.Wait()
		defer cancel()
		work.Go(func() { _, _ = io.Copy(io.Discard, far) })
		l := newLink(near, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour)
		defer l.fail(net.ErrClosed)
		st := newStream(l, 1, requestWindow, maxWindow)
		if err := l.add(1, st); err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-time.After(maxWindow / 4 / 1024 * time.Second):
					_ = st.addCredit(l, 1, maxWindow/4)
				case <-ctx.Done():
				}
			}
		})
		in := newInbound(t.Context(), st, nil, &openHeader{}, getBuffer(openHeaderBytes), true)
		in.run(handlerFunc(func(in *Inbound) {
			_ = in.Answer([]byte(okHead), nil, false)
			if err := in.Data(make([]byte, 2*maxWindow), true); err != nil {
				t.Errorf("Data: %v", err)
			}
		}))
	})
}

// withoutPools keeps streams out of a bubble that were made outside, and the other way round: a channel belongs to where it was
// made. What two collections find in a pool they throw away.
func withoutPools(t *testing.T) {
	empty := func() { runtime.GC(); runtime.GC() }
	empty()
	t.Cleanup(empty)
}

type serverStub struct{ closed atomic.Bool }

func (s *serverStub) Interrupt() { s.closed.Store(true) }

// TestAGatewayThatIgnoresMaxInFlightIsRefused has two sessions of a set, and a gateway that sends all it can.
func TestAGatewayThatIgnoresMaxInFlightIsRefused(t *testing.T) {
	const most = 8
	quota := NewQuota(most)
	hold := make(chan struct{})
	var running, highest atomic.Int64
	b := newBed(t, PoolConfig{})
	handler := func(in *Inbound) {
		n := running.Add(1)
		for old := highest.Load(); n > old && !highest.CompareAndSwap(old, n); old = highest.Load() {
		}
		<-hold
		running.Add(-1)
		_ = in.Answer([]byte(okHead), nil, true)
	}
	b.join("cp-1", handler, SessionConfig{Quota: quota}) // the hello says nothing of a bound, so the gateway sends them all
	b.join("cp-2", handler, SessionConfig{Quota: quota})
	var answered, refused atomic.Int64
	var devices sync.WaitGroup
	const requests = 400
	for range requests {
		devices.Go(func() {
			switch err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); {
			case err == nil:
				answered.Add(1)
			case causeway.CodeOf(err) == causeway.CodeConnectorOverloaded:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	waitFor(t, "refusals", func() bool { return refused.Load() == requests-quota.most })
	close(hold)
	devices.Wait()
	if highest.Load() > quota.most || answered.Load() != quota.most {
		t.Errorf("%d at a time and %d answered, want at most %d", highest.Load(), answered.Load(), quota.most)
	}
	waitFor(t, "end of the requests", func() bool { return quota.used.Load() == 0 })
}
