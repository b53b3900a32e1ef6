package connpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// A network that drops what it does not know costs nextAfter for each transport, and not the time of a dial.
func TestSilentTransportsAreGivenUpSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := raceSet(t, func(ctx context.Context, address string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := make(map[string]time.Duration)
		var mu sync.Mutex
		start := time.Now()
		dial := s.owner.agent.Dial
		s.owner.agent.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			began[fmt.Sprint(len(began))] = time.Since(start)
			mu.Unlock()
			return dial(ctx, network, address)
		}
		_, err := s.race(t.Context(), channel.Transports, 0)
		if err == nil || !strings.HasPrefix(err.Error(), "slot-port, single-port, websocket: ") {
			t.Errorf("the error is %v; want each transport's", err)
		}
		for n, want := range []time.Duration{0, nextAfter, 2 * nextAfter} {
			if got := began[fmt.Sprint(n)]; got != want {
				t.Errorf("transport %d was begun after %s, want %s", n, got, want)
			}
		}
		if took := time.Since(start); took != 2*nextAfter+dialTimeout {
			t.Errorf("given up after %s", took)
		}
		s.owner.work.Wait()
	})
}

// Who is connected has another nextAfter: a gateway lets those that come back begin one after the other.
func TestConnectedTransportHasMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []time.Duration
		var ends []net.Conn
		start := time.Now()
		s := raceSet(t, func(ctx context.Context, _ string) (net.Conn, error) {
			mu.Lock()
			began = append(began, time.Since(start))
			mu.Unlock()
			if !sleep(ctx, 2*time.Second) {
				return nil, ctx.Err()
			}
			a, b := net.Pipe()
			mu.Lock()
			ends = append(ends, b)
			mu.Unlock()
			return a, nil
		})
		if _, err := s.race(t.Context(), []channel.Transport{channel.SlotPort, channel.SinglePort}, 0); err == nil {
			t.Error("a channel to nobody")
		}
		if len(began) != 2 || began[1] != 2*time.Second+nextAfter {
			t.Errorf("the transports were begun after %v, want the second %s after the first was connected", began, nextAfter)
		}
		for _, c := range ends {
			c.Close()
		}
		s.owner.work.Wait()
	})
}

// An instance that is down is not asked for by every way all the time.
func TestOtherTransportsRestWhileNoneAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dials := make(map[string]int)
		s := raceSet(t, func(_ context.Context, address string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials[address]++
			return nil, errors.New("connection refused")
		})
		ctx, cancel := context.WithCancel(t.Context())
		s.owner.work.Go(func() { s.keep(ctx, 0) })
		time.Sleep(10 * time.Minute)
		cancel()
		s.owner.work.Wait()
		slot, single := dials["gw.test:10124"], dials["gw.test:443"]
		if single == 0 || single > slot*2/fullRound+2 || slot < 100 {
			t.Errorf("%d dials of the slot's port, %d of the devices', want two of these in %d rounds", slot, single, fullRound)
		}
	})
}

// What fails at once makes nobody wait at all.
func TestRefusedTransportsAreGivenUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := raceSet(t, func(context.Context, string) (net.Conn, error) { return nil, errors.New("connection refused") })
		start := time.Now()
		if _, err := s.race(t.Context(), channel.Transports, 0); err == nil || time.Since(start) != 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		s.owner.work.Wait()
	})
}

// raceSet is a slotSet whose dials do what the test says.
func raceSet(t *testing.T, dial func(ctx context.Context, address string) (net.Conn, error)) *slotSet {
	ca := newTestCA(t, "CA")
	der, key := ca.issue(t, "cp-1", nil)
	a := &Agent{Logger: quietLogger(), Certificate: func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	}}
	a.Dial = func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) }
	in := &inside{now: time.Now}
	// No bubble has the time of a certificate.
	certs := &certificateSource{ready: make(chan struct{}), cert: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	close(certs.ready)
	s := &slotSet{owner: &channels{agent: a, inside: in, certs: certs}, failures: make(map[channel.Transport]transportFailure), log: quietLogger(),
		sessions: make(map[*channel.Session]held), applied: make(map[string]channel.Applied), up: make(chan struct{}),
		aim: aim{gateway: signed.Gateway{Name: "gw", Address: "gw.test", ServicePort: 443}, instance: signed.GatewayInstance{ID: "i", ChannelPort: 10124}}}
	trust, err := newServiceTrust(signed.Gateway{ServiceName: testService, ServiceCAs: [][]byte{ca.cert.Raw}})
	if err != nil {
		t.Fatal(err)
	}
	s.trust.Store(trust)
	return s
}

