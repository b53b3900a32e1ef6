package network

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func backends(slots ...causeway.Slot) *Balancer {
	b := &Balancer{}
	var list []*instance
	for _, n := range slots {
		in := &instance{slot: n}
		in.healthy.Store(true)
		list = append(list, in)
	}
	b.backends.Store(&list)
	return b
}

// chosen returns the slot of each of a thousand flows.
func chosen(b *Balancer) (slots [1000]causeway.Slot) {
	to := netip.MustParseAddrPort("192.0.2.1:443")
	for i := range slots {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), uint16(1024+i))
		var tried [causeway.MaxSlots]bool
		slots[i] = b.choose(maphash.Comparable(seed, tuple{from, to}), &tried).slot
	}
	return slots
}

func TestOnlyTheShareOfALostInstanceMoves(t *testing.T) {
	before, after := chosen(backends(0, 1, 2, 3)), chosen(backends(0, 1, 3))
	moved := 0
	for i := range before {
		switch {
		case before[i] == 2:
			moved++
		case before[i] != after[i]:
			t.Fatalf("flow %d moved from slot %d to %d though only slot 2 left", i, before[i], after[i])
		}
	}
	if moved < 150 || moved > 350 {
		t.Errorf("slot 2 had %d of 1000 flows, want about 250", moved)
	}
}

func TestSixteenInstancesShareEvenly(t *testing.T) {
	var all []causeway.Slot
	for n := range causeway.Slot(causeway.MaxSlots) {
		all = append(all, n)
	}
	share := map[causeway.Slot]int{}
	for _, n := range chosen(backends(all...)) {
		share[n]++
	}
	for _, n := range all {
		if share[n] < 25 || share[n] > 115 {
			t.Errorf("slot %d got %d of 1000 flows, want about 62", n, share[n])
		}
	}
}

func TestJudgeWantsTwoFailuresInARow(t *testing.T) {
	bad := errors.New("bad")
	for _, tt := range []struct {
		name    string
		probe   Probe
		results string // + success, - failure
		want    string // health after each
	}{
		{"defaults", Probe{}, "--+-+--+", "..++++.+"},
		{"never well", Probe{}, "----", "...."},
		{"slow to trust", Probe{HealthyAfter: 3}, "++-+++--++", ".....++..."},
		{"slow to doubt", Probe{UnhealthyAfter: 3}, "+--+---", "++++++."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := judge{probe: tt.probe}
			got := ""
			for _, r := range tt.results {
				var err error
				if r == '-' {
					err = bad
				}
				if j.next(err) {
					got += "+"
				} else {
					got += "."
				}
			}
			if got != tt.want {
				t.Errorf("results %s: health %s, want %s", tt.results, got, tt.want)
			}
		})
	}
}
