package channel

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper admits everybody and takes every document as the next generation.
type keeper struct {
	mu      sync.Mutex
	taken   [][]byte
	refuse  error
	badDocs bool
}

func (k *keeper) Apply(d []byte) (string, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.badDocs {
		return "gateway", uint64(len(k.taken)), errors.New("bad signature")
	}
	k.taken = append(k.taken, d)
	return "gateway", uint64(len(k.taken)), nil
}

func (k *keeper) Admit(h Hello, _ []*x509.Certificate) (Welcome, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Welcome{Instance: "i-1", Slot: h.Slot, Software: "test"}, k.refuse
}

// handlerFunc makes a function a Handler.
type handlerFunc func(in *Inbound)

func (f handlerFunc) Handle(in *Inbound) { f(in) }

// A bed is a pool and the connection points around it.
type bed struct {
	t    *testing.T
	pool *Pool
	keep *keeper
}

func newBed(t *testing.T, cfg PoolConfig) *bed {
	k := &keeper{}
	cfg.Gatekeeper = k
	return &bed{t: t, pool: NewPool(cfg), keep: k}
}

// A peer is one connection of a connection point.
type peer struct {
	session *Session
	welcome Welcome
	stop    context.CancelFunc // ends Serve in order
	served  chan error
	gateway chan error
	raw     net.Conn // the connection point's end
}

// join connects a connection point over loopback TCP and serves with h until the test ends.
func (b *bed) join(id causeway.ConnectionPointID, h handlerFunc, cfg SessionConfig) *peer {
	b.t.Helper()
	cp, gw := tcpPair(b.t)
	return b.joinOn(cp, gw, id, h, cfg)
}

func (b *bed) joinOn(cp, gw net.Conn, id causeway.ConnectionPointID, h handlerFunc, cfg SessionConfig) *peer {
	b.t.Helper()
	return b.joinAs(cp, gw, Hello{ConnectionPoint: id, Slot: 3, Software: "test"}, h, cfg)
}

func (b *bed) joinAs(cp, gw net.Conn, hello Hello, h handlerFunc, cfg SessionConfig) *peer {
	b.t.Helper()
	gctx, gcancel := context.WithCancel(b.t.Context())
	p := &peer{served: make(chan error, 1), gateway: make(chan error, 1), raw: cp}
	go func() { p.gateway <- b.pool.Serve(gctx, gw, SlotPort) }()
	s, w, err := Connect(b.t.Context(), cp, hello, cfg)
	if err != nil {
		gcancel()
		b.t.Fatalf("connect: %v", err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	p.session, p.welcome, p.stop = s, w, cancel
	go func() { p.served <- s.Serve(ctx, h) }()
	b.t.Cleanup(func() {
		p.session.Close()
		cancel()
		gcancel()
		<-p.served
		<-p.gateway
	})
	waitFor(b.t, "channel up", func() bool {
		for _, st := range b.pool.Status() {
			if st.ConnectionPoint == hello.ConnectionPoint && st.Connections > 0 {
				return true
			}
		}
		return false
	})
	return p
}

func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		got <- c
	}()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return a, <-got
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 30_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("timed out waiting: %s", what)
}

// recorder is a device that keeps what it gets.
type recorder struct {
	informs  []string
	head     string
	body     bytes.Buffer
	trailers string
	done     bool
	onAnswer func()
	onData   func() error
}

func (r *recorder) Informational(h []byte) error {
	r.informs = append(r.informs, string(h))
	return nil
}
func (r *recorder) Answer(h, b []byte, last bool) error {
	r.head = string(h)
	if r.onAnswer != nil {
		r.onAnswer()
	}
	return r.Data(b, last)
}
func (r *recorder) Data(p []byte, last bool) error {
	r.body.Write(p)
	r.done = last
	if r.onData != nil {
		return r.onData()
	}
	return nil
}
func (r *recorder) Trailers(f []byte) error { r.trailers, r.done = string(f), true; return nil }

const okHead = "HTTP/1.1 200 OK\r\n\r\n"