// The way back: a lesser transport serves, the better one comes to life, and no request notices the move.
func TestChannelsReturnToTheBetterTransport(t *testing.T) {
	s := newSite(t, okServer(t))
	i := s.newInstance(0, "i-1", s.ca, testService)
	f := s.newFront(i, s.ca, false)
	g := s.gateway("gw", i)
	g.ServicePort = f.port()
	s.doc.Gateways = []signed.Gateway{g}
	s.publish()
	a := s.agent()
	a.Transports, a.ReturnEvery = nil, 200*time.Millisecond
	slotPort := i.ln.Addr().String()
	var open atomic.Bool
	var tries atomic.Int64
	a.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == slotPort {
			tries.Add(1)
			if !open.Load() {
				return nil, errors.New("the firewall says no")
			}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	run(t, a)
	await(t, "two connections by the devices' port", func() bool { return i.connections() == 2 && connected(a) == 2 })
	if got, st := transportOf(a); got != channel.SinglePort || len(st.Better) != 1 || !strings.Contains(st.Better[0].Error, "the firewall says no") {
		t.Errorf("status says %+v", st)
	}
	done, stop := s.keepAsking(i)
	defer stop()
	more(t, done)
	before := tries.Load()
	await(t, "tries of the better transport", func() bool { return tries.Load() >= before+4 })
	more(t, done)
	if got, _ := transportOf(a); got != channel.SinglePort {
		t.Errorf("transport %q while the better one is closed", got)
	}
	opened := time.Now()
	open.Store(true)
	await(t, "the better transport", func() bool {
		got, st := transportOf(a)
		return got == channel.SlotPort && st.Connected == 2 && i.connections() == 2
	})
	t.Logf("back on the slot's port after %s, with tries every %s", time.Since(opened).Round(time.Millisecond), a.ReturnEvery)
	more(t, done)
	if _, st := transportOf(a); len(st.Better) != 0 || st.Redials != 0 {
		t.Errorf("status says %+v after the return", st)
	}
}

// What worked last is the first to be tried when a connection is lost.
func TestRedialBeginsWithWhatWorkedLast(t *testing.T) {
	s := raceSet(t, nil)
	if got := s.order(); !slices.Equal(got, channel.Transports) {
		t.Errorf("the first order is %v", got)
	}
	s.succeeded(channel.WebSocket)
	if got := s.order(); !slices.Equal(got, []channel.Transport{channel.WebSocket, channel.SlotPort, channel.SinglePort}) {
		t.Errorf("after a WebSocket the order is %v", got)
	}
	if got := s.better(channel.WebSocket); !slices.Equal(got, []channel.Transport{channel.SlotPort, channel.SinglePort}) {
		t.Errorf("better than a WebSocket are %v", got)
	}
}

// When the time of a race is over, no more transports are begun.
func TestRaceThatIsOverBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		s := raceSet(t, func(context.Context, string) (net.Conn, error) {
			dials.Add(1)
			time.Sleep(3 * nextAfter) // deaf to its context, as a look-up may be
			return nil, errors.New("no such host")
		})
		ctx, cancel := context.WithTimeout(t.Context(), nextAfter/2)
		defer cancel()
		if _, err := s.race(ctx, channel.Transports, 0); err == nil || dials.Load() != 1 {
			t.Errorf("%d transports were begun, %v", dials.Load(), err)
		}
		s.owner.work.Wait()
	})
}

// What failed before a better transport was there is of no interest when that one ends.
func TestFailuresOfLesserTransportsAreForgotten(t *testing.T) {
	s := raceSet(t, nil)
	for _, transport := range channel.Transports {
		s.failed(transport, errors.New("refused"))
	}
	s.succeeded(channel.SinglePort)
	if f := s.failuresLocked(""); len(f) != 1 || f[0].Transport != channel.SlotPort {
		t.Errorf("by single-port, there are failures %+v; want that of slot-port", f)
	}
	s.succeeded(channel.SlotPort)
	if f := s.failuresLocked(""); len(f) != 0 {
		t.Errorf("by the best, there are failures %+v", f)
	}
}

// Each transport may need something else, and who reads the hint must know which.
func TestHintsSayWhichTransportTheyAreFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := raceSet(t, func(_ context.Context, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":443") {
				return nil, causeway.WithHint(errors.New("502"), "start the gateway")
			}
			return nil, causeway.WithHint(errors.Join(errors.New("403"), errors.New("closed")), "open the port")
		})
		for _, tt := range []struct {
			order      []channel.Transport
			said, hint string
		}{
			{channel.Transports, "slot-port: 403, closed; single-port, websocket: 502", "slot-port: open the port; single-port, websocket: start the gateway"},
			{[]channel.Transport{channel.SlotPort}, "slot-port: 403, closed", "open the port"},
			{[]channel.Transport{channel.WebSocket, channel.SinglePort}, "websocket, single-port: 502", "start the gateway"},
		} {
			_, err := s.race(t.Context(), tt.order, 0)
			if err == nil || err.Error() != tt.said || causeway.Hint(err) != tt.hint {
				t.Errorf("%v\nhint: %s\nwant %s\nhint: %s", err, causeway.Hint(err), tt.said, tt.hint)
			}
		}
		s.owner.work.Wait()
	})
}

func TestCausesNameAnAddressOnce(t *testing.T) {
	got := Causes([]TransportFailure{
		{Transport: channel.SlotPort, Address: "192.0.2.7:10124", Error: "no channel to 192.0.2.7:10124 within 3s"},
		{Transport: channel.SinglePort, Address: "192.0.2.7:443", Error: "refused\nby the proxy"},
		{Transport: channel.WebSocket, Address: "192.0.2.7:443", Error: "refused\nby the proxy"},
	})
	want := "slot-port: no channel to 192.0.2.7:10124 within 3s; single-port 192.0.2.7:443, websocket 192.0.2.7:443: refused, by the proxy"
	if got != want {
		t.Errorf("Causes =\n%s, want\n%s", got, want)
	}
}
