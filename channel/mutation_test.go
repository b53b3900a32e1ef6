package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// How many mutated frames each side is sent, over how many connections.
const (
	mutantConns  = 250
	mutantFrames = 20
)

// TestMutatedFramesHarmNobodyElse sends ten thousand mutated frames to a pool and to sessions, over TLS, from peers that
// were admitted. Nothing crashes, every request ends, the channel beside them carries on, and no memory stays.
func TestMutatedFramesHarmNobodyElse(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	quiet := slog.New(slog.DiscardHandler)
	inside, outside := NewMemory(0), NewMemory(0)
	b := newBed(t, PoolConfig{Memory: outside, Logger: quiet})
	cp, gw := tlsPair(t)
	good := b.joinOn(cp, gw, "good", answer("from the good one"), SessionConfig{Memory: inside, Logger: quiet})
	beside := func() {
		t.Helper()
		dev := &recorder{}
		if err := b.pool.Exchange(t.Context(), get("/"), dev); err != nil || dev.body.String() != "from the good one" {
			t.Fatalf("beside mutated frames: %v, %q", err, dev.body.String())
		}
		select {
		case err := <-good.served:
			t.Fatalf("the good channel ended: %v", err)
		default:
		}
	}
	t.Run("from a connection point", func(t *testing.T) {
		for range mutantConns {
			b.attackPool(t, mutate(random, framesOfAConnectionPoint()))
			beside()
		}
	})
	t.Run("on a bulk connection", func(t *testing.T) {
		for range mutantConns / 5 {
			b.attackBulk(t, mutate(random, framesOfABulkConnection()))
			beside()
		}
	})
	t.Run("from a gateway", func(t *testing.T) {
		for range mutantConns {
			attackSession(t, inside, mutate(random, framesOfAGateway()))
			beside()
		}
	})
	waitFor(t, "all memory is given back", func() bool { return inside.UsedBytes() == 0 && outside.UsedBytes() == 0 })
}

// attackPool joins as a connection point, is given requests, and sends frames. Then it goes.
func (b *bed) attackPool(t *testing.T, frames [][]byte) {
	t.Helper()
	a := b.attack(t)
	sendFrames(a.conn, frames)
	a.wait()
}

// attackBulk does the same on a bulk connection, to which the answer of its first request has moved.
func (b *bed) attackBulk(t *testing.T, frames [][]byte) {
	t.Helper()
	a := b.attack(t)
	bulk, served := b.sayHello(t, Hello{MinVersion: minVersion, MaxVersion: maxVersion, ConnectionPoint: "bad", Set: "bad", Plane: PlaneBulk, Bulk: 1})
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(io.Discard, a.conn) })
	head := append(number(uint32(len(okHead))), okHead...)
	for _, f := range [][]byte{rawFrame(1, frameAnswer, false, head), rawFrame(1, frameMove, false, number(1))} {
		if _, err := a.conn.Write(f); err != nil {
			t.Error(err)
		}
	}
	sendFrames(bulk, frames)
	<-served
	closeNow(a.conn)
	reader.Wait()
	a.wait()
}

// An attacker is a connection point that was admitted, with requests under way.
type attacker struct {
	conn     net.Conn
	served   chan error
	requests sync.WaitGroup
}

func (a *attacker) wait() {
	<-a.served
	a.requests.Wait()
}

func (b *bed) attack(t *testing.T) *attacker {
	t.Helper()
	a := &attacker{}
	a.conn, a.served = b.sayHello(t, Hello{MinVersion: minVersion, MaxVersion: maxVersion, ConnectionPoint: "bad", Set: "bad"})
	waitFor(t, "channel up", func() bool { return len(*b.pool.open.Load()) == 2 })
	for i := range 4 { // some of them are for the attacker
		a.requests.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			r := get("/")
			if i%2 == 1 {
				r = post(bytes.NewReader(make([]byte, 100_000)), 100_000)
			}
			_ = b.pool.Exchange(ctx, r, &recorder{}) // it may fail, but it has to end
			if ctx.Err() != nil {
				t.Error("a request did not end")
			}
		})
	}
	waitFor(t, "the attacker has a request", func() bool {
		return slices.ContainsFunc(b.pool.Status(), func(st SetStatus) bool { return st.ConnectionPoint == "bad" && st.Streams > 0 })
	})
	return a
}

