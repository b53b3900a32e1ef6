package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestBucketKeepsItsRate(t *testing.T) {
	var b bucket
	r := perSecond(10, 5)
	now := int64(time.Hour)
	taken := 0
	for range 100 { // 10 s in steps of 100 ms, two tries each
		for range 2 {
			if b.take(r, now) == 0 {
				taken++
			}
		}
		now += int64(100 * time.Millisecond)
	}
	if taken < 100 || taken > 106 {
		t.Errorf("took %d in 10 s at 10/s with a burst of 5", taken)
	}
	if wait := b.take(r, now); wait < 0 || wait > 100*time.Millisecond {
		t.Errorf("next in %v", wait)
	}
	if b.take(rate{}, now) != 0 {
		t.Error("no rate is a limit")
	}
	if !b.full(now + int64(time.Second)) {
		t.Error("bucket never recovers")
	}
}

func TestFloodingDeviceGets429AndOthersPass(t *testing.T) {
	in := run(t)
	in.apply(func(d *signed.GatewayDocument) { d.Limits = signed.Limits{DeviceRatePerSecond: 1, DeviceBurst: 3} })
	noisy, quiet := in.dial("noisy"), in.dial("quiet")
	refused := 0
	for range 10 {
		if r := noisy.ask(get("/app/")); r.StatusCode == 429 {
			refused++
			r.wants(t, 429, causeway.CodeTooManyRequests)
			if r.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if refused < 6 {
		t.Errorf("%d of 10 refused", refused)
	}
	// A new connection is no new device.
	in.dialTLS(in.clientTLS(in.deviceCA.issue("noisy"))).ask(get("/app/")).wants(t, 429, causeway.CodeTooManyRequests)
	quiet.ask(get("/app/")).wants(t, 200, 0)
}

func TestRuleLimitsCountPerDeviceAndRule(t *testing.T) {
	in := run(t)
	in.apply(func(d *signed.GatewayDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/"}, {Path: "/rare", RatePerSecond: 0.001, Burst: 1}, {Path: "/one", Concurrency: 1}}
	})
	d := in.dial("pc-1")
	d.ask(get("/app/rare")).wants(t, 200, 0)
	d.ask(get("/app/rare")).wants(t, 429, causeway.CodeTooManyRequests)
	d.ask(get("/app/other")).wants(t, 200, 0)
	in.dial("pc-2").ask(get("/app/rare")).wants(t, 200, 0)
	in.apply(nil) // a new document refills nobody's bucket
	d.ask(get("/app/rare")).wants(t, 429, causeway.CodeTooManyRequests)

	hold, held := make(chan struct{}), make(chan struct{})
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if string(r.head.Target) == "/app/one" {
			close(held)
			<-hold
		}
		return answerOK(ctx, r, d)
	})
	first, second := in.dial("pc-3"), in.dial("pc-3")
	first.send(get("/app/one"))
	<-held
	second.ask(get("/app/one")).wants(t, 429, causeway.CodeTooManyRequests)
	second.ask(get("/app/two")).wants(t, 200, 0)
	close(hold)
	first.receive("GET").wants(t, 200, 0)
}

func TestGateIsFairAmongDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		noisy, quiet := &deviceEntry{id: "noisy"}, &deviceEntry{id: "quiet"}
		if err := g.enter(t.Context(), noisy); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []causeway.DeviceID
		var wg sync.WaitGroup
		wait := func(d *deviceEntry) {
			wg.Go(func() {
				if err := g.enter(t.Context(), d); err != nil {
					t.Errorf("%s: %v", d.id, err)
					return
				}
				mu.Lock()
				order = append(order, d.id)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				g.leave()
			})
			synctest.Wait()
		}
		for range 20 {
			wait(noisy)
		}
		wait(quiet)
		g.leave()
		wg.Wait()
		if len(order) != 21 || order[0] != "quiet" && order[1] != "quiet" {
			t.Errorf("order %v", order)
		}
		if g.inUse != 0 || g.waiting != 0 || len(g.lines) != 0 || len(g.turns) != 0 {
			t.Errorf("gate is left as %+v", g)
		}
	})
}

func TestGateWaitIsShortAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		d := &deviceEntry{}
		if err := g.enter(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := g.enter(t.Context(), d)
		if causeway.CodeOf(err) != causeway.CodeOverloaded || time.Since(began) != maxGateWait {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		var wg sync.WaitGroup
		for range maxGateLine {
			wg.Go(func() { _ = g.enter(t.Context(), d) })
		}
		synctest.Wait()
		began = time.Now()
		if err := g.enter(t.Context(), d); causeway.CodeOf(err) != causeway.CodeOverloaded || time.Since(began) != 0 {
			t.Errorf("full line: %v after %v", err, time.Since(began))
		}
		wg.Wait()
		if g.waiting != 0 || len(g.lines) != 0 || len(g.turns) != 0 || g.inUse != 1 {
			t.Errorf("gate is left as %+v", g)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		wg.Go(func() {
			if err := g.enter(ctx, d); !errors.Is(err, errDeviceGone) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		cancel(errDeviceGone)
		wg.Wait()
		g.resize(2)
		if err := g.enter(t.Context(), d); err != nil {
			t.Errorf("after resize: %v", err)
		}
	})
}

func TestPublicationAtItsLimitAnswers503(t *testing.T) {
	in := run(t)
	in.apply(func(d *signed.GatewayDocument) { d.Publications[0].MaxInFlight = 1 })
	hold, held := make(chan struct{}), make(chan struct{})
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if string(r.head.Target) == "/app/slow" {
			close(held)
			<-hold
		}
		return answerOK(ctx, r, d)
	})
	first, second := in.dial("pc-1"), in.dial("pc-2")
	first.send(get("/app/slow"))
	<-held
	r := second.ask(get("/app/"))
	r.wants(t, 503, causeway.CodeOverloaded)
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	second.ask("GET / HTTP/1.1\r\nHost: repo.test\r\n\r\n").wants(t, 200, 0) // another publication
	close(hold)
	first.receive("GET").wants(t, 200, 0)
	second.ask(get("/app/")).wants(t, 200, 0)
}

func TestConnectionLimitsShedEarly(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"in all":                   func(l *Limits) { l.MaxConnections = 2 },
		"of one source":            func(l *Limits) { l.MaxConnectionsPerSource = 2 },
		"handshakes":               func(l *Limits) { l.MaxHandshakes = 2 },
		"handshakes of one source": func(l *Limits) { l.MaxHandshakesPerSource = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			in := run(t, func(c *Config) { change(&c.Limits) })
			var open []net.Conn
			for range 2 {
				c, err := net.Dial("tcp", in.devices.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				open = append(open, c)
			}
			waitFor(t, func() bool { n, _ := in.sources.open(); return n == 2 })
			if c, err := tls.Dial("tcp", in.devices.Addr().String(), in.clientTLS(in.deviceCA.issue("pc-1"))); err == nil {
				c.Close()
				t.Error("third connection was served")
			}
			open[0].Close()
			waitFor(t, func() bool { n, _ := in.sources.open(); return n == 1 })
			in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
		})
	}
}

// longWait is what a test gives things that happen at once as a rule: a loaded machine can stall for seconds, and a test
// that succeeds does not wait.
const longWait = 30 * time.Second

// timedOut reports whether a read ended by the test's own deadline, of a socket, TLS or a WebSocket.
func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(longWait); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen")
		}
	}
}

func TestSourcesOfOneNetworkCountAsOne(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		addr := func(s string) netip.Addr { return sourceAddr(&net.TCPAddr{IP: net.ParseIP(s), Port: 1}) }
		if got := addr(tt.a) == addr(tt.b); got != tt.same {
			t.Errorf("%s and %s: same %v", tt.a, tt.b, got)
		}
	}
}

func TestStrangerWhoGoesOnAndOnIsCutOff(t *testing.T) {
	in := run(t, func(c *Config) { c.Limits.RefusalsPerSecond = 1 })
	codes := map[int]int{}
	for range 20 {
		d := in.dialTLS(in.clientTLS())
		codes[d.ask(get("/app/")).StatusCode]++
		d.c.Close()
	}
	if codes[403] < 5 || codes[429] < 10 {
		t.Errorf("answers %v", codes)
	}
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0) // from the same address
}

func TestConnectionsOfADeviceShareItsEvidence(t *testing.T) {
	devices := newDevices(func() int64 { return 0 })
	a, b := devices.join("pc-1"), devices.join("pc-1")
	first := a.share([]byte("chain"))
	if again := b.share([]byte("chain")); &again[0] != &first[0] {
		t.Error("the same chain is held twice")
	}
	if other := b.share([]byte("chain, renewed")); string(other) != "chain, renewed" {
		t.Errorf("got %q", other)
	}
	if again := a.share([]byte("chain")); string(again) != "chain" {
		t.Errorf("got %q", again)
	}
	devices.part(a)
	if b.evidence == nil {
		t.Error("evidence went with the first connection")
	}
	devices.part(b)
	if b.evidence != nil {
		t.Error("evidence stays without a connection")
	}
}

