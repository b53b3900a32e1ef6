package channel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A bulkBed is a bed whose connection point has bulk connections.
type bulkBed struct {
	*bed
	bulk *Bulk

	mu    sync.Mutex // guards the fields below
	dials []net.Conn // the connection point's ends of the bulk connections
	ends  []error    // of the gateway's Serve of them
}

// newBulkBed joins one connection point that serves with h.
func newBulkBed(t *testing.T, h handlerFunc) (*bulkBed, *peer) {
	t.Helper()
	b := &bulkBed{bed: newBed(t, PoolConfig{}), bulk: NewBulk(BulkConfig{})}
	p := b.join("cp", h, SessionConfig{Bulk: b.bulk})
	b.run(t)
	return b, p
}

// run keeps the bulk connections until the test ends.
func (b *bulkBed) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		b.bulk.Run(ctx, func(context.Context) (net.Conn, Hello, error) {
			cp, gw := tcpPair(t)
			b.mu.Lock()
			b.dials = append(b.dials, cp)
			b.mu.Unlock()
			work.Go(func() {
				err := b.pool.Serve(ctx, gw, SlotPort)
				b.mu.Lock()
				b.ends = append(b.ends, err)
				b.mu.Unlock()
			})
			return cp, Hello{ConnectionPoint: "cp", Slot: 3}, nil
		})
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
		if st := b.bulk.Status(); st.Idle+st.Used != 0 {
			t.Errorf("left behind: %+v", st)
		}
	})
}

// warm waits until a connection is at hand.
func (b *bulkBed) warm(t *testing.T) {
	t.Helper()
	b.bulk.mu.Lock()
	b.bulk.asked, b.bulk.short = time.Now(), 1
	b.bulk.mu.Unlock()
	signal(b.bulk.wake)
	waitFor(t, "bulk connection", func() bool { return b.bulk.Status().Idle > 0 })
}

func (b *bulkBed) idle(t *testing.T) {
	t.Helper()
	waitFor(t, "bulk connections idle", func() bool { return b.bulk.Status().Used == 0 })
}

// blob returns n bytes that no two offsets have in common.
func blob(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(p)
	return p
}

// serveBlob answers with p in pieces of 50,000 bytes.
func serveBlob(p []byte) handlerFunc {
	return func(in *Inbound) {
		if in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil, false) != nil {
			return
		}
		for rest := p; ; {
			n := min(len(rest), 50_000)
			if in.Data(rest[:n], n == len(rest)) != nil || n == len(rest) {
				return
			}
			rest = rest[n:]
		}
	}
}

func TestLargeAnswersMoveToBulkConnections(t *testing.T) {
	want := blob(5<<20 + 17)
	b, _ := newBulkBed(t, serveBlob(want))
	b.warm(t)
	for i := range 3 {
		r := &recorder{}
		if err := b.pool.Exchange(t.Context(), get("/"), r); err != nil {
			t.Fatal(err)
		}
		if !r.done || sha256.Sum256(r.body.Bytes()) != sha256.Sum256(want) {
			t.Fatalf("answer %d: %d bytes, done %v, or other bytes than were sent", i, r.body.Len(), r.done)
		}
	}
	b.idle(t)
	if st := b.bulk.Status(); st.Moved != 3 {
		t.Errorf("%d bodies moved, want 3", st.Moved)
	}
	if n := len(b.dials); n > warmBulk+1 {
		t.Errorf("%d bulk connections for one answer at a time", n)
	}
}

func TestSmallAnswersStay(t *testing.T) {
	b, _ := newBulkBed(t, serveBlob(blob(bulkAfter)))
	b.warm(t)
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Fatal(err)
	}
	if st := b.bulk.Status(); st.Moved != 0 {
		t.Errorf("%d bodies moved, want none", st.Moved)
	}
}