func get(path string) *Request {
	return &Request{ID: causeway.NewRequestID(), Principal: NewPrincipal(1, []byte("proof"), "192.0.2.7:999"),
		Head: []byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"), Idempotent: true}
}

func post(body io.Reader, n int64) *Request {
	r := get("/up")
	r.Idempotent = false
	r.Head = []byte("POST /up HTTP/1.1\r\nHost: x\r\n\r\n")
	r.Body, r.BodyBytes = io.NopCloser(body), n
	return r
}

func answer(body string) handlerFunc {
	return func(in *Inbound) {
		_ = in.Answer([]byte(okHead), []byte(body), true)
	}
}

func codeOf(t *testing.T, err error) causeway.Code {
	t.Helper()
	r, ok := errors.AsType[*causeway.Refusal](err)
	if !ok {
		t.Fatalf("error %v (%T), want a refusal", err, err)
	}
	return r.Code
}

func TestRequestAndAnswerTravel(t *testing.T) {
	b := newBed(t, PoolConfig{})
	var got struct {
		head, source, evidence string
		id                     causeway.RequestID
	}
	b.join("cp-1", func(in *Inbound) {
		got.head, got.id = string(in.Head()), in.ID()
		got.source, got.evidence = in.Principal().Source, string(in.Principal().Evidence)
		_ = in.Inform([]byte("HTTP/1.1 103 Early Hints\r\n\r\n"))
		_ = in.Answer([]byte(okHead), []byte("hel"), false)
		_ = in.Data([]byte("lo"), false)
		_ = in.AnswerTrailers([]byte("X-Sum: 1\r\n"))
	}, SessionConfig{})
	req, dev := get("/a"), &recorder{}
	if err := b.pool.Exchange(t.Context(), req, dev); err != nil {
		t.Fatal(err)
	}
	if got.head != string(req.Head) || got.id != req.ID || got.source != "192.0.2.7:999" || got.evidence != "proof" {
		t.Errorf("connection point saw %+v", got)
	}
	if dev.head != okHead || dev.body.String() != "hello" || dev.trailers != "X-Sum: 1\r\n" || len(dev.informs) != 1 || !dev.done {
		t.Errorf("device saw %+v", dev)
	}
}

func TestNoChannelIsToldAtOnce(t *testing.T) {
	b := newBed(t, PoolConfig{})
	err := b.pool.Exchange(t.Context(), get("/"), &recorder{})
	if got := codeOf(t, err); got != causeway.CodeNoConnectionPoint {
		t.Errorf("code %v, want %v", got, causeway.CodeNoConnectionPoint)
	}
	if r, _ := errors.AsType[*causeway.Refusal](err); r.RetryAfter <= 0 || r.RetryAfter > time.Second {
		t.Errorf("Retry-After %v, want up to a second", r.RetryAfter)
	}
}

func TestBodiesOfManySizesTravelBothWays(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) { // echo
		if in.BodyBytes() == 0 {
			_ = in.Answer([]byte(okHead), nil, true)
			return
		}
		_ = in.Answer([]byte(okHead), nil, false)
		buf := make([]byte, 50_000)
		for {
			n, err := in.Body().Read(buf)
			if e := in.Data(buf[:n], err == io.EOF); e != nil || err != nil {
				return
			}
		}
	}, SessionConfig{})
	for _, n := range []int{0, 1, 100, requestWindow - 1, requestWindow, requestWindow + 1, 100_000, answerWindow, 5 << 20} {
		for _, known := range []bool{true, false} {
			if n == 0 && known {
				continue
			}
			t.Run(fmt.Sprintf("%d known=%v", n, known), func(t *testing.T) {
				body := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
				size := int64(n)
				if !known {
					size = -1
				}
				dev := &recorder{}
				if err := b.pool.Exchange(t.Context(), post(bytes.NewReader(body), size), dev); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(dev.body.Bytes(), body) {
					t.Errorf("got %d bytes back, want %d", dev.body.Len(), n)
				}
			})
		}
	}
	waitFor(t, "memory given back", func() bool { return b.pool.MemoryUsedBytes() == 0 })
}

func TestRequestTrailersTravel(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) {
		_, _ = io.Copy(io.Discard, in.Body())
		_ = in.Answer([]byte(okHead), in.Trailers(), true)
	}, SessionConfig{})
	req, dev := post(strings.NewReader("body"), -1), &recorder{}
	req.Trailers = func() []byte { return []byte("X-T: 1\r\n") }
	if err := b.pool.Exchange(t.Context(), req, dev); err != nil {
		t.Fatal(err)
	}
	if dev.body.String() != "X-T: 1\r\n" {
		t.Errorf("trailers %q", dev.body.String())
	}
}

