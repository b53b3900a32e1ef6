package connpoint

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// A nameServer answers for every name with the addresses that the test gives it.
type nameServer struct {
	conn net.PacketConn

	mu    sync.Mutex
	addrs []net.IP
	asked int
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{conn: conn}
	var work sync.WaitGroup
	work.Go(func() {
		buf := make([]byte, 4<<10)
		for {
			k, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, ok := n.answer(buf[:k]); ok {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); work.Wait() })
	return n
}

func (n *nameServer) set(addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = nil
	for _, a := range addrs {
		n.addrs = append(n.addrs, net.ParseIP(a))
	}
}

func (n *nameServer) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *nameServer) answer(query []byte) ([]byte, bool) {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	q := m.Questions[0]
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 3600} // nobody may keep it for that long
	for _, ip := range n.addrs {
		switch v4 := ip.To4(); {
		case v4 != nil && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: [4]byte(v4)}})
		case v4 == nil && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}})
		}
	}
	out, err := m.Pack()
	return out, err == nil
}

func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

// The gateway moves to another address, of either family: its name is asked for at every dial, whatever its time to live.
func TestNameIsLookedUpAtEveryDial(t *testing.T) {
	s := newSite(t, okServer(t))
	s.listen = "127.0.0.71:0"
	one := s.newInstance(0, "i-1", s.ca, testService)
	_, port, err := net.SplitHostPort(one.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.listen = "[::1]:" + port
	two := s.newInstance(0, "i-1", s.ca, testService)
	g := s.gateway("gw", one)
	g.Address = "gw.causeway-test.example"
	s.doc.Gateways = []signed.Gateway{g}
	s.publish()
	dns := newNameServer(t)
	dns.set("127.0.0.71")
	a := s.agent()
	a.Resolver = dns.resolver()
	run(t, a)
	await(t, "channels to the first address", func() bool { return one.connections() == 2 })
	asked := dns.questions()
	dns.set("::1")
	one.close()
	await(t, "channels to the second address", func() bool { return two.connections() == 2 })
	if dns.questions() <= asked {
		t.Error("nobody asked for the name again")
	}
	// With both families the living one is found.
	dns.set("127.0.0.71", "::1")
	a.Reload()
	for range 3 {
		c, err := a.dialOut(t.Context(), "gw.causeway-test.example:"+port)
		if err != nil || !strings.HasPrefix(c.RemoteAddr().String(), "[::1]") {
			t.Fatalf("dialled %v: %v", c, err)
		}
		c.Close()
	}
}

// All transports reach an IPv6 literal, however it is written.
func TestTransportsReachIPv6Literals(t *testing.T) {
	for _, literal := range []string{"::1", "[::1]"} {
		for _, transport := range channel.Transports {
			t.Run(literal+" "+string(transport), func(t *testing.T) {
				s := newSite(t, okServer(t))
				s.listen = "[::1]:0"
				i := s.newInstance(0, "i-1", s.ca, testService)
				g := s.gateway("gw", i)
				g.Address, g.ServicePort = literal, s.newFront(i, s.ca, false).port()
				s.doc.Gateways = []signed.Gateway{g}
				s.publish()
				a := s.agent()
				a.Transports = []channel.Transport{transport}
				run(t, a)
				await(t, "two connections", func() bool { return i.connections() == 2 })
				if d, err := s.exchange(i, "GET", "/app/x", nil, true); err != nil || !strings.HasPrefix(d.head, "HTTP/1.1 200") {
					t.Errorf("answer %q: %v", d.head, err)
				}
			})
		}
	}
}

// A hundred connection points that lost their gateway in one moment do not come back in one.
func TestRedialsOfManyAreNoHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const points = 100
		var mu sync.Mutex
		start := time.Now()
		dials := make(map[int]int) // by tenth of a second
		var last [points]time.Duration
		var sets []*slotSet
		ctx, cancel := context.WithCancel(t.Context())
		for i := range points {
			s := raceSet(t, func(context.Context, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				last[i] = time.Since(start)
				dials[int(time.Since(start)/(100*time.Millisecond))]++
				return nil, net.ErrClosed
			})
			s.owner.agent.Transports = []channel.Transport{channel.SlotPort}
			sets = append(sets, s)
			s.owner.work.Go(func() { s.keep(ctx, 0) })
		}
		time.Sleep(time.Minute)
		cancel()
		for _, s := range sets {
			s.owner.work.Wait()
		}
		mu.Lock()
		defer mu.Unlock()
		for tenth, n := range dials {
			if tenth >= 30 && n > points/3 { // 4 on average once the pauses have grown, and by no chance so many
				t.Errorf("%d of %d dial in one tenth of a second, %.1f s after the loss", n, points, float64(tenth)/10)
			}
		}
		for i, d := range last {
			if d < time.Minute-redialMost-time.Second {
				t.Errorf("connection point %d dialled last after %s: its return could take longer than %s", i, d, redialMost)
			}
		}
	})
}
