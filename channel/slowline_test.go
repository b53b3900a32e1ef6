package channel

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

// A thinLine carries so many bytes a second.
type thinLine struct {
	net.Conn
	perSecond int
}

func (c *thinLine) Write(p []byte) (total int, err error) {
	for len(p) > 0 {
		k := min(c.perSecond/100, len(p))
		time.Sleep(time.Second / 100)
		n, err := c.Conn.Write(p[:k])
		if total += n; err != nil {
			return total, err
		}
		p = p[k:]
	}
	return total, nil
}

const thin = 4 << 20

// exchangeAll sends requests side by side, which all must be answered.
func exchangeAll(t *testing.T, b *bed, n int, request func() *Request) {
	t.Helper()
	var work sync.WaitGroup
	for range n {
		work.Go(func() {
			if err := b.pool.Exchange(t.Context(), request(), &recorder{}); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

// What waits behind a slow line is our own: answers, first requests with their devices' certificates, documents. That is no
// fault of the other side, and no reason to end the link with all that is on it.
func TestOurOwnOutputWaitsForASlowLine(t *testing.T) {
	t.Run("answers", func(t *testing.T) {
		b := newBed(t, PoolConfig{})
		cp, gw := tcpPair(t)
		b.joinOn(&thinLine{cp, thin}, gw, "cp-1", answer(string(bytes.Repeat([]byte("x"), 32<<10))), SessionConfig{})
		exchangeAll(t, b, 100, func() *Request { return get("/") })
	})
	t.Run("first requests", func(t *testing.T) {
		b := newBed(t, PoolConfig{})
		cp, gw := tcpPair(t)
		b.joinOn(cp, &thinLine{gw, thin}, "cp-1", answer("hello"), SessionConfig{})
		exchangeAll(t, b, 1000, func() *Request {
			r := get("/")
			r.Principal = NewPrincipal(1, make([]byte, 2500), "192.0.2.7:999")
			return r
		})
	})
	t.Run("a document", func(t *testing.T) {
		b := newBed(t, PoolConfig{})
		cp, gw := tcpPair(t)
		p := b.joinOn(&thinLine{cp, thin}, gw, "cp-1", answer(string(bytes.Repeat([]byte("x"), 400<<10))), SessionConfig{})
		var work sync.WaitGroup
		work.Go(func() {
			if err := p.session.Push(make([]byte, 3<<20)); err != nil {
				t.Errorf("Push = %v", err)
			}
		})
		exchangeAll(t, b, 3, func() *Request { return get("/") })
		work.Wait()
	})
}

// Who makes us answer and reads nothing is cut: our reader cannot wait for them.
func TestWhoMakesUsAnswerMustRead(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	l := newLink(near, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour)
	go func() {
		ping := append(appendFrameHeader(nil, frameHeader{typ: framePing, length: 8}), make([]byte, 8)...)
		for {
			if _, err := far.Write(ping); err != nil {
				return
			}
		}
	}()
	if err := l.serve(t.Context(), func(frameHeader, *buffer) error { return nil }); !errors.Is(err, errProtocol) {
		t.Errorf("serve = %v, want a violation", err)
	}
}

func TestDocumentsThatArePushedTogetherDoNotMix(t *testing.T) {
	b := newBed(t, PoolConfig{})
	p := b.join("cp-1", answer("x"), SessionConfig{})
	const times, size = 20, 200 << 10
	for range times {
		var work sync.WaitGroup
		for _, c := range []byte{'a', 'b'} {
			work.Go(func() {
				if err := p.session.Push(bytes.Repeat([]byte{c}, size)); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
	}
	waitFor(t, "all documents", func() bool {
		b.keep.mu.Lock()
		defer b.keep.mu.Unlock()
		return len(b.keep.taken) >= 2*times
	})
	for _, d := range b.keep.taken {
		if len(d) != size || bytes.Count(d, d[:1]) != size {
			t.Fatalf("a document of %d bytes has pieces of another", len(d))
		}
	}
}
