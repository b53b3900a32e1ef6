package channel

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func quietLink(t *testing.T) *link {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return newLink(a, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour)
}

// TestReusedStreamTakesNothingOfItsFormerLink plays the moment in which one link's reader has found a stream that
// another link is given meanwhile, under the same id.
func TestReusedStreamTakesNothingOfItsFormerLink(t *testing.T) {
	a, b := quietLink(t), quietLink(t)
	s := newStream(a, 5, answerWindow, 0)
	s.release()
	s = newStream(b, 5, answerWindow, 0) // most often the same memory; the check below holds either way
	defer s.release()
	body := getBuffer(6)
	copy(body.b, "secret")
	if err := s.receive(a, 5, chunk{typ: frameData, buf: body, body: body.b}); err != nil {
		t.Fatal(err)
	}
	s.end(a, 5, &streamReset{lost: true})
	if err := s.addCredit(a, 5, 100); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) != 0 || s.err != nil || s.credit != 0 {
		t.Errorf("queue %d, err %v, credit %d: the former link reached the stream", len(s.queue), s.err, s.credit)
	}
}

// TestSmallFramesDoNotHoldABufferEach holds what is kept for a slow reader to a small multiple of its window.
func TestSmallFramesDoNotHoldABufferEach(t *testing.T) {
	l := quietLink(t)
	s := newStream(l, 1, answerWindow, 0)
	defer s.release()
	want := bytes.Repeat([]byte("abcdefgh"), answerWindow/8)
	for i := range want {
		b := getBuffer(1)
		b.b[0] = want[i]
		if err := s.receive(l, 1, chunk{typ: frameData, buf: b, body: b.b, fin: i == len(want)-1}); err != nil {
			t.Fatal(err)
		}
	}
	held, got := 0, []byte(nil)
	for {
		c, err := s.next(nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		held += cap(c.buf.b)
		got = append(got, c.body...)
		fin := c.fin
		s.consumed(c)
		if fin {
			break
		}
	}
	if held > 4*answerWindow || !bytes.Equal(got, want) {
		t.Errorf("%d bytes were held for %d; equal %v", held, len(want), bytes.Equal(got, want))
	}
}

func TestFramesThatNeedNoCreditAreBounded(t *testing.T) {
	for name, c := range map[string]func() chunk{
		"empty data": func() chunk { return chunk{typ: frameData, buf: getBuffer(0)} },
		"1xx heads":  func() chunk { b := getBuffer(8); return chunk{typ: frameInform, buf: b, head: b.b} },
	} {
		t.Run(name, func(t *testing.T) {
			l := quietLink(t)
			s := newStream(l, 1, answerWindow, 0)
			defer s.release()
			for range 100 {
				if err := s.receive(l, 1, c()); err != nil {
					return
				}
			}
			t.Error("100 frames were taken")
		})
	}
}

// slowConn takes a few bytes at a time, as a loaded uplink does.
type slowConn struct {
	net.Conn
	perSecond int

	mu       sync.Mutex
	deadline time.Time
}

func (c *slowConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return nil
}

func (c *slowConn) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		c.mu.Lock()
		late := time.Now().After(c.deadline)
		c.mu.Unlock()
		if late {
			return n, os.ErrDeadlineExceeded
		}
		k := min(c.perSecond/10, len(p)-n)
		time.Sleep(time.Second / 10)
		if _, err := c.Conn.Write(p[n : n+k]); err != nil {
			return n, err
		}
		n += k
	}
	return len(p), nil
}

// TestSlowLineIsNotADeadOne sends more than the line can carry in deadAfter.
func TestSlowLineIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		l := newLink(&slowConn{Conn: a, perSecond: 16 << 10}, slog.New(slog.DiscardHandler), newBudget(0), 0, 0)
		received := make(chan int64, 1)
		go func() { n, _ := io.Copy(io.Discard, b); received <- n }()
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for range 4 {
					if _, err := l.write(frameHeader{stream: uint32(i + 1), typ: frameData}, make([]byte, 16<<10), nil, nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		l.wmu.Lock()
		for l.writing {
			l.wcond.Wait()
		}
		l.wmu.Unlock()
		l.fail(net.ErrClosed)
		b.Close()
		if n := <-received; n < 16*4*16<<10 {
			t.Errorf("%d bytes arrived", n)
		}
	})
}

// TestBodyThatFailsAsTheAnswerCompletesEndsTheRequest lets the connection point's handler wait for a body that will
// never be complete, after its answer is.
func TestBodyThatFailsAsTheAnswerCompletesEndsTheRequest(t *testing.T) {
	b := newBed(t, PoolConfig{})
	ended := make(chan error, 1)
	failed := make(chan struct{})
	b.join("cp-1", func(in *Inbound) {
		_, _ = in.Body().Read(make([]byte, 1))
		_ = in.Answer([]byte(okHead), nil, true)
		_, err := io.Copy(io.Discard, in.Body())
		ended <- err
	}, SessionConfig{})
	body := &gate{Reader: strings.NewReader(strings.Repeat("x", 100_000)), failed: failed}
	dev := &recorder{onData: func() error { close(failed); return nil }}
	req := post(body, -1)
	if err := b.pool.Exchange(t.Context(), req, dev); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the body looked complete")
		}
	case <-time.After(30 * time.Second):
		t.Error("the handler still waits for the body")
	}
}

// gate is a body whose second half fails once failed is closed.
type gate struct {
	io.Reader
	failed chan struct{}
	n      int
}

func (g *gate) Read(p []byte) (int, error) {
	if g.n++; g.n <= 2 {
		return g.Reader.Read(p[:min(len(p), 1000)])
	}
	<-g.failed
	return 0, errors.New("device gone")
}
