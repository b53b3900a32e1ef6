package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

// DefaultAnswerTimeout is how long a server may take to begin its answer when the request says nothing else.
const DefaultAnswerTimeout = 120 * time.Second

// retryAfter is what devices are told when no channel can take their request: one is usually back by then.
const retryAfter = time.Second

// maxInforms is how many 1xx heads one answer may have in front.
const maxInforms = 8

// errInforms ends an exchange, and not its connection: the server may be the one that sent so many.
var errInforms = errors.New("more than 8 informational answers")

// Exchange sends one request over a channel and streams the answer to device. ctx ends when the device is gone.
//
// An error before device.Answer was called is a causeway.Refusal, to be answered with its code, unless it came
// from ctx, from reading Body or from device itself, which is returned as it is. After that, any error means that
// the answer was cut and the device must see that it was.
//
// What was not delivered goes to another channel set at once. What was delivered goes out a second time only if
// it is idempotent, had no body, and no byte of an answer has come: then once, and never a third time. A safe request that
// finds no channel may wait a second for one that was there a moment ago.
func (p *Pool) Exchange(ctx context.Context, req *Request, device DeviceSide) error {
	if p.cfg.Memory.b.spent() {
		return overloaded(ErrNoMemory)
	}
	x := exchanges.Get().(*exchange)
	x.req, x.device = req, device
	defer x.close()
	var refusal *causeway.Refusal // of the channel that was tried last
	attempt := uint8(1)
	for range maxTries {
		l, full := p.pick(x.tried)
		if l == nil && attempt == 2 { // no other connection point; the same one may still have a live channel
			l, full = p.pick(nil)
		}
		if l == nil && !full && x.mayWait(refusal) {
			l, full = p.await(ctx)
		}
		if l == nil && full && refusal == nil {
			return overloaded(errAllFull)
		}
		if l == nil && refusal == nil {
			return &causeway.Refusal{Code: causeway.CodeNoConnectionPoint, Err: causeway.ErrNoChannel, RetryAfter: retryAfter}
		}
		if l == nil {
			return refusal
		}
		end := x.on(ctx, l, attempt)
		switch {
		case end.err == nil:
			return nil
		case end.refusal == nil || x.answered:
			return end.err
		case end.delivery == NotDelivered && !x.bodyMoved:
			// Try the next set, as the same attempt.
		case end.delivery == Delivered && attempt == 1 && req.Idempotent && req.BodyBytes == 0 && !req.Upgrade:
			attempt = 2
		default:
			return end.refusal
		}
		refusal = end.refusal
	}
	return refusal
}

// mayWait reports, once, whether the request is worth a moment in the waiting room: there was no channel, or the one that
// was tried is lost; its device may send it again; and it holds nothing but its head meanwhile.
func (x *exchange) mayWait(last *causeway.Refusal) bool {
	if x.waited || last != nil && last.Code != causeway.CodeChannelLost {
		return false
	}
	x.waited = true
	return x.req.Idempotent && x.req.BodyBytes == 0 && x.req.Body == nil && !x.req.Upgrade
}

var (
	// ErrNoMemory is why a request is turned away when bodies for slow readers hold what the memory budget allows.
	ErrNoMemory = causeway.WithHint(errors.New("memory budget is used up"),
		"devices read more slowly than servers send; raise memory_budget (--memory-budget) if there is memory, or add instances")
	errAllFull = causeway.WithHint(errors.New("every connection point has as many requests as it takes"),
		"raise max_in_flight of the connection points, or add connection points")
)

func overloaded(why error) error {
	return &causeway.Refusal{Code: causeway.CodeOverloaded, Err: why, RetryAfter: retryAfter}
}

// maxTries bounds how many channels one request is offered to, delivered or not.
const maxTries = 8

// An exchange is one Exchange over its attempts.
type exchange struct {
	req     *Request
	device  DeviceSide
	tried   []*channelSet
	attempt attemptState // the one under way
	fixed   [openHeaderBytes]byte

	first     []byte // the beginning of the body, kept until more of it is on its way
	firstBuf  *buffer
	firstRead bool
	firstLast bool // first is the whole body
	answered  bool
	waited    bool // was asked to the waiting room

	mu        sync.Mutex // guards the field below
	bodyMoved bool       // more than first was read, so the request cannot be sent again
}

