package network

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// What an instance gives back goes where inbound NAT would have sent it, and only when Allow lets it.
func TestGivenBackConnectionsGoTheWayOfNAT(t *testing.T) {
	var mu sync.Mutex // guards the fields below
	var asked []Flow
	allow := true
	b := startBalancer(t, &Balancer{Allow: func(f Flow) bool {
		mu.Lock()
		defer mu.Unlock()
		if f.Slot >= 0 {
			asked = append(asked, f)
		}
		return allow
	}})
	one, two := startInstance(t, "one"), startInstance(t, "two")
	one.join(t, b, 0)
	two.join(t, b, 1)
	waitHealthy(t, b, 0, true)
	source, destination := netip.MustParseAddrPort("10.0.0.9:50000"), netip.MustParseAddrPort("10.0.0.1:443")
	give := func(slot int) (gone bool) {
		ours, theirs, err := handoff.StreamPair()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		if err := one.receiver.Forward(theirs, handoff.Forward{Slot: slot, Source: source, Destination: destination, Head: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		_ = ours.SetDeadline(time.Now().Add(10 * time.Second))
		n, err := ours.Read(make([]byte, 64))
		return n == 0 && err != nil
	}
	before := b.statusOf(1).Channels
	if give(1) {
		t.Error("a connection for slot 1 did not reach it")
	}
	eventually(t, "the connection is counted", func() bool { return b.statusOf(1).Channels == before+1 })
	mu.Lock()
	if len(asked) != 1 || asked[0] != (Flow{Slot: 1, Source: source, Destination: destination}) {
		t.Errorf("Allow was asked for %+v", asked)
	}
	mu.Unlock()
	if !give(2) || !give(255) {
		t.Error("a connection for a slot without an instance lives on")
	}
	mu.Lock()
	allow = false
	mu.Unlock()
	denied := b.Status().Denied
	if !give(1) || b.Status().Denied != denied+1 { // counted before it is reset
		t.Error("a connection that Allow refuses lives on")
	}
	if b.instanceIn(causeway.Slot(0)).gone.Load() {
		t.Error("the instance that gave back is held for broken")
	}
}