func TestRoundRobinOverConnectionPoints(t *testing.T) {
	b := newBed(t, PoolConfig{})
	for _, id := range []string{"cp-1", "cp-2", "cp-3"} {
		b.join(causeway.ConnectionPointID(id), answer(id), SessionConfig{})
	}
	seen := map[string]int{}
	for range 30 {
		dev := &recorder{}
		if err := b.pool.Exchange(t.Context(), get("/"), dev); err != nil {
			t.Fatal(err)
		}
		seen[dev.body.String()]++
	}
	for _, id := range []string{"cp-1", "cp-2", "cp-3"} {
		if seen[id] != 10 {
			t.Errorf("shares %v, want 10 each", seen)
		}
	}
}

func TestUndeliveredGoesElsewhere(t *testing.T) {
	b := newBed(t, PoolConfig{})
	bad := func(in *Inbound) {
		in.Refuse(causeway.CodeConnectorServerUnreachable, NotDelivered)
	}
	b.join("cp-1", bad, SessionConfig{})
	b.join("cp-2", func(in *Inbound) {
		got, _ := io.ReadAll(in.Body())
		_ = in.Answer([]byte(okHead), got, true)
	}, SessionConfig{})
	big := strings.Repeat("x", 300_000)
	for _, req := range []func() *Request{
		func() *Request { return post(strings.NewReader(big), int64(len(big))) },
		func() *Request { return post(strings.NewReader(big), -1) },
		func() *Request { return post(strings.NewReader("small"), 5) },
		func() *Request { return post(iotestOneByte{strings.NewReader(big[:5000])}, -1) },
	} {
		for range 2 { // once with each connection point first
			dev := &recorder{}
			if err := b.pool.Exchange(t.Context(), req(), dev); err != nil {
				t.Fatal(err)
			}
			if n := dev.body.Len(); n != 5 && n != len(big) && n != 5000 {
				t.Errorf("server got %d bytes", n)
			}
		}
	}
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

func TestUndeliveredEverywhereTellsTheLastReason(t *testing.T) {
	b := newBed(t, PoolConfig{})
	for _, id := range []string{"cp-1", "cp-2"} {
		b.join(causeway.ConnectionPointID(id), func(in *Inbound) {
			in.Refuse(causeway.CodeConnectorServerUnreachable, NotDelivered)
		}, SessionConfig{})
	}
	err := b.pool.Exchange(t.Context(), get("/"), &recorder{})
	if got := codeOf(t, err); got != causeway.CodeConnectorServerUnreachable {
		t.Errorf("code %v", got)
	}
}

func TestDeliveredIsRetriedOnceAndOnlyWhenSafe(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  func() *Request
		want int // deliveries
	}{
		{"idempotent", func() *Request { return get("/") }, 2},
		{"not idempotent", func() *Request { r := get("/"); r.Idempotent = false; return r }, 1},
		{"idempotent with a body", func() *Request { r := post(strings.NewReader("x"), 1); r.Idempotent = true; return r }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, PoolConfig{})
			var mu sync.Mutex
			attempts := []int{}
			h := func(in *Inbound) {
				mu.Lock()
				attempts = append(attempts, in.Attempt())
				mu.Unlock()
				in.Refuse(causeway.CodeConnectorServerReset, Delivered)
			}
			b.join("cp-1", h, SessionConfig{})
			b.join("cp-2", h, SessionConfig{})
			b.join("cp-3", h, SessionConfig{})
			err := b.pool.Exchange(t.Context(), tt.req(), &recorder{})
			if got := codeOf(t, err); got != causeway.CodeConnectorServerReset {
				t.Errorf("code %v", got)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(attempts) != tt.want || attempts[len(attempts)-1] != tt.want {
				t.Errorf("deliveries %v, want %d", attempts, tt.want)
			}
		})
	}
}