func TestLargeAnswersNeedNoBulkConnection(t *testing.T) {
	want := blob(3 << 20)
	b := newBed(t, PoolConfig{})
	b.join("cp", serveBlob(want), SessionConfig{Bulk: NewBulk(BulkConfig{})}) // which nobody runs
	r := &recorder{}
	if err := b.pool.Exchange(t.Context(), get("/"), r); err != nil || !bytes.Equal(r.body.Bytes(), want) {
		t.Fatalf("%v, %d bytes", err, r.body.Len())
	}
}

func TestLargeBodiesMoveToBulkConnections(t *testing.T) {
	want := blob(4<<20 + 5)
	for name, size := range map[string]int64{"of known length": int64(len(want)), "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			got := make(chan []byte, 1)
			trailers := make(chan string, 1)
			b, _ := newBulkBed(t, func(in *Inbound) {
				p, err := io.ReadAll(in.Body())
				if err != nil {
					t.Errorf("body: %v", err)
				}
				got <- p
				trailers <- string(in.Trailers())
				_ = in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil, true)
			})
			b.warm(t)
			req := post(bytes.NewReader(want), size)
			if size < 0 {
				req.Trailers = func() []byte { return []byte("X-Sum: 1\r\n") }
			}
			if err := b.pool.Exchange(t.Context(), req, &recorder{}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(<-got, want) {
				t.Error("other bytes than were sent")
			}
			if tr := <-trailers; (tr != "") != (size < 0) {
				t.Errorf("trailers %q", tr)
			}
			b.idle(t)
			if st := b.bulk.Status(); st.Moved != 1 || st.Idle == 0 {
				t.Errorf("%+v, want one body moved and its connection back", st)
			}
		})
	}
}

// TestBothDirectionsShareABulkConnection uploads and downloads at once, as a busy upgraded connection does.
func TestBothDirectionsShareABulkConnection(t *testing.T) {
	up, down := blob(3<<20), blob(4<<20)
	got := make(chan []byte, 1)
	b, _ := newBulkBed(t, func(in *Inbound) {
		if in.Answer([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"), nil, false) != nil {
			return
		}
		var read sync.WaitGroup
		read.Go(func() {
			p, _ := io.ReadAll(in.Body())
			got <- p
		})
		for rest := down; len(rest) > 0; {
			n := min(len(rest), 30_000)
			if err := in.Data(rest[:n], false); err != nil {
				t.Error(err)
				break
			}
			rest = rest[n:]
		}
		read.Wait()
		_ = in.Data(nil, true)
	})
	b.warm(t)
	r := &recorder{}
	req := post(bytes.NewReader(up), -1)
	req.Upgrade = true
	if err := b.pool.Exchange(t.Context(), req, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, up) || !bytes.Equal(r.body.Bytes(), down) {
		t.Error("other bytes than were sent")
	}
	b.idle(t)
	if st := b.bulk.Status(); st.Moved != 1 {
		t.Errorf("%d connections lent, want 1", st.Moved)
	}
}

func TestManyLargeAnswersAtOnce(t *testing.T) {
	want := blob(1<<20 + 1)
	b, _ := newBulkBed(t, serveBlob(want))
	var work sync.WaitGroup
	for range 12 {
		work.Go(func() {
			for range 3 {
				r := &recorder{}
				if err := b.pool.Exchange(t.Context(), get("/"), r); err != nil || !bytes.Equal(r.body.Bytes(), want) {
					t.Errorf("%v, %d bytes", err, r.body.Len())
				}
			}
		})
	}
	work.Wait()
	b.idle(t)
	if len(b.dials) > maxBulkConns {
		t.Errorf("%d bulk connections", len(b.dials))
	}
}

// stuck is a device that stops reading after some bytes, until it is let go.
type stuck struct {
	recorder
	after int
	let   chan struct{}
}

func (s *stuck) Data(p []byte, last bool) error {
	if s.body.Len() > s.after {
		<-s.let
	}
	return s.recorder.Data(p, last)
}

func TestAReaderThatStopsOnABulkConnectionHoldsUpNobody(t *testing.T) {
	want := blob(16 << 20)
	b, _ := newBulkBed(t, serveBlob(want))
	b.warm(t)
	slow := &stuck{after: 1 << 20, let: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- b.pool.Exchange(t.Context(), get("/slow"), slow) }()
	waitFor(t, "bulk connection in use", func() bool { return b.bulk.Status().Used == 1 })
	for range 3 {
		r := &recorder{}
		if err := b.pool.Exchange(t.Context(), get("/"), r); err != nil || !bytes.Equal(r.body.Bytes(), want) {
			t.Fatalf("%v, %d bytes", err, r.body.Len())
		}
	}
	close(slow.let)
	if err := <-done; err != nil || !bytes.Equal(slow.body.Bytes(), want) {
		t.Errorf("slow reader: %v, %d bytes", err, slow.body.Len())
	}
}

func TestADeviceThatLeavesEndsItsBulkConnection(t *testing.T) {
	gone := make(chan bool, 1)
	b, p := newBulkBed(t, func(in *Inbound) {
		if bytes.Contains(in.Head(), []byte("/small")) {
			answer("fine")(in)
			return
		}
		err := in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil, false)
		for err == nil {
			err = in.Data(make([]byte, 10_000), false)
		}
		gone <- in.Gone()
	})
	b.warm(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	slow := &stuck{after: 1 << 20, let: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- b.pool.Exchange(ctx, get("/"), slow) }()
	waitFor(t, "bulk connection in use", func() bool { return b.bulk.Status().Used == 1 })
	cancel(left)
	close(slow.let)
	if err := <-done; !errors.Is(err, left) {
		t.Errorf("exchange ended with %v, want that the device left", err)
	}
	if !<-gone {
		t.Error("the handler was not told")
	}
	b.idle(t)
	if err := b.pool.Exchange(t.Context(), get("/small"), &recorder{}); err != nil {
		t.Errorf("the channel did not survive: %v", err)
	}
	waitFor(t, "no stream", func() bool { return p.session.Status().Streams == 0 })
	waitFor(t, "the end of its bulk connection", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.ends) > 0
	})
	if b.mu.Lock(); !errors.Is(b.ends[0], ErrBulkEnded) {
		t.Errorf("the gateway says %v of a bulk connection whose device left", b.ends[0])
	}
	b.mu.Unlock()
}

