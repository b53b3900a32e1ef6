package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
	"github.com/causeway-gateway/causeway/internal/sock"
)

func TestMain(m *testing.M) {
	if os.Getenv(envBalancer) != "" {
		os.Exit(balancerProcess())
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.DiscardHandler)

// eventually waits for something that another goroutine does. It polls: the balancer tells nobody.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// startBalancer runs a balancer on free ports of loopback.
func startBalancer(t *testing.T, b *Balancer) *Balancer {
	t.Helper()
	if b.Address == "" {
		b.Address = "127.0.0.1"
	}
	b.Port, b.NATPortBase, b.Logger = -1, -1, quiet
	if b.Probe.Interval == 0 {
		b.Probe.Interval = 100 * time.Millisecond
	}
	if b.Probe.Timeout == 0 {
		b.Probe.Timeout = 20 * time.Second // a machine that stalls must not make an instance sick
	}
	if err := b.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v", err)
		}
		// An accept loop that does not know the end when it sees it counts errors.
		if n := b.Status().AcceptErrors; n > 0 && t.Name() != "TestAcceptSurvivesRunningOutOfDescriptors" {
			t.Errorf("%d accept errors", n)
		}
	})
	return b
}

// gatewayInstance is what an instance does with its listeners: every public and channel connection is greeted with the
// instance's name and the peer's address and then echoed; the health port answers as told.
type gatewayInstance struct {
	id     causeway.InstanceID
	attach *os.File // the supervisor's end

	receiver *handoff.Receiver
	sick     atomic.Bool
	hung     atomic.Bool // takes health connections and does nothing with them
	cancel   context.CancelFunc
	done     chan struct{}
}

func startInstance(t *testing.T, id causeway.InstanceID) *gatewayInstance {
	t.Helper()
	supervisor, inherited, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	r, err := handoff.NewReceiver(inherited)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g := &gatewayInstance{id: id, attach: supervisor, receiver: r, cancel: cancel, done: make(chan struct{})}
	public, channel, health := r.Listener(handoff.Public), r.Listener(handoff.Channel), r.Listener(handoff.Health)
	go func() {
		defer close(g.done)
		var all sync.WaitGroup
		defer all.Wait()
		all.Go(func() { g.serve(ctx, &all, public, "public") })
		all.Go(func() { g.serve(ctx, &all, channel, "channel") })
		all.Go(func() { g.serveHealth(ctx, &all, health) })
		r.Run(ctx)
	}()
	t.Cleanup(g.kill)
	t.Cleanup(func() { supervisor.Close() }) // if nobody else did
	return g
}

func (g *gatewayInstance) kill() {
	g.cancel()
	g.attach.Close()
	<-g.done
}

func (g *gatewayInstance) serve(ctx context.Context, all *sync.WaitGroup, ln net.Listener, port string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		port := port
		if _, shared := c.(sock.Shared); shared {
			port += "-again"
		}
		all.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })() // as a process that dies does
			fmt.Fprintf(c, "%s %s %s\n", g.id, port, c.RemoteAddr())
			io.Copy(c, c)
		})
	}
}

func (g *gatewayInstance) serveHealth(ctx context.Context, all *sync.WaitGroup, ln net.Listener) {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if g.hung.Load() {
			select {
			case <-r.Context().Done():
			case <-ctx.Done():
			}
		}
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	all.Go(func() { <-ctx.Done(); srv.Close() })
	srv.Serve(ln)
}

// join does what the supervisor does, without one.
func (g *gatewayInstance) join(t *testing.T, b *Balancer, n causeway.Slot) (channel string) {
	t.Helper()
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := handoff.Attach(g.attach, theirs); err != nil {
		t.Fatal(err)
	}
	addr, err := b.Add(t.Context(), n, g.id, ours)
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func (b *Balancer) statusOf(n causeway.Slot) InstanceStatus {
	for _, in := range b.Status().Instances {
		if in.Slot == n {
			return in
		}
	}
	return InstanceStatus{}
}

func (b *Balancer) instanceIn(n causeway.Slot) *instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.slots[n].current.Load()
}

func waitHealthy(t *testing.T, b *Balancer, n causeway.Slot, want bool) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("status: %+v", b.Status())
		}
	})
	eventually(t, fmt.Sprintf("slot %d healthy = %v", n, want), func() bool { return b.statusOf(n).Healthy == want })
}

// call is one device connection.
type call struct {
	net.Conn
	instance, port, seenAs string
}

