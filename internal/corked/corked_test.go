package corked

import (
	"bytes"
	"errors"
	"sync"
	"testing"
)

// writes counts the writes that reach the connection.
type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(p []byte) (int, error) {
	w.n++
	return w.Buffer.Write(p)
}

func TestOneWriteForAllThatWasHeldBack(t *testing.T) {
	var w Writer
	c := &writes{}
	_, _ = w.Write(c, []byte("a"))
	w.Cork(8)
	for _, s := range []string{"b", "c", "d"} {
		if n, err := w.Write(c, []byte(s)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if c.String() != "a" {
		t.Fatalf("%q was written before the cork was out", c)
	}
	if err := w.Uncork(func(p []byte) error { _, err := c.Write(p); return err }); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(c, []byte("e"))
	if c.String() != "abcde" || c.n != 3 {
		t.Errorf("%q in %d writes, want abcde in 3", c, c.n)
	}
}

func TestNothingHeldBackIsNoWrite(t *testing.T) {
	var w Writer
	w.Cork(8)
	if err := w.Uncork(func([]byte) error { return errors.New("called") }); err != nil {
		t.Error(err)
	}
}

func TestAFailedWriteKeepsNothing(t *testing.T) {
	var w Writer
	c := &writes{}
	broken := errors.New("broken")
	w.Cork(8)
	_, _ = w.Write(c, []byte("lost"))
	if err := w.Uncork(func([]byte) error { return broken }); err != broken {
		t.Fatalf("got %v", err)
	}
	w.Cork(8)
	_, _ = w.Write(c, []byte("next"))
	_ = w.Uncork(func(p []byte) error { _, err := c.Write(p); return err })
	if c.String() != "next" {
		t.Errorf("%q was written, want only what came after the failure", c)
	}
}

// TLS answers a key update on the goroutine that reads: that record must not overtake those held back.
func TestOrderHoldsWithASecondWriter(t *testing.T) {
	for range 200 {
		var w Writer
		c := &writes{}
		w.Cork(8)
		_, _ = w.Write(c, []byte("1"))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = w.Write(c, []byte("2")) })
		_ = w.Uncork(func(p []byte) error { _, err := c.Write(p); return err })
		wg.Wait()
		if got := c.String(); got != "12" {
			t.Fatalf("%q was written, want 12", got)
		}
	}
}

// Who writes little, and may be held up for long, does not hold the buffer of somebody who wrote much.
func TestLargeBuffersStayAmongTheLarge(t *testing.T) {
	write := func(n int) (held int) {
		var w Writer
		c := &writes{}
		w.Cork(n)
		for left := n; left > 0; left -= 16 << 10 {
			_, _ = w.Write(c, make([]byte, min(left, 16<<10)))
		}
		_ = w.Uncork(func(p []byte) error { held = cap(p); return nil })
		return held
	}
	for range 100 {
		write(300 << 10)
		if held := write(64 << 10); held > mostBytes {
			t.Fatalf("64 KiB lie in a buffer of %d bytes", held)
		}
	}
}
