package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilentPeerIsFoundDead holds the contract's 5 seconds: whether the peer stopped reading, stopped writing, or
// the network swallows everything, looks the same to a pipe.
func TestSilentPeerIsFoundDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go func() { _, _ = io.Copy(io.Discard, b) }() // takes everything, says nothing
		start := time.Now()
		l := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		err := l.serve(t.Context(), func(frameHeader, *buffer) error { return nil })
		if took := time.Since(start); !errors.Is(err, errDead) || took > DefaultDeadAfter {
			t.Errorf("serve = %v after %v, want %v within %v", err, took, errDead, DefaultDeadAfter)
		}
	})
}

// TestSilenceCountsFromTheLastByte has the peer fall silent between two looks of whoever only looks now and then.
func TestSilenceCountsFromTheLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		const spoke = 2300 * time.Millisecond
		go func() {
			time.Sleep(spoke)
			_, _ = b.Write(append(appendFrameHeader(nil, frameHeader{typ: frameOptional, length: 1}), 0))
		}()
		start := time.Now()
		l := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		err := l.serve(t.Context(), func(frameHeader, *buffer) error { return nil })
		if took := time.Since(start); !errors.Is(err, errDead) || took != spoke+DefaultDeadAfter {
			t.Errorf("serve = %v after %v, want %v after %v", err, took, errDead, spoke+DefaultDeadAfter)
		}
	})
}

// A line that takes nothing any more holds up the next ping for as long as a write may take. The verdict does not wait
// for that: it comes deadAfter after the last byte.
func TestAPingThatIsHeldUpDelaysNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		const spoke = 300 * time.Millisecond
		go func() { // takes the first ping, and not the second
			frame := make([]byte, frameHeaderBytes+8)
			_, _ = io.ReadFull(b, frame)
			time.Sleep(spoke)
			_, _ = b.Write(append(appendFrameHeader(nil, frameHeader{typ: frameOptional, length: 1}), 0))
		}()
		start := time.Now()
		l := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		err := l.serve(t.Context(), func(frameHeader, *buffer) error { return nil })
		if took := time.Since(start); !errors.Is(err, errDead) || took != spoke+DefaultDeadAfter {
			t.Errorf("serve = %v after %v, want %v after %v", err, took, errDead, spoke+DefaultDeadAfter)
		}
	})
}

func TestPeerThatStopsReadingIsFoundDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		var speaker sync.WaitGroup
		defer speaker.Wait()
		speaker.Go(func() { // alive, but deaf
			for {
				ping := make([]byte, 8)
				f := append(appendFrameHeader(nil, frameHeader{typ: frameOptional, length: 8}), ping...)
				if _, err := b.Write(f); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		l := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		err := l.serve(t.Context(), func(frameHeader, *buffer) error { return nil })
		if took := time.Since(start); err == nil || took > DefaultDeadAfter {
			t.Errorf("serve = %v after %v, want an error within %v", err, took, DefaultDeadAfter)
		}
	})
}

func TestLivePeersStayUpAndMeasureRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b := net.Pipe()
		la := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		lb := newLink(b, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		ended := make(chan error, 2)
		for _, l := range []*link{la, lb} {
			go func() { ended <- l.serve(ctx, func(frameHeader, *buffer) error { return nil }) }()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(ended) != 0 {
			t.Errorf("a quiet link ended: %v", <-ended)
		}
		cancel()
		<-ended
		<-ended
	})
}

