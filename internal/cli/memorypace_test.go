package cli

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A heap stands in for Go's.
type heap struct {
	allocated, live atomic.Uint64
	percents        []int
	released        int
}

func (h *heap) pace() *gcPace {
	return &gcPace{
		read:    func() (uint64, uint64) { return h.allocated.Load(), h.live.Load() },
		set:     func(percent int) { h.percents = append(h.percents, percent) },
		release: func() { h.released++ },
	}
}

func TestTheHeapGrowsByWhatTwoSecondsBring(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name       string
		rate, live uint64
		want       int
	}{
		{"idle, small", 0, 4 * mib, 100},
		{"idle, nothing live yet", 1000, 0, mostGrowth},
		{"idle, many connections", 100 << 10, 100 * mib, leastGrowth},
		{"light load", 5 * mib, 20 * mib, 50},
		{"load on a small heap", 20 * mib, 8 * mib, mostGrowth},
		{"load on a large heap", 40 * mib, 80 * mib, 100},
		{"all the room there is", 200 * mib, 64 * mib, 200},
		{"more than that, but no more than Go's own", 400 * mib, 500 * mib, 100},
		{"a large heap that changes slowly", 20 * mib, 500 * mib, leastGrowth},
	} {
		if got := growth(float64(tt.rate), tt.live); got != tt.want {
			t.Errorf("%s: %d %%, want %d", tt.name, got, tt.want)
		}
	}
}

func TestThePaceFollowsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heap{}
		h.live.Store(24 << 20)
		h.allocated.Store(1 << 30) // what was before does not count
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.pace().run(ctx); close(done) }()
		synctest.Wait()
		seconds := func(n int, perSecond uint64) {
			for range n {
				h.allocated.Add(perSecond)
				time.Sleep(paceEvery)
				synctest.Wait()
			}
		}
		expect := func(when string, percent, changes, released int) {
			t.Helper()
			if n := len(h.percents); n != changes || h.percents[n-1] != percent || h.released != released {
				t.Errorf("%s: settings %v, %d releases; want %d changes up to %d, %d releases", when, h.percents, h.released, changes, percent, released)
			}
		}
		seconds(5, 1000)
		expect("at rest from the start", leastGrowth, 1, 0)
		seconds(10, 160<<20)
		expect("under load", mostGrowth, 2, 0)
		h.live.Add(h.live.Load() / 20)
		seconds(5, 150<<20)
		expect("under a load that varies", mostGrowth, 2, 0)
		for range 5 {
			h.live.Add(h.live.Load() / 4)
			seconds(1, 160<<20)
			expect("while what is live grows", leastGrowth, 3, 0)
		}
		h.live.Store(25 << 20)
		seconds(5, 160<<20)
		expect("when it has grown", mostGrowth, 4, 0)
		seconds(1, 1000)
		expect("a second without", leastGrowth, 5, 0)
		seconds(1, 1000)
		expect("two seconds without", leastGrowth, 5, 1)
		seconds(600, 1000)
		expect("ten minutes without", leastGrowth, 5, 1)
		seconds(1, 4<<20)
		seconds(5, 1000)
		expect("after a moment of little load", leastGrowth, 5, 1)
		stop()
		<-done
	})
}

func TestTheEnvironmentDecidesOnThePace(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		r := &roleProcess{app: &app{getenv: func(n string) string { return map[string]string{name: "50"}[n] }}}
		r.paceCollector(t.Context()) // returns at once, or the test hangs
	}
}

func TestGCPaceReadsTheRealHeap(t *testing.T) {
	p := newGCPace()
	before, _ := p.read()
	sink = make([]byte, 1<<20)
	p.release()
	if after, live := p.read(); after < before+1<<20 || live == 0 {
		t.Errorf("allocated %d and then %d, live %d", before, after, live)
	}
}

var sink []byte