// exchanges are used again: nothing of one is held by anybody when Exchange returns.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// An ending says how one attempt ended. refusal is set when the device may be told a code.
type ending struct {
	err      error
	refusal  *causeway.Refusal
	delivery Delivery
}

func refusedWith(r *causeway.Refusal, d Delivery) ending {
	return ending{err: r, refusal: r, delivery: d}
}

func (x *exchange) close() {
	putBuffer(x.firstBuf)
	if x.req.Body != nil {
		_ = x.req.Body.Close()
	}
	clear(x.tried)
	*x = exchange{tried: x.tried[:0]}
	exchanges.Put(x)
}

// on makes one attempt over l.
func (x *exchange) on(ctx context.Context, l *gatewayLink, attempt uint8) ending {
	if err := x.readFirst(); err != nil {
		return ending{err: err}
	}
	s, offset, err := x.begin(l, attempt)
	if err != nil {
		return refusedWith(&causeway.Refusal{Code: causeway.CodeChannelLost, Err: err, RetryAfter: retryAfter}, NotDelivered)
	}
	x.tried = append(x.tried, l.set)
	x.attempt = attemptState{x: x, l: l, s: s}
	a := &x.attempt
	err = a.run(ctx)
	a.finish(err)
	l.busy.Add(-1)
	l.remove(s.id)
	end := x.judge(err, l, offset)
	s.release()
	return end
}

// readFirst reads what of the body goes into the open frame. It is kept, so that another attempt can send it again.
func (x *exchange) readFirst() error {
	if x.firstRead || x.req.Body == nil || x.req.Upgrade {
		return nil
	}
	x.firstRead = true
	x.firstBuf = getBuffer(requestWindow)
	b := x.firstBuf.b[:requestWindow]
	var n int
	var err error
	if size := x.req.BodyBytes; size > 0 && size <= requestWindow {
		n, err = io.ReadFull(x.req.Body, b[:size])
		x.firstLast = err == nil && x.req.Trailers == nil
	} else {
		n, err = x.req.Body.Read(b)
	}
	x.first = b[:n]
	if err == io.EOF {
		x.firstLast, err = x.req.Trailers == nil || len(x.req.Trailers()) == 0, nil
	}
	return err
}

// begin opens a stream on l with the request head. The frames that it needs go out in one batch.
func (x *exchange) begin(l *gatewayLink, attempt uint8) (s *stream, offset int64, err error) {
	x.openTurn(l)
	number, writer, err := x.req.Principal.numberOnLocked(l)
	if err == nil {
		writer = l.makeRoomLocked(x.req.Principal) || writer
		var first bool
		s, offset, first, err = x.openLocked(l, number, attempt)
		writer = writer || first
	}
	l.openMu.Unlock()
	if writer {
		runtime.Gosched()
		l.flush()
	}
	return s, offset, err
}

// openTurn takes openMu (stream ids go out in rising order, and no principalClose between principal and open) once there is
// room for what is sent under it, where nobody may wait.
func (x *exchange) openTurn(l *gatewayLink) {
	for {
		l.awaitRoom()
		if l.openMu.Lock(); l.hasRoom() {
			return
		}
		l.openMu.Unlock() // others were faster
	}
}

// openLocked puts the open frame into l's output; flush says that the caller has become its writer.
func (x *exchange) openLocked(l *gatewayLink, principal uint32, attempt uint8) (s *stream, offset int64, flush bool, err error) {
	o := appendOpenHeader(x.fixed[:0], openHeader{id: x.req.ID, principal: principal, attempt: attempt, upgrade: x.req.Upgrade,
		bodyBytes: x.req.BodyBytes, headBytes: len(x.req.Head)})
	last := x.firstLast || x.req.Body == nil
	id, err := l.nextIDLocked()
	if err != nil {
		return nil, 0, false, err
	}
	// No credit yet: the rest of the body waits until the connection point has reached the server.
	s = newStream(l.link, id, answerWindow, 0)
	err = l.add(id, s)
	if err == nil {
		offset, flush, err = l.enqueue(frameHeader{stream: id, typ: frameOpen, fin: last}, o, x.req.Head, x.first)
	}
	if err != nil {
		l.remove(id)
		s.release()
		return nil, 0, flush, err
	}
	l.busy.Add(1)
	l.requests.Add(1)
	return s, offset, flush, nil
}

