package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
)

const (
	// maxDiscardBytes is how much of a request body that nobody wants is read so that the connection can go on.
	maxDiscardBytes = 16 << 10
	discardTimeout  = 2 * time.Second
	// maxKeptBytes is the largest buffer that goes back into a pool.
	maxKeptBytes = 64 << 10
)

// An http1Conn is one device connection that speaks HTTP/1.1. While it is idle this is all there is of it.
type http1Conn struct {
	*deviceConn
	rd      *http1.Reader
	wait    func() error            // rd.Wait
	cancel  context.CancelCauseFunc // ends the connection's context
	resting bool                    // nothing came for restAfter; the read deadline is set
}

// serveHTTP1 answers the requests of one connection, one after the other, until it ends.
func (s *Server) serveHTTP1(ctx context.Context, c *deviceConn) {
	// One request at a time, so that the connection's context is the request's as well.
	ctx, cancel := context.WithCancelCause(ctx)
	h := &http1Conn{deviceConn: c, rd: http1.NewReader(plaintext{c}), cancel: cancel}
	h.wait = h.rd.Wait
	h.loop(ctx)
}

// loop answers requests until the connection ends or comes to rest. In the latter case a goroutine of its own goes on
// with it: one that only waits gets by with half of the stack that a request leaves behind.
func (h *http1Conn) loop(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			h.s.log.Error("panic while serving a device", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		} else if h.resting {
			h.s.work.Go(func() { h.loop(ctx) })
			return
		}
		h.cancel(nil)
		_ = h.Close()
		h.rd.Reset(nil)
	}()
	for h.awaitRequest() && h.serve(ctx) {
	}
}

// restAfter is how long a connection waits for a request before it comes to rest.
const restAfter = time.Second

// awaitRequest waits for the first byte of a request. It reports false when the connection is over, or comes to rest.
func (h *http1Conn) awaitRequest() bool {
	idle, brief := h.idleTime(), false
	if !h.resting {
		h.state.Store(connIdle)
		if h.s.parting.Load() { // and may have passed us by
			h.part()
		}
		if brief = idle > 2*restAfter; brief {
			h.allowRead(restAfter)
		} else {
			h.allowRead(idle)
		}
	}
	h.resting = false
	var err error
	if h.rd.Release(); h.rd.Buffered() == 0 {
		err = h.awaitInput(h.wait)
	}
	if err == nil {
		err = h.wait()
	}
	if brief && errors.Is(err, os.ErrDeadlineExceeded) && h.state.Load() == connIdle {
		h.allowRead(idle - restAfter)
		h.beforeRead()
		h.resting = true
		return false
	}
	if !h.state.CompareAndSwap(connIdle, connBusy) { // parted with, or closed
		h.finish(false)
		return false
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
			h.finish(false)
		}
		return false
	}
	return true
}

// idleTime is how long an idle connection is kept: strangers get no longer than a request head may take.
func (h *http1Conn) idleTime() time.Duration {
	if h.strange() {
		return h.s.strangerTime()
	}
	return h.s.timeouts.KeepAlive
}

// An http1Call is one request on an HTTP/1.1 connection, and the device's side of its exchange.
type http1Call struct {
	call
	h      *http1Conn
	answer answer
	watch  watch
	body   http1Body

	buf      []byte // what is about to be written
	framing  framing
	wrote    bool // the first byte of the final answer is out, or may be
	closing  bool // the connection ends with this answer
	bodiless bool // the request was a HEAD
	upgraded bool
}

var http1Calls = sync.Pool{New: func() any { return new(http1Call) }}

// serve answers one request and reports whether the connection can take another.
func (h *http1Conn) serve(ctx context.Context) (more bool) {
	x := http1Calls.Get().(*http1Call)
	x.call.begin(h.s, h.deviceConn)
	x.watch.begin(h)
	x.h, x.wrote, x.closing, x.bodiless, x.upgraded = h, false, false, false, false
	x.answer.forget()
	x.body = http1Body{}
	done := false
	defer func() {
		x.release(faultGateway) // of what a panic left
		x.watch.disarm()
		if !done || cap(x.buf) > maxKeptBytes {
			return
		}
		x.forget()
		x.watch.forget()
		x.h, x.body = nil, http1Body{}
		http1Calls.Put(x)
	}()
	more = x.run(ctx)
	done = true
	return more
}