// sayHello joins and reads the welcome.
func (b *bed) sayHello(t *testing.T, h Hello) (cp net.Conn, served chan error) {
	t.Helper()
	cp, gw := tlsPair(t)
	served = make(chan error, 1)
	go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	l := newLink(cp, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Minute)
	if err := l.sendHello(h); err != nil {
		t.Fatal(err)
	}
	if _, err := l.readWelcome(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return cp, served
}

// attackSession plays the gateway to a session that serves.
func attackSession(t *testing.T, m *Memory, frames [][]byte) {
	t.Helper()
	cp, gw := tlsPair(t)
	defer gw.Close()
	admitted := make(chan error, 1)
	go func() {
		l := &gatewayLink{link: newLink(gw, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Minute)}
		_, w, err := l.readHello(&keeper{}, time.Minute)
		if err == nil {
			err = l.sendJSON(frameWelcome, w)
		}
		admitted <- err
	}()
	s, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp-1"}, SessionConfig{Memory: m, Logger: slog.New(slog.DiscardHandler), MaxStreams: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-admitted; err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(t.Context(), handlerFunc(func(in *Inbound) {
			_, _ = io.Copy(io.Discard, in.Body())
			if in.Answer([]byte(okHead), make([]byte, 1000), false) == nil {
				_ = in.Data(make([]byte, 100_000), true)
			}
		}))
	}()
	sendFrames(gw, frames)
	select {
	case <-served:
	case <-time.After(30 * time.Second):
		t.Fatal("the session did not end with its connection")
	}
}

// sendFrames writes them as long as the other side listens, reads what it says, and closes.
func sendFrames(c net.Conn, frames [][]byte) {
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(io.Discard, c) })
	_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second)) // a connection just made takes a deadline
	for _, f := range frames {
		if _, err := c.Write(f); err != nil {
			break
		}
	}
	closeNow(c)
	reader.Wait()
}