func TestTablesForgetWhoIsGone(t *testing.T) {
	now := int64(0)
	devices := newDevices(func() int64 { return now })
	q := quota{deviceRate: perSecond(1, 1)}
	for i := range 100 {
		e := devices.join(causeway.DeviceID(fmt.Sprint(i)))
		use, err := e.enter(&q, now)
		if err != nil {
			t.Fatal(err)
		}
		e.leave(use)
		devices.part(e)
	}
	if devices.size() != 100 {
		t.Errorf("%d devices are remembered, want all until their buckets are full", devices.size())
	}
	now = int64(time.Minute)
	devices.sweep()
	if devices.size() != 0 {
		t.Errorf("%d devices are remembered for ever", devices.size())
	}

	sources := newSources(func() int64 { return now })
	limits := Limits{}.or()
	s, p, why := sources.accept(netip.MustParseAddr("192.0.2.1"), &limits, nil)
	if why != shedNot {
		t.Fatal(why)
	}
	s.refusals.take(perSecond(1, 1), now)
	sources.established(p)
	sources.closed(s)
	if len(sources.byAddr) != 1 {
		t.Error("a refused source is forgotten at once")
	}
	now += int64(time.Minute)
	sources.sweep()
	if len(sources.byAddr) != 0 {
		t.Error("a source is remembered for ever")
	}
}

func TestRefusalsOfOneSourceAreAggregated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &syncBuffer{}
		l := newRefusalLog(testLogger(in), time.Now, "more was refused")
		r := &refused{source: netip.MustParseAddr("192.0.2.1"), address: "192.0.2.1:5", code: causeway.CodeBadRequest, status: 400}
		for range 1000 {
			l.write(t.Context(), r)
		}
		other := *r
		other.source = netip.MustParseAddr("192.0.2.2")
		l.write(t.Context(), &other)
		time.Sleep(2 * time.Second)
		l.flush(false)
		if got := strings.Count(in.String(), "request refused"); got != maxRefusalLines+1 {
			t.Errorf("%d lines", got)
		}
		if !strings.Contains(in.String(), "suppressed=990") || len(l.windows) != 0 {
			t.Errorf("log %q, %d windows left", in.String(), len(l.windows))
		}
		for i := range 2 * maxRefusalSources {
			r.source = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			l.write(t.Context(), r)
		}
		if len(l.windows) > maxRefusalSources+1 {
			t.Errorf("%d windows", len(l.windows))
		}
	})
}

func TestUnreadableRequestIsNotLoggedAsAnothersRequest(t *testing.T) {
	in := run(t)
	cert := in.deviceCA.issue("pc-2")
	for range 20 {
		in.dial("pc-1").ask(get("/app/secret")).wants(t, 200, 0)
		in.dialTLS(in.clientTLS(cert)).ask("GET /x HTTP/1.1\nHost: x\n\n").wants(t, 400, causeway.CodeBadRequest)
		two := in.dialHTTP2(t, cert)
		two.receive(two.open(true, h2request("GET", testName, "/app/secret")...))
		two.receive(two.open(true, h2request("GET", testName, "/x", h2Field{"host", "evil.test"})...))
		two.c.Close()
	}
	waitFor(t, func() bool { return strings.Contains(in.logs.String(), "bare") })
	if logs := in.logs.String(); strings.Contains(logs, "secret") {
		t.Errorf("a refusal tells what another device asked:\n%s", logs)
	}
}

func TestLogValuesAreEscapedAndCut(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	d.ask("GET /nothing/" + strings.Repeat("A", 5000) + "?token=hunter2 HTTP/1.1\r\nHost: gateway.test\r\nUser-Agent: \x1b[31m\r\n\r\n")
	d2 := in.dial("pc-1")
	d2.ask(get("/nothing/\xc3\xbc<![LOG[fake]LOG]!>"))
	logs := in.logs.String()
	for _, bad := range []string{"hunter2", "\x1b", strings.Repeat("A", maxShown+1), "\xc3"} {
		if strings.Contains(logs, bad) {
			t.Errorf("log holds %.40q", bad)
		}
	}
	if strings.Count(logs, "request refused") != 2 {
		t.Errorf("log %q", logs)
	}
	if got := shown("a\r\nb\\\x00" + strings.Repeat("x", 500)); len(got) > maxShown+10 || strings.ContainsAny(got, "\r\n\x00") || !strings.HasPrefix(got, `a\x0d\x0ab\\\x00`) {
		t.Errorf("shown as %q", got)
	}
}

func TestSlowReaderHoldsOnlyItself(t *testing.T) {
	in := run(t)
	in.apply(func(doc *signed.GatewayDocument) {
		doc.Publications[0].Rules[0].IdleTimeout = policy.Duration(300 * time.Millisecond)
	})
	ended := make(chan error, 1)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if string(r.head.Target) != "/app/big" {
			return answerOK(ctx, r, d)
		}
		err := d.Answer(head("200 OK"), nil, false)
		part := make([]byte, 32<<10)
		for err == nil {
			err = d.Data(part, false)
		}
		ended <- err
		return err
	})
	slow := in.dial("slow")
	slow.send(get("/app/big"))
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	select {
	case err := <-ended:
		if !errors.Is(err, errDeviceGone) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(longWait):
		t.Fatal("a device that does not read keeps its place")
	}
	if _, err := io.Copy(io.Discard, slow.c); err == nil {
		t.Error("device took a cut answer for a whole one")
	}
}