func TestAnAnswerCutOnABulkConnectionIsAnError(t *testing.T) {
	b, _ := newBulkBed(t, func(in *Inbound) {
		err := in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil, false)
		for sent := 0; err == nil && sent < 2<<20; sent += 10_000 {
			err = in.Data(make([]byte, 10_000), false)
		}
		in.Refuse(causeway.CodeConnectorServerReset, Final)
	})
	b.warm(t)
	r := &recorder{}
	if err := b.pool.Exchange(t.Context(), get("/"), r); err == nil || r.done {
		t.Errorf("got %v, done %v", err, r.done)
	}
	b.idle(t)
}

func TestALostBulkConnectionEndsItsStreamOnly(t *testing.T) {
	b, _ := newBulkBed(t, func(in *Inbound) {
		if bytes.Contains(in.Head(), []byte("/small")) {
			answer("fine")(in)
			return
		}
		err := in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil, false)
		for err == nil {
			err = in.Data(make([]byte, 10_000), false)
		}
	})
	b.warm(t)
	done := make(chan error, 1)
	go func() { done <- b.pool.Exchange(t.Context(), get("/"), discard{}) }()
	waitFor(t, "bulk connection in use", func() bool { return b.bulk.Status().Used == 1 })
	b.mu.Lock()
	for _, c := range b.dials {
		_ = c.Close()
	}
	b.mu.Unlock()
	if err := <-done; codeOf(t, err) != causeway.CodeChannelLost {
		t.Errorf("got %v, want that the channel was lost", err)
	}
	b.idle(t)
	if err := b.pool.Exchange(t.Context(), get("/small"), &recorder{}); err != nil {
		t.Errorf("the channel did not survive: %v", err)
	}
}

