package cli

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A fixed GOGC suits no gateway. Under load its live heap is small and what it allocates is garbage at once, so that the
// default collects several times a second, and empties the pools each time; at rest, when it holds thousands of idle
// connections, the same setting lets as much again lie about. So the setting follows what is allocated: the heap may
// grow by what two seconds bring, by at least leastGrowth and at most mostGrowth of what is live. While what is live grows
// itself, because devices connect, it is collected often: what stays would else come to lie scattered among the garbage
// of handshakes, and the holes between can be given to nobody. When a load is over, what it left is collected and given
// back at once. The memory limit stands over all of this.

const (
	paceEvery   = time.Second     // between two looks
	collectOnce = 2 * time.Second // in so much time there should be one collection
	leastGrowth = 30              // percent; GOGC
	mostGrowth  = 400             // percent; GOGC
	// roomToGrow is how much garbage is worth having. Beyond it, the heap grows as Go's default lets it at most.
	roomToGrow = 128 << 20
	// littleGarbage is not worth collecting.
	littleGarbage = 4 << 20
	// restRate is what a process allocates in a second that does nothing: pings, a scrape, a status.
	restRate = 256 << 10
	// restAfter is after how many such seconds a load is over.
	restAfter = 2
	// worthReleasing is what must have been allocated since the last time that memory was given back.
	worthReleasing = 8 << 20
)

// A gcPace adapts the collector to the load.
type gcPace struct {
	read    func() (allocated, live uint64) // bytes ever allocated, and those that the last collection left
	set     func(percent int)
	release func() // collects and gives memory back

	allocated uint64 // at the last look
	released  uint64 // allocated as of the last release
	high      uint64 // the most that was live, slowly forgotten
	percent   int    // in force
	quiet     int    // looks in a row that saw rest
}

func newGCPace() *gcPace {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	return &gcPace{
		read: func() (allocated, live uint64) {
			metrics.Read(samples)
			return samples[0].Value.Uint64(), samples[1].Value.Uint64()
		},
		set:     func(percent int) { debug.SetGCPercent(percent) },
		release: debug.FreeOSMemory,
	}
}

// run paces until ctx ends.
func (p *gcPace) run(ctx context.Context) {
	p.allocated, _ = p.read()
	p.released = p.allocated
	t := time.NewTicker(paceEvery)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			p.look(now.Sub(last))
			last = now
		}
	}
}

// look judges what happened since the last one, elapsed ago.
func (p *gcPace) look(elapsed time.Duration) {
	allocated, live := p.read()
	rate := float64(allocated-p.allocated) / max(elapsed, time.Millisecond).Seconds()
	p.allocated = allocated
	want := growth(rate, live)
	if p.high > 0 && live > p.high+max(p.high/16, littleGarbage) {
		want = growth(0, live)
	}
	p.high = max(live, p.high-p.high/64)
	// To change the setting stops the world for a moment: not for a little.
	if p.percent == 0 || want >= p.percent*3/2 || want <= p.percent*2/3 {
		p.percent = want
		p.set(want)
	}
	if rate > restRate {
		p.quiet = 0
		return
	}
	if p.quiet++; p.quiet >= restAfter && allocated-p.released >= max(worthReleasing, live/4) {
		p.released = allocated
		p.release()
	}
}

// growth returns by how many percent the live heap may grow between two collections, at that many bytes a second.
func growth(rate float64, live uint64) int {
	heap := float64(max(live, 1<<20))
	extra := max(littleGarbage, rate*collectOnce.Seconds())
	if extra > roomToGrow {
		extra = max(roomToGrow, min(extra, heap))
	}
	return int(math.Round(min(mostGrowth, max(leastGrowth, 100*extra/heap))))
}