func dial(t *testing.T, address string) call {
	t.Helper()
	c, err := tryDial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tryDial(address string) (call, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return call{}, err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	greeting, err := bufio.NewReaderSize(c, 64).ReadString('\n')
	words := strings.Fields(greeting)
	if err != nil || len(words) != 3 {
		c.Close()
		return call{}, fmt.Errorf("greeting %q: %w", greeting, err)
	}
	return call{c, words[0], words[1], words[2]}, nil
}

func (c call) wantAlive(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "ping" {
		t.Fatalf("echo %q, %v", got, err)
	}
}

func wantRefused(t *testing.T, address string) {
	t.Helper()
	c, err := tryDial(address)
	if err == nil {
		c.Close()
		t.Fatalf("%s answers as %s, want a refusal", address, c.instance)
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: %v, want a reset", address, err)
	}
}

func TestFlowsSpreadOverHealthyInstances(t *testing.T) {
	b := startBalancer(t, &Balancer{})
	wantRefused(t, b.Addr().String()) // no instance at all
	instances := map[string]*gatewayInstance{}
	for n := range causeway.Slot(3) {
		g := startInstance(t, causeway.InstanceID(fmt.Sprint("i", n)))
		instances[string(g.id)] = g
		g.join(t, b, n)
		waitHealthy(t, b, n, true)
	}
	seen := map[string]int{}
	for range 150 {
		c := dial(t, b.Addr().String())
		seen[c.instance]++
		if c.port != "public" || c.seenAs != c.LocalAddr().String() {
			t.Fatalf("seen as %s on %s, want %s on public", c.seenAs, c.port, c.LocalAddr())
		}
		c.Close()
	}
	for id := range instances {
		if seen[id] < 20 {
			t.Errorf("instance %s got %d of 150 flows, want about 50: %v", id, seen[id], seen)
		}
	}
	counted := func() (public uint64) { // a connection counts a moment after it arrived
		for _, in := range b.Status().Instances {
			public += in.Public
		}
		return public
	}
	eventually(t, "150 connections counted", func() bool { return counted() == 150 })
	if s := b.Status(); s.Accepted != 151 || s.Refused != 1 {
		t.Errorf("status %+v; want 151 accepted, 1 refused", s)
	}
}

func TestUnhealthyInstanceKeepsItsConnectionsAndGetsNoNew(t *testing.T) {
	b := startBalancer(t, &Balancer{})
	sick, well := startInstance(t, "sick"), startInstance(t, "well")
	channel := sick.join(t, b, 0)
	waitHealthy(t, b, 0, true)
	old := dial(t, b.Addr().String())
	well.join(t, b, 1)
	waitHealthy(t, b, 1, true)

	sick.sick.Store(true)
	waitHealthy(t, b, 0, false)
	if got := b.statusOf(0).ProbeError; !strings.Contains(got, "503") {
		t.Errorf("probe error %q, want the status", got)
	}
	for range 30 {
		if c := dial(t, b.Addr().String()); c.instance != "well" {
			t.Fatal("an unhealthy instance got a connection")
		}
	}
	old.wantAlive(t)
	if c := dial(t, channel); c.instance != "sick" || c.port != "channel" {
		t.Errorf("NAT reached %s %s, want it never gated by the probe", c.instance, c.port)
	}

	well.sick.Store(true)
	waitHealthy(t, b, 1, false)
	wantRefused(t, b.Addr().String())
	sick.sick.Store(false)
	waitHealthy(t, b, 0, true)
	dial(t, b.Addr().String()).wantAlive(t)
}

func TestHungInstanceTurnsUnhealthy(t *testing.T) {
	b := startBalancer(t, &Balancer{Probe: Probe{Interval: 100 * time.Millisecond, Timeout: 100 * time.Millisecond}})
	g := startInstance(t, "hung")
	g.join(t, b, 0)
	waitHealthy(t, b, 0, true)
	g.hung.Store(true)
	waitHealthy(t, b, 0, false)
}

func TestTCPProbeTestsTheInstanceNotTheKernel(t *testing.T) {
	b := startBalancer(t, &Balancer{Probe: Probe{TCP: true, Interval: 100 * time.Millisecond, Timeout: 100 * time.Millisecond}})
	startInstance(t, "well").join(t, b, 0)
	waitHealthy(t, b, 0, true)

	// An instance that never looks at what it was handed: its end is attached to nothing.
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := b.Add(t.Context(), 1, "hung", ours); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a failed probe", func() bool { return b.statusOf(1).ProbeError != "" })
	if b.statusOf(1).Healthy {
		t.Error("an instance that takes no connection is healthy")
	}
}

func TestDeadInstanceGetsNothingAtOnce(t *testing.T) {
	b := startBalancer(t, &Balancer{Probe: Probe{Interval: time.Minute}}) // not the probe notices it
	dead, well := startInstance(t, "dead"), startInstance(t, "well")
	channel := dead.join(t, b, 0)
	well.join(t, b, 1)
	waitHealthy(t, b, 0, true)
	waitHealthy(t, b, 1, true)
	dead.kill()
	for range 30 {
		if c := dial(t, b.Addr().String()); c.instance != "well" {
			t.Fatal("a dead instance answered")
		}
	}
	eventually(t, "the death noticed", func() bool { return b.statusOf(0).Gone })
	wantRefused(t, channel)

	successor := startInstance(t, "successor")
	if again := successor.join(t, b, 0); again != channel {
		t.Errorf("the slot's channel port moved from %s to %s", channel, again)
	}
	if c := dial(t, channel); c.instance != "successor" {
		t.Errorf("NAT reached %s", c.instance)
	}
	waitHealthy(t, b, 0, true)
}

func TestFullInstanceIsPassedOver(t *testing.T) {
	b := startBalancer(t, &Balancer{})
	ours, theirs, err := handoff.Pair() // takes nothing: its queue fills up
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := b.Add(t.Context(), 0, "full", ours); err != nil {
		t.Fatal(err)
	}
	startInstance(t, "well").join(t, b, 1)
	waitHealthy(t, b, 1, true)
	full := b.instanceIn(0)
	filler, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	f, err := filler.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		fd, dupErr := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if dupErr != nil {
			t.Fatal(dupErr)
		}
		if err = full.sender.Send(handoff.Public, fd, nil); err != nil {
			unix.Close(fd)
		}
	}
	full.healthy.Store(true) // as it was a moment ago
	for range 30 {
		if c := dial(t, b.Addr().String()); c.instance != "well" {
			t.Fatalf("%s answered", c.instance)
		}
	}
	if full.busy.Load() == 0 {
		t.Error("no flow met the full instance")
	}
}

