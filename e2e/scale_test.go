//go:build linux

package e2e

import (
	"testing"
	"time"
)

// learnedWithin is the contract's time from the signed list that names a new instance to a connection point that wants
// channels to it.
const learnedWithin = 3 * time.Second

// TestANewInstanceTakesItsShareUnderLoad adds a third instance to a gateway while devices ask without rest, by the
// site's signed list alone. Connection points have to learn of it, open channels and serve over them, and no request
// may fail meanwhile.
func TestANewInstanceTakesItsShareUnderLoad(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t) {
		return
	}
	prepareNetwork(t)
	l := startLedger(t, ledgerIP+":8080")
	f := startFleet(t, l.url)
	d := f.startLoad(t, l, 16)
	_, wanted := f.points[0].connections()

	f.site.stop(t)
	f.startSite(t, 3)
	signed := time.Now()
	eventually(t, 10*learnedWithin, "both connection points want channels to the new instance", func() bool {
		for _, p := range f.points {
			if _, now := p.connections(); now <= wanted {
				return false
			}
		}
		return true
	})
	learned := time.Since(signed)
	started := time.Now()
	f.startGateway(t)
	listens := time.Since(started)
	f.waitConnected(t)
	connected := time.Since(started)
	eventually(t, 30*time.Second, "the new instance serves devices over both connection points", func() bool {
		d.turnAround() // devices that keep their connections would stay where they are
		return f.gateways[2].requestsOver("cp-1") > 10 && f.gateways[2].requestsOver("cp-2") > 10
	})
	d.check(t)
	d.checkNoFailure(t)
	t.Logf("connection points learned of the instance %s after the list was signed; it listened %s after its start and had its channels after %s",
		learned.Round(time.Millisecond), listens.Round(time.Millisecond), connected.Round(time.Millisecond))
	if soak && learned > learnedWithin {
		t.Errorf("learned after %s, the contract says %s", learned, learnedWithin)
	}
}

// turnAround makes every device use a new connection for its next request.
func (d *load) turnAround() { d.generation.Add(1) }