func (x *http1Call) run(ctx context.Context) bool {
	h := x.h
	h.allowRead(h.s.timeouts.Head)
	err := h.rd.ReadRequest(&x.req, h.s.requestLimits)
	h.allowRead(0)
	if err != nil {
		x.closing = true
		return x.refuse(ctx, headFailure(err))
	}
	if n, ok := x.channelAsked(); ok {
		return x.tunnel(ctx, n)
	}
	x.closing = x.req.Close || x.req.Minor == 0
	x.bodiless = string(x.req.Method) == "HEAD"
	if err := x.judge(); err != nil {
		return x.refuse(ctx, err)
	}
	if x.verdict.Local != policy.LocalNone {
		return x.answerLocal(ctx)
	}
	if err = x.admit(ctx); err == nil {
		err = x.compose()
	}
	if err != nil {
		x.release(faultOf(ctx, err))
		return x.refuse(ctx, err)
	}
	return x.exchange(ctx)
}

// headFailure gives an error of reading a head its meaning.
func headFailure(err error) error {
	if _, ok := errors.AsType[*causeway.Refusal](err); ok {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &causeway.Refusal{Code: causeway.CodeRequestTimeout, Reason: "request head too slow"}
	}
	return errDeviceGone
}

// exchange sends the request over a channel and the answer to the device.
func (x *http1Call) exchange(ctx context.Context) bool {
	h := x.h
	x.watchBody()
	err := h.s.exchanger.Exchange(ctx, &x.out, x)
	x.watch.disarm()
	if x.upgraded {
		h.s.metrics.upgrades.Dec()
	}
	if x.out.Body != nil {
		_ = x.out.Body.Close()
	}
	if err == nil && !x.answer.ended {
		err = errors.New("exchange ended without the end of an answer")
	}
	if x.body.failure != nil {
		err = x.body.failure
	}
	x.release(faultOf(ctx, err))
	switch {
	case err == nil:
		x.admitted(ctx)
		return x.end()
	case ctx.Err() != nil && !x.wrote:
		err = context.Cause(ctx)
	}
	if x.wrote {
		x.abort(ctx, err)
		return false
	}
	return x.refuse(ctx, err)
}

// watchBody prepares the request body, or watches for the device's end at once if there is none.
func (x *http1Call) watchBody() {
	h := x.h
	x.watch.idle = x.target.idle
	switch {
	case x.out.Upgrade:
		x.body.x, x.body.raw = x, true
		x.body.upgraded, x.body.refused = make(chan struct{}), make(chan struct{})
		x.out.Body = &x.body
		x.watch.arm() // until the server has agreed
	case x.req.BodyBytes != 0:
		x.body.x = x
		x.body.rd = h.rd.Body(x.req.BodyBytes, x.req.Chunked, x.target.maxBodyBytes)
		x.body.patience.idle = x.target.idle
		x.body.expect = x.req.Expect100
		x.out.Body = &x.body
		if x.req.Chunked {
			x.out.Trailers = x.body.takeTrailers
		}
	default:
		x.watch.arm()
	}
}

// end finishes a complete answer and reports whether the connection can take another request.
func (x *http1Call) end() bool {
	unread := x.out.Upgrade || x.body.rd != nil && !x.body.eof.Load()
	if !x.closing && !unread {
		return true
	}
	x.h.finish(unread)
	return false
}

// abort cuts the connection, so that the device cannot mistake what it got for the whole answer.
func (x *http1Call) abort(ctx context.Context, err error) {
	x.s.metrics.aborted[faultOf(ctx, err)].Inc()
	code := causeway.CodeOf(err)
	if !errors.Is(err, errDeviceGone) {
		p := &problem{id: x.id, code: code, status: x.answer.head.Status}
		r := x.refused(p, err)
		r.message = "answer aborted"
		x.s.refusals.write(ctx, r)
	}
	x.h.reset()
}

