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
	came := func() netip.AddrPort { // a connection that instance one was handed
		t.Helper()
		for range 1000 {
			if c := dial(t, b.Addr().String()); c.instance == "one" {
				return netip.MustParseAddrPort(c.LocalAddr().String())
			}
		}
		t.Fatal("the rule gives nothing to instance one")
		return netip.AddrPort{}
	}
	give := func(slot int, source netip.AddrPort) (gone bool) {
		t.Helper()
		ours, theirs, err := handoff.StreamPair()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		if err := one.receiver.Forward(theirs, handoff.Forward{Slot: slot, Source: source, Destination: source, Head: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		_ = ours.SetDeadline(time.Now().Add(30 * time.Second))
		n, err := ours.Read(make([]byte, 64))
		return n == 0 && err != nil
	}
	before := b.statusOf(1).Channels
	source := came()
	if give(1, source) {
		t.Error("a connection for slot 1 did not reach it")
	}
	eventually(t, "the connection is counted", func() bool { return b.statusOf(1).Channels == before+1 })
	mu.Lock()
	if len(asked) != 1 || asked[0] != (Flow{Slot: 1, Source: source, Destination: b.Addr()}) {
		t.Errorf("Allow was asked for %+v", asked)
	}
	mu.Unlock()
	if !give(1, source) {
		t.Error("one connection is passed on twice")
	}
	if !give(1, netip.MustParseAddrPort("203.0.113.7:50000")) {
		t.Error("the balancer takes an instance's word for a source")
	}
	mu.Lock()
	if len(asked) != 1 {
		t.Errorf("Allow was asked for connections that never came: %+v", asked[1:])
	}
	mu.Unlock()
	if !give(2, came()) || !give(255, came()) {
		t.Error("a connection for a slot without an instance lives on")
	}
	known := came()
	mu.Lock()
	allow = false
	mu.Unlock()
	denied := b.Status().Denied
	if !give(1, known) || b.Status().Denied != denied+1 { // counted before it is reset
		t.Error("a connection that Allow refuses lives on")
	}
	if b.instanceIn(causeway.Slot(0)).gone.Load() {
		t.Error("the instance that gave back is held for broken")
	}
}
