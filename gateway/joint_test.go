package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// frontOf makes an instance in slot 3 that joins channels for slot 5 to an address.
func frontOf(t *testing.T, address string, change ...func(*Config)) *instance {
	front := prepareReal(t, change...)
	front.apply(func(d *signed.GatewayDocument) {
		d.Instances = []signed.Instance{{Slot: 3, ID: testInstance}, {Slot: 5, ID: "inst-b", PrivateAddress: address}}
	})
	front.start()
	return front
}

// hold connects n times, says one ClientHello for slot 5 each time and nothing more.
func (in *instance) hold(t *testing.T, n int) (held []net.Conn) {
	t.Helper()
	hello := clientHello(t, channel.ALPN(5))
	for range n {
		c, err := net.Dial("tcp", in.devices.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	return held
}

func areEnded(t *testing.T, conns []net.Conn) {
	t.Helper()
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(longWait))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d, which says nothing, is kept", i)
		}
	}
}

// Strangers that name a sibling's slot and then only hold the socket are let go when the sibling has given them up, and
// take no room of this instance's own channels.
func TestSilentStrangersForASiblingAreLetGo(t *testing.T) {
	other := prepareReal(t, func(c *Config) { c.Slot, c.Instance, c.Timeouts.Handshake = 5, "inst-b", time.Second })
	other.apply(nil)
	other.start()
	front := frontOf(t, other.channels.Addr().String(), func(c *Config) { c.Limits.MaxChannelConnections = 8 })
	held := front.hold(t, 8)
	waitFor(t, func() bool { return front.openChannels() > 0 })
	// A connection point of this instance's own gets in beside them.
	s, _, err := front.channelAt(t, []string{channel.ALPN(3)}, nil)
	if err != nil {
		t.Fatalf("a connection point is kept out: %v", err)
	}
	s.Close()
	areEnded(t, held)
	waitFor(t, func() bool { return front.openChannels() == 0 })
}

// A sibling that says nothing, and ends nothing, keeps none of them either.
func TestWhatNeverBecomesAHandshakeIsLetGo(t *testing.T) {
	mute := listen(t)
	defer mute.Close()
	front := frontOf(t, mute.Addr().String(), func(c *Config) { c.Timeouts.Handshake = 3 * time.Second })
	held := front.hold(t, 4)
	var mu sync.Mutex
	var reached []net.Conn
	go func() {
		for {
			c, err := mute.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			reached = append(reached, c)
			mu.Unlock()
		}
	}()
	areEnded(t, held)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d of %d reached the sibling", len(reached), len(held))
	for _, c := range reached {
		c.Close()
	}
	waitFor(t, func() bool { return front.openChannels() == 0 })
}

func TestJointEndsWithEitherSide(t *testing.T) {
	for name, end := range map[string]func(outer, inner *net.TCPConn) error{
		"half by the instance": func(_, inner *net.TCPConn) error { return inner.CloseWrite() },
		"half by the other":    func(outer, _ *net.TCPConn) error { return outer.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			outer, a := tcpPair(t)
			b, inner := tcpPair(t)
			over := make(chan struct{})
			go func() {
				defer close(over)
				(&joint{outer: a, inner: b, idle: time.Hour}).run(t.Context())
			}()
			for range 3 { // the instance's word is followed by the other's, as in a handshake
				says(t, inner, outer)
				says(t, outer, inner)
			}
			if err := end(outer, inner); err != nil {
				t.Fatal(err)
			}
			<-over
			areEnded(t, []net.Conn{outer, inner})
		})
	}
}

func TestIdleJointEnds(t *testing.T) {
	outer, a := tcpPair(t)
	b, inner := tcpPair(t)
	for _, c := range []net.Conn{outer, inner} {
		if _, err := io.WriteString(c, "word"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	(&joint{outer: a, inner: b, idle: 200 * time.Millisecond}).run(t.Context())
	t.Logf("ended after %s", time.Since(began))
	areEnded(t, []net.Conn{outer, inner})
}

// says sends a word from one end to the other.
func says(t *testing.T, from, to net.Conn) {
	t.Helper()
	if _, err := io.WriteString(from, "word"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(to, b); err != nil || string(b) != "word" {
		t.Fatalf("%q, %v", b, err)
	}
}

func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	one, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close(); other.Close() })
	return one.(*net.TCPConn), other.(*net.TCPConn)
}

func TestJoinedChannelsAreCountedApart(t *testing.T) {
	g := &channelGate{}
	limits := Limits{MaxChannelConnections: 2}.or()
	var all []*visit
	visit := func(source byte) *visit {
		v := g.begin(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, source}), &limits, &closeRecorder{}, maxChannelsPerSource)
		if v == nil {
			t.Fatal("not let in")
		}
		all = append(all, v)
		return v
	}
	joined := 0
	for source := range byte(3) {
		of := 0
		for g.join(visit(source)) {
			of++
		}
		if joined += of; of > maxJoined/2 {
			t.Errorf("%d of one address are joined", of)
		}
	}
	if joined != maxJoined {
		t.Errorf("%d are joined, want %d", joined, maxJoined)
	}
	if g.full(&limits) || !g.admit(visit(9), &limits) || !g.admit(visit(9), &limits) {
		t.Error("they take room of this instance's own channels")
	}
	if !g.full(&limits) || g.admit(visit(9), &limits) {
		t.Error("one too many was admitted")
	}
	for _, v := range all {
		g.end(v)
		g.end(v)
	}
	if g.joined != 0 || g.admitted != 0 || len(g.waiting.places) != 0 || len(g.joinedOf) != 0 || len(g.pending) != 0 {
		t.Errorf("what is left: %+v", g)
	}
}

// Who is turned out while it waits for its turn is gone at once, and was never admitted.
func TestTurnedOutOfTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		g := &channelGate{}
		limits := Limits{MaxChannelHandshakes: 64}.or()
		left := make(chan error, 1)
		flood := netip.MustParseAddr("192.0.2.1")
		p.tokens, p.filled = 0, time.Now()
		for range limits.MaxChannelHandshakes {
			v := g.begin(t.Context(), flood, &limits, &closeRecorder{}, maxChannelsPerSource)
			go func() {
				err := p.wait(v.ctx, v.addr, time.Hour, nil)
				if err != nil && g.admit(v, &limits) {
					t.Error("admitted after it was turned out")
				}
				g.end(v)
				if err != nil {
					left <- err
				}
			}()
		}
		synctest.Wait()
		began := time.Now()
		v := g.begin(t.Context(), netip.MustParseAddr("203.0.113.9"), &limits, &closeRecorder{}, maxChannelsPerSource)
		if v == nil {
			t.Fatal("not let in")
		}
		if err := <-left; err == nil || time.Since(began) != 0 {
			t.Errorf("left the line with %v after %s, want at once", err, time.Since(began))
		}
		if g.admitted != 0 || len(g.waiting.places) != limits.MaxChannelHandshakes {
			t.Errorf("%d admitted, %d wait", g.admitted, len(g.waiting.places))
		}
		g.end(v)
		time.Sleep(time.Second) // the others have their turns
	})
}