func TestALostLinkEndsWhatRidesOnBulkConnections(t *testing.T) {
	b, p := newBulkBed(t, func(in *Inbound) {
		err := in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil, false)
		for err == nil {
			err = in.Data(make([]byte, 10_000), false)
		}
	})
	b.warm(t)
	done := make(chan error, 1)
	go func() { done <- b.pool.Exchange(t.Context(), get("/"), discard{}) }()
	waitFor(t, "bulk connection in use", func() bool { return b.bulk.Status().Used == 1 })
	_ = p.raw.Close()
	if err := <-done; err == nil {
		t.Error("the exchange went on")
	}
	waitFor(t, "no bulk connection at the gateway", func() bool { return len(b.pool.sets["cp"].bulk.all()) == 0 })
}

func TestDrainWaitsForBulk(t *testing.T) {
	want := blob(3 << 20)
	begun := make(chan struct{})
	proceed := make(chan struct{})
	b, p := newBulkBed(t, func(in *Inbound) {
		close(begun)
		<-proceed
		serveBlob(want)(in)
	})
	b.warm(t)
	slow := &stuck{after: 1 << 20, let: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- b.pool.Exchange(t.Context(), get("/"), slow) }()
	<-begun
	p.stop()
	close(proceed)
	waitFor(t, "bulk connection in use", func() bool { return b.bulk.Status().Used == 1 })
	close(slow.let)
	if err := <-done; err != nil || !bytes.Equal(slow.body.Bytes(), want) {
		t.Errorf("%v, %d bytes", err, slow.body.Len())
	}
}

// bulkHello says hello for a bulk connection to the bed's pool and returns the connection point's end.
func bulkHello(t *testing.T, b *bed, h Hello) (*link, Welcome, error) {
	t.Helper()
	cp, gw := tcpPair(t)
	ended := make(chan struct{})
	go func() { _ = b.pool.Serve(t.Context(), gw, SlotPort); close(ended) }()
	t.Cleanup(func() { _ = cp.Close(); <-ended })
	l := newLink(cp, b.pool.cfg.Logger, newBudget(0), 0, 0)
	h.MinVersion, h.MaxVersion, h.Plane = minVersion, maxVersion, PlaneBulk
	if err := l.sendHello(h); err != nil {
		t.Fatal(err)
	}
	w, err := l.readWelcome(t.Context(), time.Second)
	return l, w, err
}

func TestBulkConnectionsThatNobodyMayHaveAreRefused(t *testing.T) {
	b := newBed(t, PoolConfig{})
	if _, _, err := bulkHello(t, b, Hello{ConnectionPoint: "cp", Bulk: 1}); causeway.CodeOf(err) != causeway.CodeNoConnectionPoint {
		t.Errorf("without a channel set: %v", err)
	}
	b.join("cp", answer("fine"), SessionConfig{})
	if _, _, err := bulkHello(t, b, Hello{ConnectionPoint: "cp", Set: "another", Bulk: 1}); causeway.CodeOf(err) != causeway.CodeNoConnectionPoint {
		t.Errorf("for another set: %v", err)
	}
	if _, _, err := bulkHello(t, b, Hello{ConnectionPoint: "other", Bulk: 1}); causeway.CodeOf(err) != causeway.CodeNoConnectionPoint {
		t.Errorf("for another connection point: %v", err)
	}
	for i := range uint32(maxBulkConns) {
		if _, _, err := bulkHello(t, b, Hello{ConnectionPoint: "cp", Bulk: i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := bulkHello(t, b, Hello{ConnectionPoint: "cp", Bulk: maxBulkConns + 1}); causeway.CodeOf(err) != causeway.CodeOverloaded {
		t.Errorf("one too many: %v", err)
	}
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Errorf("the request plane suffered: %v", err)
	}
}

// TestConnectionPointThatMisbehavesOnABulkConnectionLosesIt sends what no peer may send.
func TestConnectionPointThatMisbehavesOnABulkConnectionLosesIt(t *testing.T) {
	for name, frames := range map[string][]byte{
		"a free, which is the gateway's": appendFrameHeader(nil, frameHeader{typ: frameFree}),
		"a request frame":                appendFrameHeader(nil, frameHeader{stream: 1, typ: frameAnswer, length: 5}),
		"a ping with a body":             appendFrameHeader(nil, frameHeader{typ: framePing, length: 8}),
		"an endless frame":               {0, 0, 0, 0, byte(frameData), 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, PoolConfig{})
			b.join("cp", answer("fine"), SessionConfig{})
			l, _, err := bulkHello(t, b, Hello{ConnectionPoint: "cp", Bulk: 1})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.conn.Write(frames); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "connection ended", func() bool { return len(b.pool.sets["cp"].bulk.all()) == 0 })
			if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
				t.Errorf("the request plane suffered: %v", err)
			}
		})
	}
}