func TestDocumentGovernsTheLimits(t *testing.T) {
	in := run(t)
	in.apply(func(d *signed.GatewayDocument) { d.Limits = signed.Limits{MaxConnectionsPerSource: 1} })
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	if c, err := tls.Dial("tcp", in.devices.Addr().String(), in.clientTLS(in.deviceCA.issue("pc-2"))); err == nil {
		c.Close()
		t.Error("second connection was served")
	}
	in.apply(func(d *signed.GatewayDocument) { d.Limits = signed.Limits{MaxConnectionsPerSource: 2, MaxInFlight: 1} })
	in.dial("pc-2").ask(get("/app/")).wants(t, 200, 0)
	if _, _, err := in.Apply(in.seal(func(d *signed.GatewayDocument) { d.Limits = signed.Limits{MaxConnections: 1 << 30} })); err == nil {
		t.Error("a limit beyond all bounds was taken")
	}
}

func TestSlowDevicesDoNotHoldUpOthers(t *testing.T) {
	in := run(t, func(c *Config) { c.Timeouts.Head = 2 * time.Second })
	cfg := in.clientTLS(in.deviceCA.issue("slow"))
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	var slow []*device
	for i := range 100 {
		d := in.dialTLS(cfg)
		switch i % 3 {
		case 0:
			d.send("GET /app/ HTTP/1.1\r\n") // never ends its head
		case 1:
			d.send("POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1000\r\n\r\n") // never sends its body
		case 2:
			d.send(get("/app/")) // never reads its answer
		}
		slow = append(slow, d)
	}
	good := in.dial("pc-1")
	for range 20 {
		good.ask(get("/app/")).wants(t, 200, 0)
	}
	if r := slow[0].receive("GET"); r.StatusCode != 408 {
		t.Errorf("slow head: %d", r.StatusCode)
	}
}

// An exhaustedListener fails as one does that has no file descriptors left, for a while.
type exhaustedListener struct {
	net.Listener
	mu    sync.Mutex
	fails int
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.fails--
	failing := l.fails >= 0
	l.mu.Unlock()
	if failing {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptRecoversFromExhaustion(t *testing.T) {
	in := run(t, func(c *Config) { c.Devices = &exhaustedListener{Listener: c.Devices, fails: 5} })
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	if !strings.Contains(in.logs.String(), "accept failed") {
		t.Error("nobody was told")
	}
}

func TestTurningRequestsAwayForMemoryIsTold(t *testing.T) {
	in := run(t)
	if m := in.Status().Memory; m.UsedBytes != 4096 || m.BudgetBytes != 1<<20 || !m.LastRefused.IsZero() {
		t.Errorf("memory %+v before anything happened", m)
	}
	in.backend.serve(func(context.Context, *seenRequest, channel.DeviceSide) error {
		return &causeway.Refusal{Code: causeway.CodeOverloaded, Err: channel.ErrNoMemory, RetryAfter: time.Second}
	})
	in.dial("pc-1").ask(get("/app/")).wants(t, 503, causeway.CodeOverloaded)
	if in.Status().Memory.LastRefused.IsZero() {
		t.Error("the status does not tell of it")
	}
	if logs := in.logs.String(); !strings.Contains(logs, `err="memory budget is used up"`) || !strings.Contains(logs, "raise memory_budget") {
		t.Errorf("the log does not say what to do:\n%s", logs)
	}
}

func TestLimitsThatAreReachedFirstAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/codes.md")
	if err != nil {
		t.Fatal(err)
	}
	grouped := func(n int) string {
		if n < 1000 {
			return strconv.Itoa(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	perDevice := func(inFlight, rate, burst int) string {
		return grouped(inFlight) + " in flight; " + grouped(rate) + " a second, " + grouped(burst) + " at once |"
	}
	for _, want := range []string{
		"| one device, one rule | " + perDevice(policy.DefaultConcurrency, policy.DefaultRatePerSecond, policy.DefaultBurst),
		"| one device | " + perDevice(defaultDeviceConcurrency, defaultDeviceRate, defaultDeviceBurst),
		"| one published server, all devices | " + grouped(policy.DefaultMaxInFlight) + " in flight;",
		"| one instance | " + grouped(Limits{}.or().MaxInFlight) + " in flight |",
	} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("docs/codes.md has no %q", want)
		}
	}
}