func TestFinalRefusalIsNotRetried(t *testing.T) {
	b := newBed(t, PoolConfig{})
	n := 0
	b.join("cp-1", func(in *Inbound) {
		n++
		in.Refuse(causeway.CodeConnectorForbidden, Final)
	}, SessionConfig{})
	b.join("cp-2", answer("never"), SessionConfig{})
	for range 2 {
		err := b.pool.Exchange(t.Context(), get("/"), &recorder{})
		if err != nil && codeOf(t, err) != causeway.CodeConnectorForbidden {
			t.Errorf("error %v", err)
		}
	}
	if n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestLostChannelRetriesSafeRequestsElsewhere(t *testing.T) {
	b := newBed(t, PoolConfig{})
	var lost *peer
	reached := make(chan struct{})
	lost = b.join("cp-1", func(in *Inbound) {
		close(reached)
		<-in.Context().Done()
	}, SessionConfig{})
	go func() {
		<-reached
		lost.raw.Close()
	}()
	b.join("cp-2", answer("saved"), SessionConfig{})
	for range 2 {
		dev := &recorder{}
		if err := b.pool.Exchange(t.Context(), get("/"), dev); err != nil {
			t.Fatal(err)
		}
		if dev.body.String() != "saved" {
			t.Errorf("body %q", dev.body.String())
		}
	}
}

func TestLostChannelDoesNotRepeatUnsafeRequests(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.joinDoomed("cp-1")
	req := get("/")
	req.Idempotent = false
	err := b.pool.Exchange(t.Context(), req, &recorder{})
	if got := codeOf(t, err); got != causeway.CodeChannelLost {
		t.Errorf("code %v, want %v", got, causeway.CodeChannelLost)
	}
	if r, _ := errors.AsType[*causeway.Refusal](err); r.RetryAfter != 0 {
		t.Errorf("the device is told to ask again after %v what may have been done", r.RetryAfter)
	}
}

// TestSafeRequestWhoseChannelsAreAllLostMayComeBack has an instance lose all channels together, as when it stood still. Who
// asks again at once would be refused again.
func TestSafeRequestWhoseChannelsAreAllLostMayComeBack(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.joinDoomed("cp-1")
	b.joinDoomed("cp-2")
	err := b.pool.Exchange(t.Context(), get("/"), &recorder{})
	if r, ok := errors.AsType[*causeway.Refusal](err); !ok || r.Code != causeway.CodeChannelLost || r.RetryAfter != retryAfter {
		t.Errorf("%+v, want %v and to come back after %v", r, causeway.CodeChannelLost, retryAfter)
	}
}

// joinDoomed joins a connection point that is lost with the first request it gets.
func (b *bed) joinDoomed(id causeway.ConnectionPointID) {
	b.t.Helper()
	reached := make(chan struct{})
	p := b.join(id, func(in *Inbound) {
		close(reached)
		<-in.Context().Done()
	}, SessionConfig{})
	go func() {
		<-reached
		p.raw.Close()
	}()
}

func TestAnswerCutShortIsAnError(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) {
		_ = in.Answer([]byte(okHead), []byte("half"), false)
		in.Refuse(causeway.CodeConnectorBadAnswer, Final)
	}, SessionConfig{})
	dev := &recorder{}
	if err := b.pool.Exchange(t.Context(), get("/"), dev); err == nil || dev.done {
		t.Errorf("error %v, done %v: the device must see that the answer was cut", err, dev.done)
	}
}

func TestHandlerThatForgetsIsRefusedForIt(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(*Inbound) {}, SessionConfig{})
	if got := codeOf(t, b.pool.Exchange(t.Context(), get("/"), &recorder{})); got != causeway.CodeConnectorInternalError {
		t.Errorf("code %v", got)
	}
}

func TestDeviceGoneCancelsTheHandler(t *testing.T) {
	b := newBed(t, PoolConfig{})
	reached, ended := make(chan struct{}), make(chan struct{})
	b.join("cp-1", func(in *Inbound) {
		close(reached)
		<-in.Context().Done()
		close(ended)
	}, SessionConfig{})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("device gone")
	go func() {
		<-reached
		cancel(gone)
	}()
	if err := b.pool.Exchange(ctx, get("/"), &recorder{}); !errors.Is(err, gone) {
		t.Errorf("error %v, want %v", err, gone)
	}
	<-ended
}