func TestAMoveToNowhereEndsTheAnswer(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp", func(in *Inbound) {
		_ = in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), []byte("x"), false)
		_, _ = in.stream.link.write(frameHeader{stream: in.stream.id, typ: frameMove}, []byte{0, 0, 0, 9}, nil, nil)
		<-in.Context().Done()
	}, SessionConfig{})
	r := &recorder{}
	if err := b.pool.Exchange(t.Context(), get("/"), r); err == nil || r.done {
		t.Errorf("got %v, done %v", err, r.done)
	}
}

func TestAnOfferOfNothingEndsTheUpload(t *testing.T) {
	b := newBed(t, PoolConfig{})
	b.join("cp", func(in *Inbound) {
		_, _ = in.stream.link.write(frameHeader{stream: in.stream.id, typ: frameOffer}, []byte{0, 0, 0, 9}, nil, nil)
		<-in.Context().Done()
	}, SessionConfig{})
	err := b.pool.Exchange(t.Context(), post(bytes.NewReader(blob(1<<20)), 1<<20), &recorder{})
	if codeOf(t, err) != causeway.CodeChannelLost {
		t.Errorf("got %v, want that the channel was lost", err)
	}
}

func TestFreeWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // which takes nothing that nobody reads
		defer far.Close()
		b := newBulkConn(newLink(near, nil, newBudget(0), 0, 0), 1)
		began := time.Now()
		if b.signal(frameHeader{typ: frameFree}) == nil || time.Since(began) > DefaultDeadAfter {
			t.Errorf("waited %s", time.Since(began))
		}
		if b.failure() == nil {
			t.Error("the connection lives on")
		}
	})
}

// TestAGatewayThatDropsBulkConnectionsIsLeftInPeace has a gateway welcome each bulk connection and close it.
func TestAGatewayThatDropsBulkConnectionsIsLeftInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBulk(BulkConfig{})
		b.allow(maxBulkConns)
		b.asked = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), bulkIdle)
		defer cancel()
		var work sync.WaitGroup
		var dials atomic.Int64
		b.Run(ctx, func(context.Context) (net.Conn, Hello, error) {
			if dials.Add(1) == 1000 {
				cancel()
			}
			cp, gw := net.Pipe()
			l := newLink(gw, nil, newBudget(0), 0, 0)
			work.Go(func() {
				if _, _, err := l.readHello(&keeper{}, time.Second); err == nil {
					_ = l.sendJSON(frameWelcome, Welcome{Version: 1, MaxBulk: 1})
				}
				gw.Close()
			})
			return cp, Hello{ConnectionPoint: "cp", Slot: 3}, nil
		})
		work.Wait()
		if n := dials.Load(); n < warmBulk || n > 60 {
			t.Errorf("%d dials in %v", n, bulkIdle)
		}
	})
}