// judge turns an attempt's error into an ending, as the request contract defines delivered.
func (x *exchange) judge(err error, l *gatewayLink, offset int64) ending {
	if err == nil {
		return ending{}
	}
	if errors.Is(err, errAnswerTimeout) {
		return refusedWith(causeway.Refuse(causeway.CodeAnswerTimeout, "connection point %s sent no answer in time", l.set.id), Final)
	}
	if errors.Is(err, errProtocol) {
		l.fail(err) // as when the reader notices
	}
	if errors.Is(err, errProtocol) || errors.Is(err, errInforms) {
		return refusedWith(&causeway.Refusal{Code: causeway.CodeConnectorBadAnswer, Reason: "connection point " + string(l.set.id), Err: err}, Final)
	}
	r, ok := errors.AsType[*streamReset](err)
	switch {
	case !ok:
		return ending{err: err}
	case !r.lost:
		out := causeway.Refuse(r.code, "connection point %s refused", l.set.id)
		if r.code.Status() == 503 {
			out.RetryAfter = retryAfter
		}
		return refusedWith(out, r.delivery)
	}
	d := Delivered
	if !l.wasHanded(offset) {
		d = NotDelivered
	}
	lost := &causeway.Refusal{Code: causeway.CodeChannelLost, Reason: "channel to " + string(l.set.id), Err: l.failure()}
	if x.req.Idempotent { // when all channels were lost together, none is back yet for who asks again at once
		lost.RetryAfter = retryAfter
	}
	return refusedWith(lost, d)
}

// attemptState is one attempt while it runs.
type attemptState struct {
	x *exchange
	l *gatewayLink
	s *stream

	pumpDone chan struct{} // closed when the goroutine that sends the rest of the body is done; nil without one
	bodySent bool          // the body went out to its end; read once pumpDone is closed
	stopped  bool          // guarded by exchange.mu: the pump must read no more
	peerDone bool          // the answer's last frame came
	lent     *bulkConn     // that a direction moved to; set under exchange.mu, read by finish when the pump is done
	informs  int
}

// run receives the answer while the rest of the body goes out.
func (a *attemptState) run(ctx context.Context) error {
	timeout := orDefault(a.x.req.AnswerTimeout, DefaultAnswerTimeout)
	var bodySent <-chan struct{}
	if a.x.req.Body != nil && !a.x.req.Upgrade && !a.x.firstLast {
		bodySent = a.startPump()
	} else {
		a.s.timer.Reset(timeout)
	}
	// Until the body is out, the server has all the time the device takes to send it.
	for bodySent != nil {
		c, err := a.s.next(ctx.Done(), nil, bodySent)
		if errors.Is(err, errSignalled) {
			a.s.timer.Reset(timeout)
			break
		}
		if err == nil {
			if err = a.take(ctx, c); err == nil && a.peerDone {
				return nil
			}
		}
		if err != nil {
			return a.orCause(ctx, err)
		}
	}
	for !a.peerDone {
		var expired <-chan time.Time
		if !a.x.answered {
			expired = a.s.timer.C
		}
		c, err := a.s.next(ctx.Done(), expired, nil)
		if err == nil {
			err = a.take(ctx, c)
		}
		if err != nil {
			return a.orCause(ctx, err)
		}
	}
	return nil
}