func TestEarlyAnswerStopsTheUpload(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) {
		buf := make([]byte, 10)
		_, _ = in.Body().Read(buf)
		_ = in.Answer([]byte(okHead), []byte("enough"), true)
	}, SessionConfig{})
	body, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20)) }()
	req := post(nil, -1)
	req.Body = body
	dev := &recorder{}
	if err := b.pool.Exchange(t.Context(), req, dev); err != nil || dev.body.String() != "enough" {
		t.Errorf("error %v, body %q", err, dev.body.String())
	}
}

func TestFailedBodyReadEndsTheRequest(t *testing.T) {
	b := newBed(t, PoolConfig{})
	ended := make(chan error, 1)
	b.join("cp-1", func(in *Inbound) {
		_, err := io.Copy(io.Discard, in.Body())
		ended <- err
	}, SessionConfig{})
	tooLarge := causeway.Refuse(causeway.CodeBodyTooLarge, "over the limit")
	body := io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)), errReader{tooLarge})
	err := b.pool.Exchange(t.Context(), post(body, -1), &recorder{})
	if got := codeOf(t, err); got != causeway.CodeBodyTooLarge {
		t.Errorf("code %v", got)
	}
	if err := <-ended; err == nil {
		t.Error("server saw a complete body")
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestUpgradeCarriesBytesBothWays(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) {
		if !in.Upgrade() {
			t.Error("not an upgrade")
		}
		_ = in.Answer([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"), nil, false)
		buf := make([]byte, 100)
		for {
			n, err := in.Body().Read(buf)
			if err != nil {
				_ = in.Data(nil, true)
				return
			}
			_ = in.Data(bytes.ToUpper(buf[:n]), false)
		}
	}, SessionConfig{})
	r, w := io.Pipe()
	req := get("/ws")
	req.Upgrade, req.Body, req.BodyBytes = true, r, -1
	dev := &recorder{}
	dev.onAnswer = func() {
		go func() {
			_, _ = w.Write([]byte("ping "))
			_, _ = w.Write([]byte("pong"))
			w.Close()
		}()
	}
	if err := b.pool.Exchange(t.Context(), req, dev); err != nil {
		t.Fatal(err)
	}
	if dev.body.String() != "PING PONG" {
		t.Errorf("got %q", dev.body.String())
	}
}

func TestRefusedUpgradeLeavesTheBodyUnread(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", answer("no"), SessionConfig{})
	req := get("/ws")
	req.Upgrade, req.BodyBytes = true, -1
	req.Body = io.NopCloser(errReader{errors.New("was read")})
	if err := b.pool.Exchange(t.Context(), req, &recorder{}); err != nil {
		t.Error(err)
	}
}

func TestSlowReaderStallsOnlyItself(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) {
		if strings.HasPrefix(string(in.Head()), "GET /small") {
			_ = in.Answer([]byte(okHead), []byte("ok"), true)
			return
		}
		_ = in.Answer([]byte(okHead), nil, false)
		for range 1000 {
			if in.Data(make([]byte, 100_000), false) != nil {
				return
			}
		}
	}, SessionConfig{})
	block := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dev := &recorder{onData: func() error { <-block; return errors.New("gone") }}
			_ = b.pool.Exchange(t.Context(), get("/big"), dev)
		})
	}
	waitFor(t, "readers stalled", func() bool { return b.pool.MemoryUsedBytes() >= 8*(answerWindow-maxDataBytes) })
	for range 50 {
		if err := b.pool.Exchange(t.Context(), get("/small"), &recorder{}); err != nil {
			t.Fatal(err)
		}
	}
	if used := b.pool.MemoryUsedBytes(); used > 8*answerWindow {
		t.Errorf("%d bytes held for 8 stalled readers, want at most %d", used, 8*answerWindow)
	}
	close(block)
	wg.Wait()
}

func TestSpentBudgetTurnsNewRequestsAway(t *testing.T) {
	b := newBed(t, PoolConfig{Memory: NewMemory(100)})
	b.join("cp-1", answer("ok"), SessionConfig{})
	b.pool.cfg.Memory.b.add(100)
	if got := codeOf(t, b.pool.Exchange(t.Context(), get("/"), &recorder{})); got != causeway.CodeOverloaded {
		t.Errorf("code %v", got)
	}
	b.pool.cfg.Memory.b.add(-100)
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Error(err)
	}
}

