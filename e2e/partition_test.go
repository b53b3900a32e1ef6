//go:build linux

package e2e

import (
	"syscall"
	"testing"
	"time"
)

// deadWithin and backWithin are the contract. A machine that is busy with other tests gets three times as long; `make
// soak` has none and holds both to the letter.
const (
	deadWithin = 5 * time.Second
	backWithin = 5 * time.Second
)

// A silence is a way to keep a connection point from its gateway without closing a connection.
type silence struct {
	name  string
	mute  bool // the connection point cannot be asked meanwhile
	begin func(t *testing.T, f *fleet, n int) (end func())
}

func silences() []silence {
	all := []silence{}
	for _, c := range []cut{{"no packet passes", true, true}, {"none reaches the gateway", true, false}, {"none reaches the connection point", false, true}} {
		all = append(all, silence{c.name, false, c.make})
	}
	return append(all, silence{"the connection point is stopped", true, func(t *testing.T, f *fleet, n int) func() {
		f.points[n].signal(t, syscall.SIGSTOP)
		return func() { f.points[n].signal(t, syscall.SIGCONT) }
	}})
}

// TestASilentConnectionPointIsDeadInFiveSeconds cuts the line to one of two connection points, in both directions and
// in each, and stops it. Both sides have to notice, requests have to go over the other, and the way back must not take
// long. No safe request is lost, nothing is delivered too often.
func TestASilentConnectionPointIsDeadInFiveSeconds(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t) {
		return
	}
	prepareNetwork(t)
	l := startLedger(t, ledgerIP+":8080")
	f := startFleet(t, l.url)
	d := f.startLoad(t, l, 32)
	rounds := 1
	if soak {
		rounds = 10
	}
	for n := range rounds * len(silences()) {
		s := silences()[n%len(silences())]
		f.fallSilent(t, d, s, n%2)
	}
	for n := range rounds {
		f.stopInstance(t, d, n%2)
	}
	d.check(t)
}

// stopInstance is the same from the other side: an instance stops, and wakes again.
func (f *fleet) stopInstance(t *testing.T, d *load, n int) {
	t.Helper()
	f.waitConnected(t)
	d.settle(t)
	over := d.instanceFault() // its devices wait; there is no balancer here to send them elsewhere
	begin := time.Now()
	f.gateways[n].signal(t, syscall.SIGSTOP)
	eventually(t, 6*deadWithin, "both connection points know that an instance is dead", func() bool {
		return f.points[0].channelsOn(n)+f.points[1].channelsOn(n) == 0
	})
	dead := time.Since(begin)
	woken := time.Now()
	f.gateways[n].signal(t, syscall.SIGCONT)
	eventually(t, 6*backWithin, "the instance has channels again", func() bool {
		return f.points[0].channelsOn(n) > 0 && f.points[1].channelsOn(n) > 0
	})
	back := time.Since(woken)
	f.waitConnected(t)
	d.settle(t)
	over()
	t.Logf("%s stopped: dead for both connection points after %s, channels from both after %s", f.gateways[n].name, dead.Round(time.Millisecond), back.Round(time.Millisecond))
	if soak && (dead > deadWithin || back > backWithin) {
		t.Errorf("%s stopped: dead after %s, back after %s; the contract says 5 s", f.gateways[n].name, dead, back)
	}
}

// fallSilent measures from the fault to what both sides say of it, and from its end to the next request that is carried.
func (f *fleet) fallSilent(t *testing.T, d *load, s silence, n int) {
	t.Helper()
	f.waitConnected(t)
	d.settle(t)
	point := f.points[n]
	begin := time.Now()
	end := s.begin(t, f, n)
	var gatewaysKnow, pointKnows time.Duration
	eventually(t, 6*deadWithin, point.name+" is dead for both instances and knows it: "+s.name, func() bool {
		if gatewaysKnow == 0 && f.gateways[0].channelsTo(point.name)+f.gateways[1].channelsTo(point.name) == 0 {
			gatewaysKnow = time.Since(begin)
		}
		if pointKnows == 0 && !s.mute {
			if open, wanted := point.connections(); wanted > 0 && open == 0 {
				pointKnows = time.Since(begin)
			}
		}
		return gatewaysKnow > 0 && (pointKnows > 0 || s.mute)
	})
	before := d.answered()
	eventually(t, 30*time.Second, "requests go over the other connection point", func() bool { return d.answered() > before+100 })

	carried := func() float64 { return f.gateways[0].requestsOver(point.name) + f.gateways[1].requestsOver(point.name) }
	count := carried()
	repaired := time.Now()
	end()
	eventually(t, 6*backWithin, point.name+" carries requests again after: "+s.name, func() bool { return carried() > count })
	back := time.Since(repaired)
	t.Logf("%s, %s: dead for the gateway after %s, for the connection point after %s, back after %s", point.name, s.name,
		gatewaysKnow.Round(time.Millisecond), pointKnows.Round(time.Millisecond), back.Round(time.Millisecond))
	if soak && (max(gatewaysKnow, pointKnows) > deadWithin || back > backWithin) {
		t.Errorf("%s, %s: dead after %s and %s, back after %s; the contract says 5 s", point.name, s.name, gatewaysKnow, pointKnows, back)
	}
}
