package connpoint

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
)

// smallBody is a body that goes to the server in one write with the head. It comes with the request over the
// channel, so nobody waits for it.
const smallBody = 16 << 10

// An upload is the sending half of an exchange. Bodies that are not small go on a goroutine of their own, because
// servers may answer before they have read them.
type upload struct {
	sentBytes int64         // of the body
	running   chan struct{} // closed when the goroutine is done; nil without one
	stalled   atomic.Bool   // the device did not send on

	mu       sync.Mutex // guards the fields below
	headRead bool
	finished bool
	err      error
}

// deviceGrace lets the gateway, which waits for the device as long as the rule says and is nearer to it, say first that
// nothing came.
const deviceGrace = 2 * time.Second

// bodyPatience is how long a body may stand still.
func (x *exchange) bodyPatience() time.Duration {
	return time.Duration(x.verdict.Rule.IdleTimeout) + deviceGrace
}

var errStalled = errors.New("the device stopped sending its body")

// send writes the request, or its head and starts to write its body. It refuses the request itself when it fails.
func (x *exchange) send() bool {
	n := x.in.BodyBytes()
	if x.in.Upgrade() {
		n = 0
	}
	if n == 0 || n > 0 && n <= smallBody {
		return x.sendWhole(int(n))
	}
	x.body = x.in.Body()
	if !x.write(x.head) {
		return false
	}
	x.inBackground(func() { x.finishUpload(x.sendBody(n)) })
	return true
}

// inBackground runs the sending half on a goroutine of its own; waitUpload waits for it.
func (x *exchange) inBackground(send func()) {
	running := make(chan struct{})
	x.running = running
	go func() {
		defer close(running)
		defer func() {
			if r := recover(); r != nil {
				x.handler.log.Error("panic while sending a request", "request_id", x.in.ID().String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
				x.conn.close()
			}
		}()
		send()
	}()
}

// sendWhole sends head and body in one write.
func (x *exchange) sendWhole(n int) bool {
	if n > 0 {
		if err := x.appendBody(n); err != nil {
			cause := x.cause()
			if cause == nil {
				cause = &causeway.Refusal{Code: causeway.CodeConnectorBadRequest, Reason: "body", Err: err}
			}
			x.refuse(cause, channel.NotDelivered)
			return false
		}
	}
	if !x.write(x.head) {
		return false
	}
	x.finished = true
	if err := x.conn.SetReadDeadline(time.Now().Add(time.Duration(x.verdict.Rule.AnswerTimeout))); err != nil {
		x.noAnswer(err)
		return false
	}
	return true
}

// appendBody puts a small body behind the head, once: a second connection gets the same bytes.
func (x *exchange) appendBody(n int) error {
	if x.sentBytes > 0 {
		return nil
	}
	if body, ok := x.in.Whole(); ok && len(body) == n {
		x.head = append(x.head, body...)
		x.sentBytes = int64(n)
		return nil
	}
	at := len(x.head)
	x.head = append(x.head, make([]byte, n)...)
	// A gateway that announces bytes and does not send them must not hold a server's connection for good.
	stall := x.newStall()
	defer stall.end()
	stall.begin()
	_, err := io.ReadFull(x.in.Body(), x.head[at:])
	if stall.end() {
		err = errStalled
	}
	x.sentBytes = int64(n)
	return err
}

// A stall ends the exchange when the device does not send on in time: the server's connection, and what waits for the
// gateway, which may never say a word more. It has done so, or never will, when end returns: connection and stream may be
// another request's by then. So end is deferred, too, for a panic that passes by.
type stall struct {
	idle    time.Duration
	timer   *time.Timer
	running bool
	fired   chan struct{} // closed when all is done
	up      bool          // the time was
}

func (x *exchange) newStall() *stall {
	s := &stall{idle: x.bodyPatience(), fired: make(chan struct{})}
	in, conn, stalled := x.in, x.conn, &x.stalled
	s.timer = time.AfterFunc(s.idle, func() {
		stalled.Store(true)
		conn.close()
		in.End()
		close(s.fired)
	})
	s.timer.Stop()
	return s
}

// begin gives the device its time anew.
func (s *stall) begin() {
	s.running = true
	s.timer.Reset(s.idle)
}

// end reports whether the time was up. There is no begin after it was.
func (s *stall) end() bool {
	if s.running && !s.timer.Stop() {
		<-s.fired
		s.up = true
	}
	s.running = false
	return s.up
}

// write hands the first bytes of the request to the connection.
func (x *exchange) write(p []byte) bool {
	err := x.conn.SetWriteDeadline(time.Now().Add(time.Duration(x.verdict.Rule.IdleTimeout)))
	n := 0
	if err == nil {
		n, err = x.conn.Write(p)
	}
	if err == nil {
		return true
	}
	d := channel.Delivered
	if n == 0 && !x.conn.secure { // below TLS nobody can tell
		if x.conn.reused && !x.deviceGone() {
			// The server closed it in the moment it was taken. No byte went out, so this is not a second try.
			x.again = true
			return false
		}
		d = channel.NotDelivered
	}
	code := causeway.CodeConnectorServerReset
	if isTimeout(err) {
		code = causeway.CodeConnectorServerTimeout
	}
	x.refuse(&causeway.Refusal{Code: code, Reason: "request", Err: err}, d)
	return false
}

// sendBody streams the body, in chunks when its length is unknown. A body that is not what was declared never looks
// complete to the server: the connection is closed instead.
func (x *exchange) sendBody(declared int64) error {
	stall := x.newStall()
	defer stall.end()
	buf := chunkBuffers.Get().(*[chunkBytes]byte)
	defer chunkBuffers.Put(buf)
	const room = len("ffff\r\n") // in front of a chunk
	for {
		stall.begin()
		n, err := x.body.Read(buf[room : chunkBytes-2])
		if stall.end() {
			return errStalled
		}
		if n > 0 {
			if x.sentBytes += int64(n); declared >= 0 && x.sentBytes > declared || declared < 0 && x.sentBytes > x.verdict.Rule.MaxBodyBytes {
				return &causeway.Refusal{Code: causeway.CodeConnectorForbidden, Reason: fmt.Sprintf("body is longer than %d bytes", max(declared, x.verdict.Rule.MaxBodyBytes))}
			}
			p := buf[room : room+n]
			if declared < 0 {
				p = frameChunk(buf, room, n)
			}
			if err := x.writeBody(p); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &causeway.Refusal{Code: causeway.CodeConnectorBadRequest, Reason: "body", Err: err}
		}
	}
	if declared < 0 {
		return x.writeBody(http1.AppendLastChunk(nil, x.in.Trailers()))
	}
	if x.sentBytes != declared {
		return causeway.Refuse(causeway.CodeConnectorBadRequest, "body of %d bytes, declared were %d", x.sentBytes, declared)
	}
	return nil
}

// frameChunk puts size line and line end around the n bytes that stand at buf[room:].
func frameChunk(buf *[chunkBytes]byte, room, n int) []byte {
	var line [8]byte
	size := append(strconv.AppendUint(line[:0], uint64(n), 16), "\r\n"...)
	start := room - len(size)
	copy(buf[start:], size)
	copy(buf[room+n:], "\r\n")
	return buf[start : room+n+2]
}

// writeError is an error of the server's connection, in contrast to the device's.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func (x *exchange) writeBody(p []byte) error {
	if err := x.conn.SetWriteDeadline(time.Now().Add(time.Duration(x.verdict.Rule.IdleTimeout))); err != nil {
		return &writeError{err}
	}
	if _, err := x.conn.Write(p); err != nil {
		return &writeError{err}
	}
	return nil
}