func TestAnswerTimeout(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", func(in *Inbound) { <-in.Context().Done() }, SessionConfig{})
	req := get("/")
	req.AnswerTimeout = 20 * time.Millisecond
	if got := codeOf(t, b.pool.Exchange(t.Context(), req, &recorder{})); got != causeway.CodeAnswerTimeout {
		t.Errorf("code %v", got)
	}
}

func TestDrainOfAConnectionPointLosesNothing(t *testing.T) {
	b := newBed(t, PoolConfig{})
	slow := func(in *Inbound) {
		time.Sleep(2 * time.Millisecond)
		_ = in.Answer([]byte(okHead), []byte("ok"), true)
	}
	going := b.join("cp-1", slow, SessionConfig{})
	b.join("cp-2", slow, SessionConfig{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 60 {
				req := get("/")
				req.Idempotent = false // so that nothing is saved by a retry
				if err := b.pool.Exchange(t.Context(), req, &recorder{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	waitFor(t, "requests under way", func() bool { return going.session.Status().Requests > 100 })
	going.stop()
	if err := <-going.served; err != nil {
		t.Errorf("Serve = %v, want nil after an orderly end", err)
	}
	going.served <- nil // for the cleanup
	wg.Wait()
}

func TestDrainOfAnInstanceTellsConnectionPoints(t *testing.T) {
	b := newBed(t, PoolConfig{})
	p := b.join("cp-1", answer("ok"), SessionConfig{})
	b.pool.Drain(t.Context())
	select {
	case <-p.session.Leaving():
	case <-time.After(30 * time.Second):
		t.Fatal("connection point was not told")
	}
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Errorf("device that is still connected: %v", err)
	}
	cp, gw := tcpPair(t)
	served := make(chan error, 1)
	go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	if _, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp-2"}, SessionConfig{}); err == nil {
		t.Error("a leaving instance admitted a new channel")
	}
	<-served
}

func TestDocumentsGoAheadOfTheHello(t *testing.T) {
	b := newBed(t, PoolConfig{})
	cp, gw := tcpPair(t)
	served := make(chan error, 1)
	go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	var mu sync.Mutex
	var applied []Applied
	doc := bytes.Repeat([]byte("d"), 100_000)
	s, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp-1", Documents: [][]byte{doc}},
		SessionConfig{OnApplied: func(a Applied) { mu.Lock(); applied = append(applied, a); mu.Unlock() }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), answer("")) }()
	if err := s.Push([]byte("second")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both documents applied", func() bool { mu.Lock(); defer mu.Unlock(); return len(applied) == 2 })
	if applied[0].Generation != 1 || applied[1].Generation != 2 || !bytes.Equal(b.keep.taken[0], doc) || string(b.keep.taken[1]) != "second" {
		t.Errorf("applied %+v", applied)
	}
	s.Close()
	<-ended
	<-served
}

func TestRefusedHelloTellsItsCode(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.keep.refuse = causeway.Refuse(causeway.CodeForbidden, "unknown connection point cp-9 of an inside name")
	cp, gw := tcpPair(t)
	served := make(chan error, 1)
	go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	_, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp-9"}, SessionConfig{})
	if got := codeOf(t, err); got != causeway.CodeForbidden {
		t.Errorf("code %v", got)
	}
	if strings.Contains(err.Error(), "inside") {
		t.Errorf("refusal tells a stranger %q", err)
	}
	<-served
}

func TestPrincipalIsSentOnceAndForgotten(t *testing.T) {
	b := newBed(t, PoolConfig{})
	p := b.join("cp-1", answer("ok"), SessionConfig{})
	pr := NewPrincipal(1, []byte("e"), "s")
	for range 10 {
		req := get("/")
		req.Principal = pr
		if err := b.pool.Exchange(t.Context(), req, &recorder{}); err != nil {
			t.Fatal(err)
		}
	}
	pr.Close()
	// A request behind the close shows that the reader has seen it; its own principal is the one left.
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Fatal(err)
	}
	p.session.Close()
	p.served <- <-p.served
	if n := len(p.session.principals); n != 1 {
		t.Errorf("%d principals left, want 1", n)
	}
}

func TestGatewayThatMisbehavesLosesItsSession(t *testing.T) {
	open := func(id uint32, principal uint32, attempt byte) []byte {
		o := appendOpenHeader(nil, openHeader{principal: principal, attempt: attempt, headBytes: 4})
		o = append(o, "GET "...)
		return append(appendFrameHeader(nil, frameHeader{stream: id, typ: frameOpen, fin: true, length: len(o)}), o...)
	}
	frame := func(h frameHeader, n int) []byte {
		h.length = n
		return append(appendFrameHeader(nil, h), make([]byte, n)...)
	}
	principal := append(appendFrameHeader(nil, frameHeader{typ: framePrincipal, length: 6}), 0, 0, 0, 1, 1, 0)
	for _, tt := range []struct {
		name  string
		bytes []byte
	}{
		{"unknown frame", frame(frameHeader{typ: 30}, 0)},
		{"frame of 16 MiB", []byte{0, 0, 0, 0, byte(frameData), 0xff, 0xff, 0xff}},
		{"answer from a gateway", frame(frameHeader{stream: 1, typ: frameAnswer}, 8)},
		{"data of a stream never opened", frame(frameHeader{stream: 9, typ: frameData}, 8)},
		{"unknown principal", open(1, 7, 1)},
		{"stream zero", append(bytes.Clone(principal), open(0, 1, 1)...)},
		{"third attempt", append(bytes.Clone(principal), open(1, 1, 3)...)},
		{"stream id used twice", bytes.Join([][]byte{principal, open(1, 1, 1), open(1, 1, 1)}, nil)},
		{"stream id going down", bytes.Join([][]byte{principal, open(5, 1, 1), open(4, 1, 1)}, nil)},
		{"data after the end", bytes.Join([][]byte{principal, open(1, 1, 1), frame(frameHeader{stream: 1, typ: frameData}, 1)}, nil)},
		{"principal twice", append(bytes.Clone(principal), principal...)},
		{"short open", frame(frameHeader{stream: 1, typ: frameOpen}, 3)},
		{"short principal", frame(frameHeader{typ: framePrincipal}, 3)},
		{"long ping", frame(frameHeader{typ: framePing}, 9)},
		{"half a document of 5 MiB", bytes.Repeat(frame(frameHeader{typ: frameApplied}, 2), 3)},
		{"short reset", frame(frameHeader{stream: 1, typ: frameReset}, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cp, gw := tcpPair(t)
			s := &Session{link: newLink(cp, nil, newBudget(0), 0, 0), cfg: SessionConfig{MaxStreams: 10, MaxPrincipals: 10},
				principals: map[uint32]*InboundPrincipal{}, leaving: make(chan struct{}), acked: make(chan struct{}), work: make(chan *Inbound)}
			served := make(chan error, 1)
			go func() {
				served <- s.Serve(t.Context(), handlerFunc(func(in *Inbound) { <-in.Context().Done() }))
			}()
			if _, err := gw.Write(tt.bytes); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-served:
				if !errors.Is(err, errProtocol) {
					t.Errorf("Serve = %v, want a protocol violation", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("session goes on")
				s.Close()
				<-served
			}
			gw.Close()
		})
	}
}

func TestUnknownOptionalFramesAreSkipped(t *testing.T) {
	b := newBed(t, PoolConfig{})
	p := b.join("cp-1", answer("ok"), SessionConfig{})
	if _, err := p.session.link.write(frameHeader{typ: frameOptional + 5, stream: 77}, []byte("from the future"), nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Error(err)
	}
}

// TestPrincipalsMakeRoomForOneAnother holds that devices with large proofs cannot make a gateway overrun what a
// connection point is willing to hold, which would cost it the channel.
func TestPrincipalsMakeRoomForOneAnother(t *testing.T) {
	b := newBed(t, PoolConfig{})
	p := b.join("cp-1", answer("ok"), SessionConfig{MaxPrincipals: 40})
	b.pool.mu.Lock()
	link := b.pool.sets["cp-1"].all[0]
	link.maxPrincipals, link.maxTold = 20, 1000
	b.pool.mu.Unlock()
	principals := make([]*Principal, 100)
	for i := range principals {
		principals[i] = NewPrincipal(1, bytes.Repeat([]byte("e"), 60), fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 300 {
				req := get("/")
				req.Principal = principals[(i*7+w)%len(principals)]
				if err := b.pool.Exchange(t.Context(), req, &recorder{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, pr := range principals {
		pr.Close()
	}
	link.pmu.Lock()
	if link.told != 0 || len(link.principals) != 0 {
		t.Errorf("%d bytes of %d principals are still accounted for", link.told, len(link.principals))
	}
	link.pmu.Unlock()
	p.session.Close()
	p.served <- <-p.served
	if n := len(p.session.principals); n > 40 {
		t.Errorf("connection point holds %d principals", n)
	}
}

// TestClosingAPrincipalUnderItsRequestsKeepsTheChannel lets device connections end while their requests begin.
func TestClosingAPrincipalUnderItsRequestsKeepsTheChannel(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp-1", answer("ok"), SessionConfig{})
	for range 200 {
		pr := NewPrincipal(1, []byte("e"), "s")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				req := get("/")
				req.Principal = pr
				_ = b.pool.Exchange(t.Context(), req, &recorder{}) // may find the principal closed
			})
		}
		pr.Close()
		wg.Wait()
	}
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Errorf("the channel is gone: %v", err)
	}
}

func TestAConnectionPointGetsNoMoreThanItTakes(t *testing.T) {
	b := newBed(t, PoolConfig{})
	arrived, let := make(chan struct{}, 3), make(chan struct{})
	cp, gw := tcpPair(t)
	b.joinAs(cp, gw, Hello{ConnectionPoint: "cp", Slot: 3, MaxInFlight: 2}, func(in *Inbound) {
		arrived <- struct{}{}
		<-let
		answer("fine")(in)
	}, SessionConfig{})
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- b.pool.Exchange(t.Context(), get("/"), &recorder{}) }()
		<-arrived
	}
	err := b.pool.Exchange(t.Context(), get("/"), &recorder{})
	if r, ok := errors.AsType[*causeway.Refusal](err); !ok || r.Code != causeway.CodeOverloaded || r.RetryAfter == 0 {
		t.Errorf("got %v, want to be told to come back", err)
	}
	close(let)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestPartingCostsTheGatewayNothing leaves while the gateway has yet to read the end of an answer and is writing
// itself. A connection closed over what it wrote would be reset, and the reset would take the answer's end with it.
func TestPartingCostsTheGatewayNothing(t *testing.T) {
	b := newBed(t, PoolConfig{})
	want := blob(60_000)
	proceed := make(chan struct{})
	p := b.join("cp", func(in *Inbound) {
		<-proceed
		serveBlob(want)(in)
	}, SessionConfig{})
	r := &recorder{}
	done := make(chan error, 1)
	go func() { done <- b.pool.Exchange(t.Context(), get("/"), r) }()
	gw := b.link(t, "cp")
	waitFor(t, "the request is there", func() bool { return p.session.Status().Requests == 1 })
	p.stop()
	<-p.session.acked // from here on it waits for this request alone
	s := gw.find(1)
	s.mu.Lock() // the gateway reads no further
	close(proceed)
	waitFor(t, "the answer is sent", func() bool { return p.session.Status().Streams == 0 })
	waitFor(t, "the connection point parts", func() bool {
		_, err := gw.write(frameHeader{typ: frameOptional}, make([]byte, 8), nil, nil)
		return p.session.parted.Load() || err != nil
	})
	for range 50 {
		time.Sleep(time.Millisecond) // for a reset to travel, were there one
		_, _ = gw.write(frameHeader{typ: frameOptional}, make([]byte, 8), nil, nil)
	}
	s.mu.Unlock()
	if err := <-done; err != nil || !bytes.Equal(r.body.Bytes(), want) {
		t.Errorf("%v, %d bytes of %d", err, r.body.Len(), len(want))
	}
	err := <-p.served
	p.served <- nil
	if err != nil {
		t.Errorf("parting: %v", err)
	}
}

// link returns the gateway's end of a connection point's only connection.
func (b *bed) link(t *testing.T, id causeway.ConnectionPointID) *gatewayLink {
	t.Helper()
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	if set := b.pool.sets[id]; set != nil && len(set.all) == 1 {
		return set.all[0]
	}
	t.Fatal("no link")
	return nil
}
