package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
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
			wg.Go(func() { _ = p.wait(t.Context(), flood, 10*time.Second) })
		}
		synctest.Wait()
		start := time.Now()
		var mu sync.Mutex
		var first, last time.Duration
		for i := range 100 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			for k := range 4 {
				wg.Go(func() {
					if err := p.wait(t.Context(), addr, 10*time.Second); err != nil {
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
			wg.Go(func() { _ = p.wait(t.Context(), addr, time.Hour) })
		}
		wg.Wait()
		want := time.Duration(10*paceRate-paceBurst) * time.Second / paceRate
		if took := time.Since(start); took < want || took > want+100*time.Millisecond {
			t.Errorf("%d handshakes began within %s, want %s", 10*paceRate, took, want)
		}
		time.Sleep(time.Hour) // which earns no more than a burst
		start = time.Now()
		for range paceBurst + 1 {
			wg.Go(func() { _ = p.wait(t.Context(), addr, time.Hour) })
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
			wg.Go(func() { _ = p.wait(t.Context(), addr, 10*time.Second) })
		}
		synctest.Wait()
		start := time.Now()
		if err := p.wait(t.Context(), addr, time.Second); err == nil || time.Since(start) != time.Second {
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