// rawFrame is one well-formed frame.
func rawFrame(stream uint32, typ frameType, fin bool, payload ...[]byte) []byte {
	p := slices.Concat(payload...)
	return append(appendFrameHeader(nil, frameHeader{stream: stream, typ: typ, fin: fin, length: len(p)}), p...)
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// framesOfAConnectionPoint are what a gateway gets to read, of every kind.
func framesOfAConnectionPoint() [][]byte {
	head := append(number(uint32(len(okHead))), okHead...)
	body := bytes.Repeat([]byte("body "), 500)
	return [][]byte{
		rawFrame(0, framePing, false, make([]byte, 8)), rawFrame(0, framePong, false, make([]byte, 8)),
		rawFrame(1, frameInform, false, []byte("HTTP/1.1 103 Early Hints\r\n\r\n")),
		rawFrame(1, frameAnswer, false, head, body), rawFrame(1, frameData, false, body), rawFrame(1, frameData, true, body),
		rawFrame(2, frameAnswer, true, head, body), rawFrame(2, frameWindow, false, number(1<<16)),
		rawFrame(3, frameAnswer, false, head), rawFrame(3, frameTrailers, true, []byte("X-Sum: 1\r\n")),
		rawFrame(4, frameWindow, false, number(1<<16)), rawFrame(4, frameReset, false, []byte{0, 102, 0}),
		rawFrame(5, frameReset, false, []byte{0, 102, 2}), rawFrame(1, frameOffer, false, number(1)), rawFrame(1, frameMove, false, number(1)),
		rawFrame(0, frameDocument, true, []byte(`{"kind":"gateway"}`)), rawFrame(0, frameLeave, false, []byte{leaveAnnounce}),
		rawFrame(0, frameOptional, false, body), rawFrame(1, frameOptional+1, true, body), rawFrame(0, frameHello, false, []byte("{}")),
	}
}

// framesOfABulkConnection are what a gateway gets to read on one.
func framesOfABulkConnection() [][]byte {
	body := bytes.Repeat([]byte("body "), 5000)
	return [][]byte{
		rawFrame(0, framePing, false), rawFrame(1, frameData, false, body), rawFrame(1, frameData, false), rawFrame(1, frameData, false, body),
		rawFrame(0, framePing, false), rawFrame(1, frameTrailers, true, []byte("X-Sum: 1\r\n")), rawFrame(1, frameData, true, body),
		rawFrame(2, frameData, false, body), rawFrame(0, frameFree, false), rawFrame(0, frameOptional, false, body),
	}
}

// framesOfAGateway are what a connection point gets to read, of every kind.
func framesOfAGateway() [][]byte {
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	body := bytes.Repeat([]byte("body "), 500)
	open := func(attempt uint8, body int64, upgrade bool) []byte {
		return append(appendOpenHeader(nil, openHeader{principal: 1, attempt: attempt, bodyBytes: body, upgrade: upgrade, headBytes: len(get)}), get...)
	}
	return [][]byte{
		rawFrame(0, framePrincipal, false, number(1), []byte{1, 9}, []byte("192.0.2.7"), []byte("proof")), rawFrame(0, framePing, false, make([]byte, 8)),
		rawFrame(1, frameOpen, true, open(1, 0, false)), rawFrame(1, frameWindow, false, number(1<<18)),
		rawFrame(2, frameOpen, false, open(1, int64(len(body)), false)), rawFrame(2, frameData, true, body), rawFrame(2, frameWindow, false, number(1<<20)),
		rawFrame(3, frameOpen, false, open(2, -1, false), body), rawFrame(3, frameData, false, body), rawFrame(3, frameTrailers, true, []byte("X-Sum: 1\r\n")),
		rawFrame(4, frameOpen, false, open(1, 0, true)), rawFrame(4, frameData, false, body), rawFrame(4, frameReset, false, []byte{0, 0, 2}),
		rawFrame(5, frameOpen, true, open(1, 0, false)), rawFrame(5, frameMove, false, number(1)), rawFrame(5, frameReset, false, []byte{0, 0, 0}),
		rawFrame(0, frameApplied, false, []byte(`{"kind":"gateway","generation":1}`)), rawFrame(0, framePong, false, make([]byte, 8)),
		rawFrame(0, frameLeave, false, []byte{leaveAnnounce}), rawFrame(0, framePrincipalClose, false, number(1)),
	}
}

// mutate returns mutantFrames mutated frames, behind some of the good ones: a connection ends with the first frame that
// its reader may not pass over, and this frame should meet streams in every state.
func mutate(random *rand.Rand, good [][]byte) [][]byte {
	begin := random.IntN(len(good))
	frames := slices.Clone(good[:begin])
	for i := range mutantFrames {
		f := slices.Clone(good[(begin+i)%len(good)])
		if random.IntN(3) == 0 {
			f = slices.Clone(good[random.IntN(len(good))])
		}
		for range 1 + random.IntN(2) {
			f = mutateOne(random, f)
		}
		frames = append(frames, f)
	}
	return frames
}

// mutateOne spoils a frame in one way, mostly so that its length goes on being right.
func mutateOne(random *rand.Rand, f []byte) []byte {
	if len(f) < frameHeaderBytes {
		return f
	}
	anyNumber := []uint32{0, 1, 2, 3, 1<<16 - 1, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	switch random.IntN(12) {
	case 0: // of another stream
		binary.BigEndian.PutUint32(f, anyNumber[random.IntN(len(anyNumber))])
	case 1: // of another kind
		f[4] = byte(random.IntN(256))
	case 2: // the last of its direction, or not
		f[4] ^= flagFin
	case 3: // a length that is not its own
		f[5], f[6], f[7] = byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))
	case 4: // cut in the middle, so that the next frame is read as its rest
		f = f[:random.IntN(len(f))]
	case 5: // twice
		f = append(f, f...)
	case 6, 7: // shorter, and right about it
		n := random.IntN(len(f) - frameHeaderBytes + 1)
		f = f[:frameHeaderBytes+n]
		f[5], f[6], f[7] = byte(n>>16), byte(n>>8), byte(n)
	case 8: // longer, and right about it
		f = append(f, make([]byte, random.IntN(1<<16))...)
		n := len(f) - frameHeaderBytes
		f[5], f[6], f[7] = byte(n>>16), byte(n>>8), byte(n)
	case 9: // a number that nobody expects
		if len(f) >= frameHeaderBytes+4 {
			binary.BigEndian.PutUint32(f[frameHeaderBytes:], anyNumber[random.IntN(len(anyNumber))])
		}
	default: // single bits
		for range 1 + random.IntN(4) {
			f[random.IntN(len(f))] ^= 1 << random.IntN(8)
		}
	}
	return f
}
