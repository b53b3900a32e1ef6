package connpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// slowly dials like a.Dial on a long line, so that a gap between two channels would be seen.
func slowly(to func(address string) string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !sleep(ctx, 50*time.Millisecond) {
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, to(address))
	}
}

func okServer(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// keepAsking sends requests through the instance until stop, which returns how many went well. Each that fails is an
// error of the test.
func (s *site) keepAsking(i *instance) (done *atomic.Int64, stop func()) {
	done = new(atomic.Int64)
	end := make(chan struct{})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if d, err := s.exchange(i, "GET", "/app/x", nil, true); err != nil || !strings.HasPrefix(d.head, "HTTP/1.1 200") {
					s.t.Errorf("request %d: %q %v", done.Load(), d.head, err)
					return
				}
				done.Add(1)
			}
		})
	}
	return done, sync.OnceFunc(func() { close(end); work.Wait() })
}

// more waits until some more requests went well.
func more(t *testing.T, done *atomic.Int64) {
	t.Helper()
	want := done.Load() + 20
	await(t, "requests", func() bool { return t.Failed() || done.Load() >= want })
}

// The service certificate is renewed every few weeks. Nobody may notice.
func TestChangedTrustDropsNoChannel(t *testing.T) {
	s := newSite(t, okServer(t))
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	a := s.agent()
	a.Dial = slowly(func(address string) string { return address })
	run(t, a)
	await(t, "channels", func() bool { return i.connections() == 2 })
	done, stop := s.keepAsking(i)
	defer stop()

	sum := sha256.Sum256(i.cert)
	right, wrong := hex.EncodeToString(sum[:]), strings.Repeat("ab", sha256.Size)
	for _, change := range []func(*signed.Gateway){
		func(g *signed.Gateway) { g.ServiceCertificateSHA256 = []string{right} },
		func(g *signed.Gateway) { g.ServiceCertificateSHA256 = []string{right, wrong} },
		func(g *signed.Gateway) { g.ServiceCAs = append(g.ServiceCAs, newTestCA(t, "next").cert.Raw) },
		func(g *signed.Gateway) { g.ServiceCAs = nil },
		func(g *signed.Gateway) { g.ServiceCertificateSHA256 = []string{wrong} },
	} {
		change(&s.doc.Gateways[0])
		s.publish()
		generation := s.gen
		a.Reload()
		await(t, "document", func() bool { return a.Status().Configuration.Generation == generation })
		more(t, done)
	}
	if n := i.greeted(); n != 2 {
		t.Errorf("%d dials, want the 2 of the beginning", n)
	}
	stop()

	// The next dial goes by what holds now.
	a.state.channels.mu.Lock()
	set := a.state.channels.slots[slotKey{"gw", 0}]
	a.state.channels.mu.Unlock()
	set.mu.Lock()
	for session := range set.sessions {
		session.Close()
	}
	set.mu.Unlock()
	await(t, "refusal", func() bool { return strings.Contains(s.log(), "is not one that the site pinned") })
}

func TestMovedInstanceIsLeftForItsNewAddressOnlyWhenThatAnswers(t *testing.T) {
	s := newSite(t, okServer(t))
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	a := s.agent()
	var moved atomic.Int64
	open := make(chan struct{})
	a.Dial = slowly(func(address string) string {
		host, port, _ := net.SplitHostPort(address)
		if host == "127.0.0.1" {
			return address
		}
		moved.Add(1)
		select {
		case <-open:
			return "127.0.0.1:" + port
		default:
			return "127.0.0.1:1" // nobody there yet
		}
	})
	run(t, a)
	await(t, "channels", func() bool { return i.connections() == 2 })
	done, stop := s.keepAsking(i)
	defer stop()

	s.doc.Gateways[0].Address = "gw-2.example"
	s.publish()
	a.Reload()
	await(t, "dials of the new address", func() bool { return moved.Load() >= 4 })
	more(t, done)
	if n := i.greeted(); n != 2 {
		t.Errorf("%d hellos before the new address answered, want 2", n)
	}
	close(open)
	await(t, "channels to the new address alone", func() bool { return i.greeted() == 4 && i.connections() == 2 })
	more(t, done)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, h := range i.hellos {
		if h.Set != i.hellos[0].Set {
			t.Error("the new channels say that they are of another connection point's process")
		}
	}
}

// An instance says that it goes away: the channels to its successor are there before the old ones end, what comes meanwhile
// goes over the new ones, and what is under way is finished.
func TestInstanceThatLeavesIsFollowedByItsSuccessor(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			close(begun)
			<-release
		}
	}))
	t.Cleanup(srv.Close)
	s := newSite(t, srv.URL)
	i := s.newInstance(0, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", i)}
	s.publish()
	run(t, s.agent())
	await(t, "channels", func() bool { return i.connections() == 2 })
	slow := make(chan error, 1)
	go func() {
		d, err := s.exchange(i, "GET", "/app/slow", nil, true)
		if err == nil && !strings.HasPrefix(d.head, "HTTP/1.1 200") {
			err = errors.New(d.head)
		}
		slow <- err
	}()
	<-begun

	next := channel.NewPool(channel.PoolConfig{Gatekeeper: i, Logger: quietLogger()})
	i.next.Store(next)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		i.pool.Drain(t.Context())
	}()
	connections := func() (n int) {
		for _, set := range next.Status() {
			n += set.Connections
		}
		return n
	}
	await(t, "channels to the successor", func() bool { return connections() == 2 })
	for range 20 {
		if d, err := s.exchangeOn(next, "GET", "/app/x", nil, true); err != nil || !strings.HasPrefix(d.head, "HTTP/1.1 200") {
			t.Errorf("a request that came meanwhile: %q, %v", d.head, err)
		}
	}
	select {
	case err := <-slow:
		t.Errorf("what was under way ended before its server answered: %v", err)
	case <-drained:
		t.Error("the instance takes itself for drained while a request is under way")
	default:
	}
	close(release)
	if err := <-slow; err != nil {
		t.Errorf("what was under way: %v", err)
	}
	<-drained
}

// What the document no longer names must not live on because its successor is away.
func TestMovedInstanceIsLeftInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		next := &slotSet{up: make(chan struct{})}
		next.replace(t.Context(), &slotSet{log: quietLogger(), cancel: cancel})
		if took := time.Since(start); ctx.Err() == nil || took != leavingDrain {
			t.Errorf("left after %s: %v, want %s", took, ctx.Err(), leavingDrain)
		}
	})
}

// A document that names a new instance is found without anybody's saying so.
func TestNewInstanceIsReachedUnasked(t *testing.T) {
	s := newSite(t, okServer(t))
	one, two := s.newInstance(0, "i-1", s.ca, testService), s.newInstance(1, "i-2", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one)}
	s.publish()
	run(t, s.agent())
	await(t, "first instance", func() bool { return one.connections() == 2 })
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one, two)}
	s.publish()
	began := time.Now()
	await(t, "new instance", func() bool { return two.connections() == 2 })
	t.Logf("channels to a new instance after %s", time.Since(began).Round(time.Millisecond))
}