func TestOutputOfManySendersIsBatched(t *testing.T) {
	a, b := tcpPair(t)
	defer b.Close()
	l := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
	defer l.fail(net.ErrClosed)
	const senders, frames = 20, 200
	for i := range senders {
		go func() {
			for n := range frames {
				var p [8]byte
				binary.BigEndian.PutUint32(p[:], uint32(n))
				if _, err := l.write(frameHeader{stream: uint32(i + 1), typ: frameData}, p[:4], p[4:], nil); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	r := newLink(b, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
	next := map[uint32]uint32{}
	for range senders * frames {
		h, buf, err := r.readFrame()
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(buf.b); got != next[h.stream] {
			t.Fatalf("stream %d: frame %d, want %d", h.stream, got, next[h.stream])
		}
		next[h.stream]++
		putBuffer(buf)
	}
}

func TestWasHandedKnowsWhatNeverLeft(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	l := newLink(a, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour)
	go func() { _, _ = l.write(frameHeader{stream: 1, typ: frameOpen}, []byte("first"), nil, nil) }()
	waitFor(t, "first frame under way", func() bool { l.wmu.Lock(); defer l.wmu.Unlock(); return l.handed > 0 })
	off, err := l.write(frameHeader{stream: 2, typ: frameOpen}, []byte("second"), nil, nil) // waits behind the first
	if err != nil {
		t.Fatal(err)
	}
	l.fail(net.ErrClosed)
	if !l.wasHanded(0) || l.wasHanded(off) {
		t.Errorf("handed: first %v, second %v; want true, false", l.wasHanded(0), l.wasHanded(off))
	}
	l.waitWriter()
}

// TestGoldenFrames pins the bytes of version 1.
func TestGoldenFrames(t *testing.T) {
	o := appendOpenHeader(nil, openHeader{id: [16]byte{1, 2, 15: 16}, principal: 7, attempt: 2, upgrade: true, bodyBytes: -1, headBytes: 3})
	for _, tt := range []struct {
		name      string
		got, want []byte
	}{
		{"data", appendFrameHeader(nil, frameHeader{stream: 0x01020304, typ: frameData, fin: true, length: 0x00abcd}),
			[]byte{1, 2, 3, 4, 0x91, 0x00, 0xab, 0xcd}},
		{"ping", appendFrameHeader(nil, frameHeader{typ: framePing, length: 8}), []byte{0, 0, 0, 0, 6, 0, 0, 8}},
		{"open", o, []byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 7, 2, 1,
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 3}},
	} {
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("%s: % x, want % x", tt.name, tt.got, tt.want)
		}
	}
}

// addFrames keeps each frame as a seed, and all of them in turn.
func addFrames(f *testing.F, frames [][]byte) {
	for _, frame := range frames {
		f.Add(frame)
	}
	f.Add(slices.Concat(frames...))
}

// FuzzHello throws what stands before all else at a gateway: hellos of both planes, and what has no business there.
func FuzzHello(f *testing.F) {
	addFrames(f, [][]byte{
		rawFrame(0, frameDocument, false, []byte(`{"kind":`)), rawFrame(0, frameDocument, true, []byte(`"gateway"}`)),
		rawFrame(0, frameHello, false, []byte(`{"min_version":1,"max_version":1,"connection_point":"cp","set":"s","index":1,"count":2,"max_in_flight":3}`)),
		rawFrame(0, frameHello, false, []byte(`{"min_version":1,"max_version":1,"connection_point":"cp","set":"s","plane":"bulk","bulk":1}`)),
		rawFrame(0, frameOptional, false, []byte("later")), rawFrame(0, framePing, false, make([]byte, 8)),
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		p := NewPool(PoolConfig{Gatekeeper: &keeper{}, Logger: slog.New(slog.DiscardHandler)})
		cp, gw := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- p.Serve(t.Context(), gw, SlotPort) }()
		sendFrames(cp, [][]byte{in})
		<-served
		if used := p.MemoryUsedBytes(); used != 0 || p.Ready() {
			t.Errorf("%d bytes of memory not given back, ready %t", used, p.Ready())
		}
	})
}

// FuzzWelcome throws what a gateway may answer to a hello at a connection point.
func FuzzWelcome(f *testing.F) {
	addFrames(f, [][]byte{
		rawFrame(0, frameWelcome, false, []byte(`{"version":1,"instance":"gw-0","slot":0,"applied":[{"kind":"gateway","generation":1}],"max_bulk":32}`)),
		rawFrame(0, frameRefuse, false, []byte{0, 1}),
		rawFrame(0, frameOptional, false, []byte("later")), rawFrame(0, framePong, false, make([]byte, 8)),
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		cp, gw := net.Pipe()
		sent := make(chan struct{})
		go func() { sendFrames(gw, [][]byte{in}); close(sent) }()
		s, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp"}, SessionConfig{Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			_ = s.Serve(t.Context(), handlerFunc(func(*Inbound) {}))
		}
		closeNow(cp)
		<-sent
	})
}

// FuzzBulk throws frames at a bulk connection that has a stream.
func FuzzBulk(f *testing.F) {
	addFrames(f, framesOfABulkConnection())
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newBed(t, PoolConfig{Logger: slog.New(slog.DiscardHandler)})
		cp, gw := net.Pipe()
		b.joinOn(cp, gw, "good", answer("from the good one"), SessionConfig{Logger: slog.New(slog.DiscardHandler)})
		b.attackBulk(t, [][]byte{in})
	})
}