// TestAGatewayThatDropsBulkConnectionsInUseIsLeftInPeace has a gateway close each as soon as a body may move to it.
func TestAGatewayThatDropsBulkConnectionsInUseIsLeftInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBulk(BulkConfig{})
		b.allow(maxBulkConns)
		b.asked = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), bulkIdle)
		defer cancel()
		var work sync.WaitGroup
		var dials atomic.Int64
		work.Go(func() { // bodies
			near, far := net.Pipe()
			defer far.Close()
			l := newLink(near, nil, newBudget(0), time.Hour, time.Hour)
			defer l.fail(net.ErrClosed)
			for id := uint32(1); ctx.Err() == nil; id++ {
				if c := b.take(l, id); c != nil {
					c.fail(io.ErrUnexpectedEOF) // what the reader meets when the gateway closes it
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		b.Run(ctx, func(context.Context) (net.Conn, Hello, error) {
			dials.Add(1)
			cp, gw := net.Pipe()
			l := newLink(gw, nil, newBudget(0), 0, 0)
			work.Go(func() {
				if _, _, err := l.readHello(&keeper{}, time.Second); err == nil {
					_ = l.sendJSON(frameWelcome, Welcome{Version: 1, MaxBulk: 1})
				}
				_ = gw.SetReadDeadline(time.Time{})
				_, _ = io.Copy(io.Discard, gw)
				gw.Close()
			})
			return cp, Hello{ConnectionPoint: "cp", Slot: 3}, nil
		})
		work.Wait()
		if n := dials.Load(); n < warmBulk || n > 60 {
			t.Errorf("%d dials in %v", n, bulkIdle)
		}
	})
}

// TestAGatewayThatNeverFreesGetsItsStreamsEnded has a gateway take all of an answer, ping, and keep the bulk connection.
func TestAGatewayThatNeverFreesGetsItsStreamsEnded(t *testing.T) {
	withoutPools(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pool := NewBulk(BulkConfig{})
		pool.allow(1)
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() {
			pool.Run(ctx, func(ctx context.Context) (net.Conn, Hello, error) { return dialKeeper(ctx, &work) })
		})
		pool.mu.Lock()
		pool.asked = time.Now()
		pool.mu.Unlock()
		signal(pool.wake)
		synctest.Wait()

		near, far := net.Pipe()
		defer far.Close()
		work.Go(func() { _, _ = io.Copy(io.Discard, far) })
		l := newLink(near, nil, newBudget(0), time.Hour, time.Hour)
		defer l.fail(net.ErrClosed)
		st := newStream(l, 1, requestWindow, 1<<20)
		if err := l.add(1, st); err != nil {
			t.Fatal(err)
		}
		in := newInbound(ctx, st, nil, &openHeader{}, getBuffer(openHeaderBytes), true)
		in.bulk.pool = pool
		began := time.Now()
		in.run(handlerFunc(serveBlob(make([]byte, 1<<20))))
		if took := time.Since(began); took < freePatience || took > freePatience+time.Minute {
			t.Errorf("the stream was held for %v, want %v", took, freePatience)
		}
		synctest.Wait()
		if status := pool.Status(); status.Moved != 1 || status.Used != 0 || l.inFlight() != 0 {
			t.Errorf("left behind: %+v, %d streams", status, l.inFlight())
		}
		cancel()
	})
}

// dialKeeper dials a gateway that welcomes bulk connections, takes everything and frees nothing.
func dialKeeper(ctx context.Context, work *sync.WaitGroup) (net.Conn, Hello, error) {
	cp, gw := net.Pipe()
	l := newLink(gw, nil, newBudget(0), 0, 0)
	work.Go(func() {
		if _, _, err := l.readHello(&keeper{}, time.Second); err != nil || l.sendJSON(frameWelcome, Welcome{Version: 1, MaxBulk: 1}) != nil {
			gw.Close()
			return
		}
		work.Go(func() {
			for ctx.Err() == nil && l.post(frameHeader{typ: framePing}, nil) == nil {
				time.Sleep(time.Second)
			}
		})
		_ = gw.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, gw)
		l.fail(net.ErrClosed)
	})
	return cp, Hello{ConnectionPoint: "cp", Slot: 3}, nil
}

func TestASilentBulkConnectionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		go func() { // takes everything, says nothing
			_, _ = io.Copy(io.Discard, far)
		}()
		b := newBulkConn(newLink(near, nil, newBudget(0), 0, 0), 1)
		began := time.Now()
		err := b.run(t.Context(), nil)
		if took := time.Since(began); took != DefaultDeadAfter {
			t.Errorf("given up after %s with %v, want %s", took, err, DefaultDeadAfter)
		}
	})
}

func TestAQuietBulkConnectionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		a := newBulkConn(newLink(near, nil, newBudget(0), 0, 0), 1)
		z := newBulkConn(newLink(far, nil, newBudget(0), 0, 0), 1)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { _ = a.run(ctx, nil) })
		work.Go(func() { _ = z.run(ctx, nil) })
		time.Sleep(time.Hour)
		if a.failure() != nil || z.failure() != nil {
			t.Errorf("ended: %v, %v", a.failure(), z.failure())
		}
		cancel()
		work.Wait()
	})
}

func TestBulkConnectionsGoWhenNobodyAsksForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBulk(BulkConfig{})
		b.allow(maxBulkConns)
		b.asked = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		pool := NewPool(PoolConfig{Gatekeeper: &keeper{}})
		pool.sets["cp"] = &channelSet{id: "cp", all: []*gatewayLink{{hello: Hello{}}}}
		work.Go(func() {
			b.Run(ctx, func(context.Context) (net.Conn, Hello, error) {
				cp, gw := net.Pipe()
				work.Go(func() { _ = pool.Serve(ctx, gw, SlotPort) })
				return cp, Hello{ConnectionPoint: "cp", Slot: 3}, nil
			})
		})
		synctest.Wait()
		if st := b.Status(); st.Idle != warmBulk {
			t.Errorf("at hand: %+v, want %d", st, warmBulk)
		}
		time.Sleep(2 * bulkIdle)
		synctest.Wait()
		if st := b.Status(); st.Idle != 0 {
			t.Errorf("after two quiet minutes: %+v", st)
		}
		cancel()
		work.Wait()
	})
}

// TestABulkConnectionStaysWithItsStreamUntilThatLetsGo has a handler go on for a while when its answer is complete, and
// another large answer come meanwhile. Each has to learn of its own end, or a stream of it stays for ever.
func TestABulkConnectionStaysWithItsStreamUntilThatLetsGo(t *testing.T) {
	serve, linger := serveBlob(blob(1<<20)), make(chan struct{})
	b, p := newBulkBed(t, func(in *Inbound) {
		serve(in)
		if strings.Contains(string(in.Head()), "/first") {
			<-linger
		}
	})
	b.warm(t)
	for _, path := range []string{"/first", "/second"} {
		if err := b.pool.Exchange(t.Context(), get(path), &recorder{}); err != nil {
			t.Fatal(err)
		}
	}
	close(linger)
	waitFor(t, "no stream is left", func() bool { return p.session.Status().Streams == 0 })
	b.idle(t)
}

// A server may take its time with what it has got of an upload. That the rest cannot come any more is known at once, and
// not when the time for an answer is over.
func TestALostBulkConnectionEndsAnUploadWhoseServerWaits(t *testing.T) {
	release := make(chan struct{})
	b, _ := newBulkBed(t, func(in *Inbound) {
		_, _ = io.ReadFull(in.Body(), make([]byte, 1<<20))
		<-release
		in.End()
	})
	defer close(release)
	b.warm(t)
	done := make(chan error, 1)
	go func() {
		done <- b.pool.Exchange(t.Context(), post(endless{}, -1), discard{})
	}()
	waitFor(t, "bulk connection in use", func() bool { return b.bulk.Status().Used == 1 })
	b.mu.Lock()
	for _, c := range b.dials {
		_ = c.Close()
	}
	b.mu.Unlock()
	select {
	case err := <-done:
		if codeOf(t, err) != causeway.CodeChannelLost {
			t.Errorf("got %v, want that the channel was lost", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it still waits for an answer")
	}
}

// endless is a body that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