// orCause prefers the reason why the device side ended to the fact that it did.
func (a *attemptState) orCause(ctx context.Context, err error) error {
	if errors.Is(err, errStreamDone) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// take passes one received frame on to the device.
func (a *attemptState) take(ctx context.Context, c chunk) error {
	if c.typ == frameMove {
		number := beUint32(c.head)
		a.s.consumed(c)
		return a.receiveBulk(ctx, number)
	}
	defer a.s.consumed(c)
	switch c.typ {
	case frameInform:
		if a.x.answered {
			return violation("1xx head behind the answer's head")
		}
		if a.informs++; a.informs > maxInforms {
			return errInforms
		}
		return a.x.device.Informational(c.head)
	case frameAnswer:
		if a.x.answered {
			return violation("second answer")
		}
		a.x.answered = true
		if a.x.req.Upgrade && !c.fin && isSwitching(c.head) {
			a.startPump()
		}
		a.peerDone = c.fin
		return a.x.device.Answer(c.head, c.body, c.fin)
	case frameData:
		if !a.x.answered {
			return violation("body before the answer's head")
		}
		a.peerDone = c.fin
		return a.x.device.Data(c.body, c.fin)
	case frameTrailers:
		if !a.x.answered {
			return violation("trailers before the answer's head")
		}
		a.peerDone = true
		return a.x.device.Trailers(c.head)
	}
	return violation("frame of type %d", c.typ)
}

// isSwitching reports whether an answer head is a 101.
func isSwitching(head []byte) bool {
	return bytes.HasPrefix(head, []byte("HTTP/1.1 101 "))
}

// startPump sends the rest of the body on a goroutine of its own; finish waits for it.
func (a *attemptState) startPump() <-chan struct{} {
	a.pumpDone = make(chan struct{})
	go func() {
		defer close(a.pumpDone)
		err := a.sendBody()
		a.bodySent = err == nil
		// What ends the link ends the stream by itself; what ends the body alone has to be said.
		_, body := errors.AsType[*bodyError](err)
		if body || errors.Is(err, errBulkGone) || errors.Is(err, errProtocol) {
			a.s.end(a.l.link, a.s.id, err)
		} else if _, lost := errors.AsType[*bulkWriteError](err); lost {
			// The reason travels on the request connection, and may be later than the end of the other one.
			s, l, id := a.s, a.l.link, a.s.id // the attempt may be over by then, and serve another
			time.AfterFunc(bulkReason, func() { s.end(l, id, errBulkGone) })
		}
	}()
	return a.pumpDone
}

// bodyError is why the request body could not be read to its end.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "request body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// sendBody reads only when the other side has room for what is read, so that a request that turns out undelivered
// has lost none of its body.
func (a *attemptState) sendBody() error {
	buf := getBuffer(maxDataBytes)
	defer putBuffer(buf)
	for {
		n, err := a.s.takeCredit(maxDataBytes, a.l.ended)
		if errors.Is(err, errOffered) {
			return a.sendBodyBulk()
		}
		if err != nil {
			return err
		}
		if !a.mayRead() {
			return errStreamDone
		}
		got, err := a.x.req.Body.Read(buf.b[:n])
		a.s.giveBack(n - got)
		if err != nil && err != io.EOF {
			return &bodyError{err}
		}
		if done, err := a.sendPiece(buf.b[:got], err == io.EOF); done || err != nil {
			return err
		}
	}
}

// sendPiece sends what one Read returned, and the trailers behind the last.
func (a *attemptState) sendPiece(p []byte, eof bool) (done bool, err error) {
	var trailers []byte
	if eof {
		trailers = a.trailers(io.EOF)
	}
	last := eof && len(trailers) == 0
	if len(p) > 0 || last {
		if _, err := a.l.write(frameHeader{stream: a.s.id, typ: frameData, fin: last}, p, nil, nil); err != nil {
			return false, err
		}
	}
	if len(trailers) > 0 {
		_, err = a.l.write(frameHeader{stream: a.s.id, typ: frameTrailers, fin: true}, trailers, nil, nil)
	}
	return eof, err
}

// trailers returns the field lines behind the body once reading it ended with io.EOF.
func (a *attemptState) trailers(err error) []byte {
	if err != io.EOF || a.x.req.Trailers == nil {
		return nil
	}
	return a.x.req.Trailers()
}

// mayRead notes that the body is about to lose bytes to this attempt.
func (a *attemptState) mayRead() bool {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if a.stopped {
		return false
	}
	a.x.bodyMoved = true
	return true
}

// finish ends what the attempt left running, and the stream on the other side unless both directions are complete.
func (a *attemptState) finish(err error) {
	bodyLeft := false
	if a.pumpDone != nil {
		select {
		case <-a.pumpDone:
		default: // the answer, or the attempt, is over before the body
			a.stopPump()
		}
		bodyLeft = !a.bodySent
	}
	if a.lent != nil {
		a.returnBulk(err == nil && !bodyLeft && a.peerDone)
	}
	if _, ended := errors.AsType[*streamReset](err); !ended && (err != nil || bodyLeft) {
		a.s.sendReset(causeway.CodeNone, Final)
	}
}

func (a *attemptState) stopPump() {
	a.x.mu.Lock()
	a.stopped = true
	reading := a.x.bodyMoved
	a.x.mu.Unlock()
	a.s.end(a.l.link, a.s.id, errStreamDone)
	if reading {
		_ = a.x.req.Body.Close()
	}
	<-a.pumpDone
}