// finishUpload lets the time for the answer begin. A server that stopped reading may still say why; a device that
// stopped sending ends the request.
func (x *exchange) finishUpload(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finished, x.err = err == nil, err
	wait := time.Duration(x.verdict.Rule.AnswerTimeout)
	if _, ok := errors.AsType[*writeError](err); ok {
		wait = earlyAnswer
	} else if err != nil {
		x.conn.close()
		return
	}
	if !x.headRead {
		_ = x.conn.SetReadDeadline(time.Now().Add(wait)) // on a closed connection the reader knows already
	}
}

// answered says that the answer's head was read: from now on deadlines are those of its body.
func (u *upload) answered() {
	u.mu.Lock()
	u.headRead = true
	u.mu.Unlock()
}

// complete reports whether the server got the whole request.
func (u *upload) complete() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.finished
}

// cause is why the request could not be sent, if that was not the server's doing.
func (u *upload) cause() error {
	if u.stalled.Load() {
		return &causeway.Refusal{Code: causeway.CodeConnectorRequestTimeout, Err: errStalled}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if isRefusal(u.err) {
		return u.err
	}
	return nil
}

// waitUpload waits for the goroutine. It ends soon: the connection it writes to is closed or has taken everything, and a
// gateway whose answer is complete gives up the rest of the body. One that does not is not waited for longer than a body.
func (x *exchange) waitUpload() {
	if x.running == nil {
		return
	}
	late := time.NewTimer(x.bodyPatience())
	defer late.Stop()
	select {
	case <-x.running:
	case <-late.C:
		x.in.End()
		<-x.running
	}
}