// refuse answers with a problem in place of the server's answer and reports whether the connection can go on.
func (x *http1Call) refuse(ctx context.Context, err error) bool {
	p := x.problem(ctx, err)
	if p == nil {
		_ = x.h.Close()
		return false
	}
	switch p.code {
	case causeway.CodeBadRequest, causeway.CodeRequestTimeout, causeway.CodeBodyTooLarge:
		x.closing = true
	}
	// What follows an upgrade may be of the other protocol, if the device could not wait for our word.
	x.closing = x.closing || p.close || x.s.draining.Load() || x.req.Expect100 || x.req.Upgrade != nil
	if x.body.rd != nil && !x.body.eof.Load() || x.req.BodyBytes > maxDiscardBytes {
		x.closing = true // where the next request would begin is far away, or unknown
	}
	body := x.pendingBody()
	if x.writeProblem(p) != nil {
		_ = x.h.Close()
		return false
	}
	if x.closing {
		x.h.finish(true)
		return false
	}
	if body != nil {
		_ = x.h.SetReadDeadline(time.Now().Add(discardTimeout))
		if !body.Discard(maxDiscardBytes) {
			_ = x.h.Close()
			return false
		}
	}
	return true
}

// pendingBody is the body that still lies in front of the next request, nil if there is none or the connection
// will not get that far.
func (x *http1Call) pendingBody() *http1.BodyReader {
	if x.closing || x.req.BodyBytes == 0 || x.body.rd != nil {
		return nil
	}
	return x.h.rd.Body(x.req.BodyBytes, x.req.Chunked, 0)
}

func (x *http1Call) writeProblem(p *problem) error {
	x.status = p.status
	x.s.metrics.answered(p.status)
	// The reason phrase is where clients of such gateways look for the code.
	b := http1.AppendStatusLine(x.buf[:0], p.status, []byte(p.code.String()))
	var body []byte
	body = p.appendBody(body)
	b = append(b, "Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"...)
	b = http1.AppendContentLength(b, int64(len(body)))
	b = x.appendRequestID(b)
	if p.retryAfter > 0 {
		b = fmt.Appendf(b, "Retry-After: %d\r\n", p.retryAfterSeconds())
	}
	if p.status == 401 {
		b = append(b, wwwAuthenticate...)
	}
	if allow := x.allow(p); allow != "" {
		b = http1.AppendField(b, "Allow", allow)
	}
	b = http1.AppendEnd(x.appendConnection(b))
	if !x.bodiless {
		b = append(b, body...)
	}
	return x.write(b)
}

const wwwAuthenticate = "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"

// allow lists the methods of the rule that forbids this one, for a device that may know the rule.
func (c *call) allow(p *problem) string {
	if p.code != causeway.CodeMethodNotAllowed || c.verdict.Rule == nil {
		return ""
	}
	return strings.Join(c.verdict.Rule.Methods, ", ")
}

func (x *http1Call) answerLocal(ctx context.Context) bool {
	contentType, body, err := x.local()
	if err != nil {
		return x.refuse(ctx, err)
	}
	pending := x.pendingBody()
	x.closing = x.closing || pending != nil || x.s.draining.Load()
	b := http1.AppendStatusLine(x.buf[:0], 200, []byte("OK"))
	b = http1.AppendField(b, "Content-Type", contentType)
	b = http1.AppendContentLength(append(b, "Cache-Control: no-store\r\n"...), int64(len(body)))
	b = http1.AppendEnd(x.appendConnection(x.appendRequestID(b)))
	if !x.bodiless {
		b = append(b, body...)
	}
	x.s.metrics.answered(200)
	if x.write(b) != nil {
		_ = x.h.Close()
		return false
	}
	if x.closing {
		x.h.finish(pending != nil)
		return false
	}
	return true
}

func (x *http1Call) appendRequestID(b []byte) []byte {
	b = append(b, "X-Request-Id: "...)
	b, _ = x.id.AppendText(b)
	return append(b, '\r', '\n')
}

func (x *http1Call) appendConnection(b []byte) []byte {
	if x.closing {
		b = append(b, "Connection: close\r\n"...)
	}
	return b
}

// write writes b, which becomes the call's buffer, within the time that a device may take to read.
func (x *http1Call) write(b []byte) error {
	x.buf = b[:0]
	return x.send(b)
}

func (x *http1Call) send(b []byte) error {
	idle := policy.DefaultIdleTimeout
	if x.target != nil {
		idle = x.target.idle
		if x.upgraded {
			idle = policy.UpgradeIdleTimeout
		}
	}
	x.h.allowWrite(idle)
	if err := x.h.writeOut(b); err != nil {
		return errors.Join(errDeviceGone, err)
	}
	return nil
}
