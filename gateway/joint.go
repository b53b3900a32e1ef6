package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// jointIdle is how long a joint may carry nothing in either direction. It is longer than a channel lets a body wait for
// a device that does not read.
const jointIdle = 30 * time.Minute

// A joint copies between a connection and another instance until either ends. A channel is TLS and says when it is over,
// so neither direction outlives the other: who has only one left has nothing to say.
type joint struct {
	outer, inner net.Conn
	idle         time.Duration

	asked    atomic.Bool  // the instance has spoken
	answered atomic.Bool  // the outer side has spoken after it, as a handshake goes on
	moved    atomic.Int64 // when something was carried last, in Unix nanoseconds
}

func (j *joint) shut() {
	_ = j.outer.Close()
	_ = j.inner.Close()
}

// run copies until either side ends, nothing was carried for too long, or ctx ends. It closes both.
func (j *joint) run(ctx context.Context) {
	defer j.shut()
	stop := context.AfterFunc(ctx, j.shut)
	defer stop()
	j.moved.Store(time.Now().UnixNano())
	back := make(chan struct{})
	go func() {
		defer close(back)
		defer j.shut()
		if j.first(j.outer, j.inner, func() { j.asked.Store(true) }) == nil {
			j.pour(j.outer, j.inner)
		}
	}()
	var err error
	for err == nil && !j.answered.Load() { // a ClientHello may come in pieces
		err = j.first(j.inner, j.outer, func() { j.answered.Store(j.asked.Load()) })
	}
	if err == nil {
		j.pour(j.inner, j.outer)
	}
	j.shut()
	<-back
}

// first carries what one read gives. It calls read before it does, so that what comes back cannot be quicker.
func (j *joint) first(to, from net.Conn, read func()) error {
	buf := make([]byte, 4<<10)
	n, err := from.Read(buf)
	if n > 0 {
		read()
		if _, err := to.Write(buf[:n]); err != nil {
			return err
		}
		j.moved.Store(time.Now().UnixNano())
	}
	return err
}

// pour copies to the end of from. TCP is left to the kernel, which is asked now and then whether it has carried anything;
// a WebSocket would not survive the question, so what comes from it is noted piece by piece.
func (j *joint) pour(to, from net.Conn) {
	if _, ok := from.(*net.TCPConn); !ok {
		_, _ = io.Copy(to, noted{j, from})
		return
	}
	for {
		if from.SetReadDeadline(time.Now().Add(j.idle/4)) != nil {
			return
		}
		n, err := io.Copy(to, from)
		if n > 0 {
			j.moved.Store(time.Now().UnixNano())
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(time.Unix(0, j.moved.Load())) > j.idle {
			return
		}
	}
}

// A noted reader tells the joint what it reads.
type noted struct {
	j *joint
	io.Reader
}

func (r noted) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.j.moved.Store(time.Now().UnixNano())
	}
	return n, err
}
