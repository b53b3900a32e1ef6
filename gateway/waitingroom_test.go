package gateway

import (
	"net"
	"net/netip"
	"testing"
)

// closeRecorder is a connection that only knows whether it was closed.
type closeRecorder struct {
	net.Conn
	closed bool
}

func (c *closeRecorder) Close() error { c.closed = true; return nil }

// TestSilentConnectionsOfAFewAddressesKeepNobodyOut fills the room of unfinished handshakes from nine addresses, as
// one attacker can, and then lets a thousand others come.
func TestSilentConnectionsOfAFewAddressesKeepNobodyOut(t *testing.T) {
	sources := newSources(func() int64 { return 0 })
	limits := Limits{MaxHandshakes: 2048}.or()
	attackers := make([]netip.Addr, 9)
	for i := range attackers {
		attackers[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	flood := func() {
		for i := range 9 * 480 {
			sources.accept(attackers[i%9], &limits, &closeRecorder{})
		}
	}
	flood()
	refused := 0
	for i := range 1000 {
		conn := &closeRecorder{}
		s, p, why := sources.accept(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), &limits, conn)
		if why != shedNot {
			refused++
			continue
		}
		if i%100 == 0 {
			flood() // goes on while the good one is at its handshake
		}
		if conn.closed {
			refused++
		}
		sources.established(p)
		sources.closed(s)
	}
	if refused > 10 {
		t.Errorf("%d of 1000 devices were kept out", refused)
	}
	if _, pending := sources.open(); pending > limits.MaxHandshakes {
		t.Errorf("%d handshakes are pending, the limit is %d", pending, limits.MaxHandshakes)
	}
}

func TestSilentConnectionsOnTheChannelPortKeepNoConnectionPointOut(t *testing.T) {
	gate := &channelGate{}
	limits := Limits{}.or()
	flood := func() {
		for i := range 1024 {
			gate.begin(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 64)}), &limits, &closeRecorder{}, 16)
		}
	}
	flood()
	point := netip.MustParseAddr("203.0.113.9")
	for i := range 100 {
		conn := &closeRecorder{}
		p := gate.begin(t.Context(), point, &limits, conn, 16)
		if p == nil {
			t.Fatalf("try %d: the connection point was not let in", i)
		}
		flood()
		if conn.closed {
			t.Fatalf("try %d: the connection point was turned out", i)
		}
		gate.end(p)
	}
}

func TestPlacesAreGivenBackOnce(t *testing.T) {
	var room waitingRoom
	var a, b int
	conns := []*closeRecorder{{}, {}, {}, {}}
	first := room.enter(conns[0], &a)
	room.enter(conns[1], &a)
	room.enter(conns[2], &a)
	other := room.enter(conns[3], &b)
	if out := room.turnOut(1); out == nil || out == net.Conn(conns[3]) {
		t.Errorf("turned out %v", out)
	}
	room.leave(first)
	room.leave(first)
	room.leave(other)
	if a+b != len(room.places) || b != 0 {
		t.Errorf("%d and %d counted, %d places taken", a, b, len(room.places))
	}
}
