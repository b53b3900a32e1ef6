package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/signed"
)

// A hundred connection points come back at once, each with four connections, while a stranger has filled the line before
// them: each has its first connection within a second, and all of them within five.
func TestHundredConnectionPointsWaitForSecondsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		var wg sync.WaitGroup
		flood := netip.MustParseAddr("192.0.2.1")
		for range 256 {
			wg.Go(func() { _ = p.wait(t.Context(), flood, 10*time.Second, nil) })
		}
		synctest.Wait()
		start := time.Now()
		var mu sync.Mutex
		var first, last time.Duration
		for i := range 100 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			for k := range 4 {
				wg.Go(func() {
					if err := p.wait(t.Context(), addr, 10*time.Second, nil); err != nil {
						t.Errorf("connection point %d: %v", i, err)
					}
					mu.Lock()
					defer mu.Unlock()
					took := time.Since(start)
					if last = max(last, took); k == 0 {
						first = max(first, took)
					}
				})
				synctest.Wait() // the first of each is the first in its line
			}
		}
		wg.Wait()
		if first > 1100*time.Millisecond || last > 5*time.Second {
			t.Errorf("the last of the first connections began after %s, the last of all after %s", first, last)
		}
		t.Logf("first connections within %s, all within %s", first, last)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.waiting != 0 || len(p.lines) != 0 || len(p.turns) != 0 {
			t.Errorf("%d wait in %d lines, %d turns", p.waiting, len(p.lines), len(p.turns))
		}
	})
}

func TestPaceHoldsOverALongTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		var wg sync.WaitGroup
		addr := netip.MustParseAddr("192.0.2.1")
		start := time.Now()
		for range 10 * paceRate {
			wg.Go(func() { _ = p.wait(t.Context(), addr, time.Hour, nil) })
		}
		wg.Wait()
		want := time.Duration(10*paceRate-paceBurst) * time.Second / paceRate
		if took := time.Since(start); took < want || took > want+100*time.Millisecond {
			t.Errorf("%d handshakes began within %s, want %s", 10*paceRate, took, want)
		}
		time.Sleep(time.Hour) // which earns no more than a burst
		start = time.Now()
		for range paceBurst + 1 {
			wg.Go(func() { _ = p.wait(t.Context(), addr, time.Hour, nil) })
		}
		wg.Wait()
		if took := time.Since(start); took < time.Second/paceRate/2 {
			t.Errorf("more than a burst began at once, after %s", took)
		}
	})
}

func TestWhoWaitsTooLongIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		var wg sync.WaitGroup
		addr := netip.MustParseAddr("192.0.2.1")
		for range paceBurst + 3*paceRate {
			wg.Go(func() { _ = p.wait(t.Context(), addr, 10*time.Second, nil) })
		}
		synctest.Wait()
		start := time.Now()
		if err := p.wait(t.Context(), addr, time.Second, nil); err == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %s, want the end of its time", err, time.Since(start))
		}
		wg.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.waiting != 0 || len(p.lines) != 0 || len(p.turns) != 0 {
			t.Errorf("%d wait in %d lines, %d turns", p.waiting, len(p.lines), len(p.turns))
		}
	})
}

