package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

// told is interrupted at most as often as its channel has room.
type told chan struct{}

func (x told) Interrupt() { x <- struct{}{} }

func TestDeviceGoneInterrupts(t *testing.T) {
	b := newBed(t, PoolConfig{})
	replaced, named, late := make(told, 9), make(told, 9), make(told, 9)
	reached, ended := make(chan struct{}), make(chan struct{})
	b.join("cp-1", func(in *Inbound) {
		defer close(ended)
		if in.OnGone(replaced) || in.OnGone(nil) || in.OnGone(named) || in.Gone() {
			t.Error("gone before it was")
		}
		close(reached)
		<-named
		if !in.Gone() || !in.OnGone(late) || !in.OnGone(nil) {
			t.Error("not gone after it was")
		}
		<-in.Context().Done()
	}, SessionConfig{})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("device gone")
	go func() {
		<-reached
		cancel(gone)
	}()
	if err := b.pool.Exchange(ctx, get("/"), &recorder{}); !errors.Is(err, gone) {
		t.Errorf("exchange ended with %v, want %v", err, gone)
	}
	<-ended
	if len(replaced) != 0 || len(named) != 0 || len(late) != 1 {
		t.Errorf("interrupted %d times who was replaced, %d times too often who was named, %d times who came late; want 0, 0 and 1",
			len(replaced), len(named), len(late))
	}
}

func TestLostSessionInterrupts(t *testing.T) {
	b := newBed(t, PoolConfig{})
	named, reached := make(told, 1), make(chan struct{})
	p := b.join("cp-1", func(in *Inbound) {
		in.OnGone(named)
		close(reached)
		<-named
	}, SessionConfig{})
	go func() {
		<-reached
		p.raw.Close()
	}()
	req := get("/")
	req.Idempotent = false
	if err := b.pool.Exchange(t.Context(), req, &recorder{}); err == nil {
		t.Error("an exchange outlived its session")
	}
}

// TestSmallBodiesComeWhole holds Whole and Body to the same bytes.
func TestSmallBodiesComeWhole(t *testing.T) {
	b := newBed(t, PoolConfig{})
	type got struct {
		first, body []byte
		whole       bool
	}
	seen := make(chan got, 1)
	b.join("cp-1", func(in *Inbound) {
		first, whole := in.Whole()
		g := got{first: bytes.Clone(first), whole: whole}
		var err error
		if g.body, err = io.ReadAll(in.Body()); err != nil {
			t.Error(err)
		}
		seen <- g
		_ = in.Answer([]byte(okHead), nil, true)
	}, SessionConfig{})
	for n, want := range map[int]bool{0: true, 1: true, requestWindow: true, requestWindow + 1: false, 1 << 20: false} {
		body := bytes.Repeat([]byte{'x'}, n)
		if err := b.pool.Exchange(t.Context(), post(bytes.NewReader(body), int64(n)), &recorder{}); err != nil {
			t.Fatal(err)
		}
		if g := <-seen; g.whole != want || !bytes.Equal(g.body, body) || want && !bytes.Equal(g.first, body) {
			t.Errorf("%d bytes: whole %v of %d, body of %d", n, g.whole, len(g.first), len(g.body))
		}
	}
}
