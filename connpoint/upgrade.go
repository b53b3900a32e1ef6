package connpoint

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
)

// switchProtocols passes bytes both ways after a 101, until one side ends or neither has sent anything for long.
func (x *exchange) switchProtocols() {
	x.status = 101
	if x.in.Answer(x.mapHead(true), nil, false) != nil {
		return
	}
	var last atomic.Int64 // when a byte passed, in nanoseconds since the start
	touch := func() { last.Store(int64(time.Since(x.start))) }
	touch()
	body, conn := x.in.Body(), x.conn
	if conn.SetWriteDeadline(time.Time{}) != nil {
		return
	}
	x.inBackground(func() {
		n, err := copyTouching(conn, body, touch)
		x.sentBytes = n
		if err != nil || !conn.closeWrite() {
			conn.close()
		}
	})
	if err := x.passUpgraded(&last, touch); err != nil {
		x.cut(err)
	}
}

// passUpgraded copies from the server to the device. nil: the server ended in order.
func (x *exchange) passUpgraded(last *atomic.Int64, touch func()) error {
	idle := max(time.Duration(x.verdict.Rule.IdleTimeout), policy.UpgradeIdleTimeout) + deviceGrace
	buf := chunkBuffers.Get().(*[chunkBytes]byte)
	defer chunkBuffers.Put(buf)
	for {
		quiet := time.Since(x.start) - time.Duration(last.Load())
		if quiet >= idle {
			return &causeway.Refusal{Code: causeway.CodeConnectorServerTimeout, Reason: "nothing passed for " + idle.String()}
		}
		if err := x.conn.SetReadDeadline(time.Now().Add(idle - quiet)); err != nil {
			return err
		}
		n, err := x.conn.reader.Read(buf[:])
		if n > 0 {
			touch()
			x.replied += int64(n)
			if x.in.Data(buf[:n], false) != nil {
				return nil // the device is gone
			}
		}
		switch {
		case err == io.EOF:
			_ = x.in.Data(nil, true)
			return nil
		case err != nil && !isTimeout(err):
			return err
		}
	}
}

// copyTouching is io.Copy with a word about each piece.
func copyTouching(dst io.Writer, src io.Reader, touch func()) (total int64, err error) {
	buf := chunkBuffers.Get().(*[chunkBytes]byte)
	defer chunkBuffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			touch()
			if _, err := dst.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

var _ channel.Handler = (*handler)(nil)