// TestWhoHangsUpInLineTakesNoTurn has peers of every kind of connection that a channel comes on hang up while they wait:
// the one behind them all has the very next turn.
func TestWhoHangsUpInLineTakesNoTurn(t *testing.T) {
	p := pacer{tokens: -1e6, filled: time.Now()} // earns nothing for hours
	wraps := []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return c },
		channel.Batched,
		func(c net.Conn) net.Conn { return channel.Batched(&begun.Conn{Conn: c}) },
		func(c net.Conn) net.Conn { return channel.Batched(channel.Messages(c, &deviceConn{Conn: c})) },
	}
	hangUps := []func(*net.TCPConn){
		func(c *net.TCPConn) { c.Close() },
		func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() },
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*longWait)
	defer cancel()
	gone := make(chan error, len(wraps)*len(hangUps))
	addr := netip.MustParseAddr("192.0.2.1")
	line := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.waiting
	}
	for _, wrap := range wraps {
		for _, hangUp := range hangUps {
			near, far := tcpPair(t)
			c, before := wrap(near), line()
			go func() { gone <- p.wait(ctx, addr, 2*longWait, c) }()
			waitFor(t, func() bool { return line() > before })
			if hungUp(c) {
				t.Error("who waits is taken for gone")
			}
			hangUp(far)
			waitFor(t, func() bool { return hungUp(c) })
		}
	}
	near, _ := tcpPair(t)
	live, before := make(chan error, 1), line()
	go func() { live <- p.wait(ctx, addr, 2*longWait, near) }()
	waitFor(t, func() bool { return line() > before })
	p.mu.Lock()
	p.tokens = 1
	p.mu.Unlock()
	p.grant()
	if err := <-live; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	for range cap(gone) {
		if err := <-gone; !errors.Is(err, errHungUp) {
			t.Errorf("who hung up: %v, want %v", err, errHungUp)
		}
	}
	if line() != 0 || p.timer != nil {
		t.Errorf("%d wait still", line())
	}
}

// TestWaitingRoomFitsThePace holds that whoever may wait has his turn well within the time of a handshake.
func TestWaitingRoomFitsThePace(t *testing.T) {
	most, handshake := Limits{}.or().MaxChannelHandshakes, Timeouts{}.or().Handshake
	if most > maxPaced || handshake < 2*maxPaced*time.Second/paceRate {
		t.Errorf("%d may wait at a pace of %d in a second", most, paceRate)
	}
	if many := (Limits{MaxChannelHandshakes: maxPaced + 1}); many.or().check() == nil {
		t.Error("more may wait than have a turn in time")
	}
}

// The same with real handshakes: a hundred connection points whose instance was away come back in one moment.
func TestHundredConnectionPointsComeBackAtOnce(t *testing.T) {
	const points, each = 100, 2
	in := prepareReal(t, func(c *Config) { c.Timeouts.Handshake = time.Minute }) // so that a slow machine is measured, not cut
	in.apply(func(d *signed.GatewayDocument) {
		d.ConnectionPoints = nil
		for i := range points {
			d.ConnectionPoints = append(d.ConnectionPoints, signed.ConnectionPoint{ID: causeway.ConnectionPointID(fmt.Sprint("cp-", i)), ConnectionID: "secret"})
		}
	})
	in.start()
	roots := x509.NewCertPool()
	roots.AddCert(in.serverCA.cert)
	certs := make([]tls.Certificate, points)
	for i := range certs {
		certs[i] = in.siteCA.issue(fmt.Sprint("cp-", i), forConnectionPoint(testSite, causeway.ConnectionPointID(fmt.Sprint("cp-", i))))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*longWait)
	defer cancel()
	sessions := make(chan *channel.Session, points*each)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range points {
		for k := range each {
			wg.Go(func() {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 0, byte(1+i))}}
				raw, err := d.DialContext(ctx, "tcp", in.channels.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				c := tls.Client(channel.Batched(raw), &tls.Config{RootCAs: roots, ServerName: testName, Certificates: certs[i : i+1], MinVersion: tls.VersionTLS13})
				if err := c.HandshakeContext(ctx); err != nil {
					t.Error(err)
					raw.Close()
					return
				}
				s, _, err := channel.Connect(ctx, c, channel.Hello{Site: testSite, Gateway: testGateway, ConnectionPoint: causeway.ConnectionPointID(fmt.Sprint("cp-", i)),
					ConnectionID: "secret", Slot: 3, Instance: testInstance, Set: fmt.Sprint("set-", i), Index: k, Count: each}, channel.SessionConfig{Logger: in.log, HandshakeTimeout: time.Minute})
				if err != nil {
					t.Error(err)
					raw.Close()
					return
				}
				sessions <- s
			})
		}
	}
	wg.Wait()
	took := time.Since(start)
	t.Logf("%d connection points with %d connections each came back within %s", points, each, took.Round(time.Millisecond))
	if n := len(sessions); n != points*each {
		t.Errorf("%d connections were admitted, want %d", n, points*each)
	}
	close(sessions)
	for s := range sessions {
		s.Close()
	}
}