// An instance may keep a descriptor of what it says that it did not take.
func TestNextInstanceLearnsThatAnotherHadTheConnection(t *testing.T) {
	b := startBalancer(t, &Balancer{})
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	broken, err := handoff.NewSocket(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Add(t.Context(), 0, "broken", ours); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer broken.Close()
	all.Go(func() { // it takes nothing
		buf := make([]byte, 6)
		for {
			n, f, err := broken.Read(buf)
			if err != nil {
				return
			}
			f.Close()
			buf[0] = 'n'
			_ = broken.Write(buf[:n], nil)
		}
	})
	startInstance(t, "well").join(t, b, 1)
	waitHealthy(t, b, 1, true)
	seen := map[string]bool{}
	eventually(t, "a connection of either kind", func() bool {
		b.instanceIn(0).healthy.Store(true) // as it was a moment ago
		c := dial(t, b.Addr().String())
		if c.instance != "well" {
			t.Fatalf("%s answered", c.instance)
		}
		seen[c.port] = true
		return seen["public"] && seen["public-again"]
	})
}

func TestRemovedInstanceKeepsItsConnections(t *testing.T) {
	b := startBalancer(t, &Balancer{})
	g := startInstance(t, "old")
	channel := g.join(t, b, 0)
	waitHealthy(t, b, 0, true)
	old := dial(t, b.Addr().String())
	if err := b.Remove(0, "another"); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("Remove of another instance = %v, want ErrNotFound", err)
	}
	if err := b.Remove(0, "old"); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, b.Addr().String())
	wantRefused(t, channel)
	old.wantAlive(t)
	for _, n := range []causeway.Slot{0, 1, -1, 16} {
		if err := b.Remove(n, "old"); !errors.Is(err, causeway.ErrNotFound) {
			t.Errorf("Remove from slot %d = %v, want ErrNotFound", n, err)
		}
	}
}

func TestIPv6FrontEnd(t *testing.T) {
	for _, address := range []string{"::1", "::"} {
		t.Run(address, func(t *testing.T) {
			var destination atomic.Value
			b := startBalancer(t, &Balancer{Address: address, Allow: func(f Flow) bool {
				destination.Store(f.Destination.Addr().String())
				return true
			}})
			g := startInstance(t, "six")
			channel := g.join(t, b, 0)
			waitHealthy(t, b, 0, true)
			_, port, _ := net.SplitHostPort(b.Addr().String())
			c := dial(t, net.JoinHostPort("::1", port))
			if c.seenAs != c.LocalAddr().String() {
				t.Errorf("seen as %s, want %s", c.seenAs, c.LocalAddr())
			}
			if got := destination.Load(); got != "::1" {
				t.Errorf("destination %v, want the address that was dialled", got)
			}
			if address == "::" { // dual stack: an IPv4 client is an IPv4 client
				c := dial(t, net.JoinHostPort("127.0.0.1", port))
				if c.seenAs != c.LocalAddr().String() {
					t.Errorf("seen as %s, want %s", c.seenAs, c.LocalAddr())
				}
				if got := destination.Load(); got != "127.0.0.1" {
					t.Errorf("destination %v, want 127.0.0.1", got)
				}
			}
			_, port, _ = net.SplitHostPort(channel)
			dial(t, net.JoinHostPort("::1", port)).wantAlive(t)
		})
	}
}