// FuzzSession throws frames of a broken or hostile gateway at a connection point.
func FuzzSession(f *testing.F) {
	open := appendOpenHeader(nil, openHeader{principal: 1, attempt: 1, headBytes: 4})
	f.Add(append(appendFrameHeader(nil, frameHeader{typ: framePrincipal, length: 6}), 0, 0, 0, 1, 1, 0))
	f.Add(append(append(appendFrameHeader(nil, frameHeader{stream: 1, typ: frameOpen, length: len(open) + 4}), open...), "GET "...))
	f.Add(appendFrameHeader(nil, frameHeader{stream: 1, typ: frameData, fin: true}))
	f.Add([]byte{0, 0, 0, 0, byte(frameLeave), 0, 0, 1, 0})
	addFrames(f, framesOfAGateway())
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		s := &Session{link: newLink(a, slog.New(slog.DiscardHandler), newBudget(0), 0, time.Second), cfg: SessionConfig{MaxStreams: 10, MaxPrincipals: 10},
			principals: map[uint32]*InboundPrincipal{}, leaving: make(chan struct{}), acked: make(chan struct{}), work: make(chan *Inbound)}
		served := make(chan error, 1)
		go func() {
			served <- s.Serve(t.Context(), handlerFunc(func(in *Inbound) {
				_, _ = io.Copy(io.Discard, in.Body())
				_ = in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), []byte("x"), true)
			}))
		}()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		_ = b.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = b.Write(in)
		b.Close()
		<-served
		if used := s.link.budget.used.Load(); used != 0 {
			t.Errorf("%d bytes of memory not given back", used)
		}
	})
}

// FuzzPool throws frames of a broken or hostile connection point at a gateway with a request under way.
func FuzzPool(f *testing.F) {
	ok := []byte("\x00\x00\x00\x13HTTP/1.1 200 OK\r\n\r\n")
	f.Add(append(appendFrameHeader(nil, frameHeader{stream: 1, typ: frameAnswer, fin: true, length: len(ok)}), ok...))
	f.Add(append(appendFrameHeader(nil, frameHeader{stream: 1, typ: frameReset, length: 3}), 0, 102, 0))
	f.Add(append(appendFrameHeader(nil, frameHeader{stream: 1, typ: frameWindow, length: 4}), 0xff, 0xff, 0xff, 0xff))
	f.Add(append(appendFrameHeader(nil, frameHeader{stream: 1, typ: frameTrailers, fin: true, length: 2}), "a:"...))
	addFrames(f, framesOfAConnectionPoint())
	f.Fuzz(func(t *testing.T, in []byte) {
		p := NewPool(PoolConfig{Gatekeeper: &keeper{}, Logger: slog.New(slog.DiscardHandler)})
		cp, gw := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- p.Serve(t.Context(), gw, SlotPort) }()
		l := newLink(cp, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Second)
		if err := l.sendHello(Hello{MinVersion: 1, MaxVersion: 1, ConnectionPoint: "cp"}); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, cp) }()
		waitFor(t, "channel up", p.Ready)
		done := make(chan error, 1)
		go func() { done <- p.Exchange(t.Context(), get("/"), &recorder{}) }()
		waitFor(t, "request under way", func() bool { st := p.Status(); return len(st) == 1 && st[0].Requests > 0 || len(done) > 0 })
		_ = cp.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = cp.Write(in)
		cp.Close()
		<-done
		<-served
		if used := p.MemoryUsedBytes(); used != 0 {
			t.Errorf("%d bytes of memory not given back", used)
		}
	})
}

// TestPeerThatTakesAPartIsFoundDead takes of a batch what fits into the kernel, or besides that something after a while,
// and is dead within the same time after its last byte as who takes nothing.
func TestPeerThatTakesAPartIsFoundDead(t *testing.T) {
	t.Parallel()
	const patience = 2 * time.Second
	for name, later := range map[string]bool{"at once": false, "after a while": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := tcpPair(t)
			defer a.Close()
			defer b.Close()
			last := make(chan time.Time, 1)
			go func() {
				if later {
					time.Sleep(patience / 3)
					_, _ = io.CopyN(io.Discard, b, 16<<20)
				}
				last <- time.Now()
			}()
			err := writePatiently(a, make([]byte, 64<<20), patience)
			took := time.Since(<-last)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the write ended with %v", err)
			}
			if took < patience*7/8 || took > patience*3/2 {
				t.Errorf("found dead %v after its last byte, want about %v", took, patience)
			}
		})
	}
}
