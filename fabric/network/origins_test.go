package network

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// An instance may give back what it was handed lately, once.
func TestOriginsAreTheLatestOnes(t *testing.T) {
	address := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+uint32(i)))), 50000)
	}
	to := netip.MustParseAddrPort("192.0.2.1:443")
	var o origins
	if _, ok := o.take(address(0)); ok {
		t.Error("a connection is known that never was")
	}
	const more = 3
	for i := range maxOrigins + more {
		o.note(address(i), to)
	}
	if len(o.order) != maxOrigins || len(o.destinations) != maxOrigins {
		t.Errorf("%d and %d are kept, want %d", len(o.order), len(o.destinations), maxOrigins)
	}
	for i, want := range map[int]bool{0: false, more - 1: false, more: true, maxOrigins + more - 1: true} {
		if got, ok := o.take(address(i)); ok != want || ok && got != to {
			t.Errorf("connection %d: to %s, known %t; want %t", i, got, ok, want)
		}
		if _, again := o.take(address(i)); again {
			t.Errorf("connection %d is known twice", i)
		}
	}
}

func TestBucketHoldsAnInstanceToItsPace(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var b bucket
	count := func() (n int) {
		for n <= 2*forwardsAtOnce && b.take(now) {
			n++
		}
		return n
	}
	if n := count(); n != forwardsAtOnce {
		t.Errorf("%d at once, want %d", n, forwardsAtOnce)
	}
	now = now.Add(time.Second)
	if n := count(); n != forwardsPerSecond {
		t.Errorf("%d within the next second, want %d", n, forwardsPerSecond)
	}
	now = now.Add(time.Hour)
	if n := count(); n != forwardsAtOnce {
		t.Errorf("%d after a rest, want %d", n, forwardsAtOnce)
	}
}