func TestAllowIsAskedBeforeTheHandOver(t *testing.T) {
	var asked atomic.Value
	b := startBalancer(t, &Balancer{Allow: func(f Flow) bool {
		asked.Store(f)
		return f.Slot >= 0
	}})
	g := startInstance(t, "i")
	channel := g.join(t, b, 4)
	waitHealthy(t, b, 4, true)
	wantRefused(t, b.Addr().String())
	if f := asked.Load().(Flow); f.Slot != -1 || f.Destination.String() != b.Addr().String() || !f.Source.Addr().IsLoopback() {
		t.Errorf("asked about %+v", f)
	}
	dial(t, channel).wantAlive(t)
	if f := asked.Load().(Flow); f.Slot != 4 || f.Destination.String() != channel {
		t.Errorf("asked about %+v", f)
	}
	if s := b.Status(); s.Denied != 1 || s.Instances[0].Public != 0 {
		t.Errorf("status %+v, want one denied and nothing handed over", s)
	}
}

func TestAcceptSurvivesRunningOutOfDescriptors(t *testing.T) {
	b := startBalancer(t, &Balancer{Probe: Probe{Interval: time.Minute}})
	startInstance(t, "i").join(t, b, 0)
	waitHealthy(t, b, 0, true)
	client, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}) // a descriptor to give back
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lowest, err := os.Open(os.DevNull) // the lowest free number
	if err != nil {
		t.Fatal(err)
	}
	number := uint64(lowest.Fd())
	lowest.Close()
	client.Close()
	// One free number, for the client of this test; the balancer finds none.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: number, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		c, err := tryDial(b.Addr().String())
		if err == nil {
			c.Close()
		}
		answered <- err
	}()
	eventually(t, "accept failing", func() bool { return b.Status().AcceptErrors > 0 })
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the client that waited: %v", err)
	}
	dial(t, b.Addr().String()).wantAlive(t)
}

func TestPortTakenIsSaidAtOnce(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	b := &Balancer{Address: "127.0.0.1", Port: port, Logger: quiet}
	if err := b.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen = %v, want EADDRINUSE", err)
	}
	b = &Balancer{Address: "127.0.0.1", NATPortBase: port - 3, Logger: quiet}
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := b.Add(t.Context(), 3, "i", ours); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Add = %v, want EADDRINUSE", err)
	}
	if n, err := theirs.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the hand-over end is still open: %d, %v", n, err)
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	for _, b := range []*Balancer{
		{Address: ""}, {Address: "localhost"}, {Address: "127.0.0.1:443"},
		{Address: "127.0.0.1", Probe: Probe{Interval: time.Millisecond}},
		{Address: "127.0.0.1", Probe: Probe{Interval: time.Hour}},
		{Address: "127.0.0.1", Probe: Probe{Timeout: -1}},
		{Address: "127.0.0.1", Probe: Probe{Path: "healthz"}},
		{Address: "127.0.0.1", Probe: Probe{UnhealthyAfter: 21}},
	} {
		b.Port = -1
		if err := b.Run(t.Context()); err == nil {
			t.Errorf("Run(%q, %+v) = nil", b.Address, b.Probe)
		}
	}
}

func TestInstancesAddedBeforeRunAreServed(t *testing.T) {
	b := &Balancer{Address: "127.0.0.1", Port: -1, NATPortBase: -1, Logger: quiet}
	g := startInstance(t, "early")
	channel := g.join(t, b, 2)
	startBalancer(t, b)
	waitHealthy(t, b, 2, true)
	dial(t, b.Addr().String()).wantAlive(t)
	dial(t, channel).wantAlive(t)
}

func TestStoppedBalancerTakesNoInstances(t *testing.T) {
	b := &Balancer{Address: "127.0.0.1", Port: -1, NATPortBase: -1, Logger: quiet}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := b.Add(t.Context(), 0, "late", ours); err == nil {
		t.Error("Add after Run = nil")
	}
}
