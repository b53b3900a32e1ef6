package connpoint

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
)

const (
	// chunkBytes is how much of a body is passed on at once, bulkChunkBytes how much of an answer that goes over a bulk
	// connection: as much as one frame carries there. Bulk connections are few, so what slow readers hold is, too.
	chunkBytes     = 32 << 10
	bulkChunkBytes = 128 << 10
	// maxInforms is how many 1xx heads are passed on, maxFlood how many are read before the server is cut.
	maxInforms = 8
	maxFlood   = 64
	// maxAnswerHead is what fits the channel.
	maxAnswerHead = 64 << 10
	// earlyAnswer is how long a server that stopped reading may take to say why.
	earlyAnswer = 2 * time.Second
)

var (
	chunkBuffers     = sync.Pool{New: func() any { return new([chunkBytes]byte) }}
	bulkChunkBuffers = sync.Pool{New: func() any { return new([bulkChunkBytes]byte) }}
)

// run sends the request and passes the answer on. It reports whether the server's connection can be used again.
func (x *exchange) run() (good bool) {
	if !x.send() {
		return false
	}
	if !x.receiveHead() {
		return false
	}
	if x.resp.Status == 101 {
		x.switchProtocols()
		return false
	}
	bound := connectionBound(x.req.Fields, "Authorization") || connectionBound(x.resp.Fields, "WWW-Authenticate")
	return x.passOn() && !x.resp.Close && !bound && x.upload.complete()
}

// receiveHead reads heads until that of the answer. Whatever goes wrong here has not reached the device yet.
func (x *exchange) receiveHead() bool {
	passed, seen := 0, 0
	for {
		if err := x.conn.reader.ReadResponse(&x.resp, x.req.Method, http1.Limits{}); err != nil {
			x.noAnswer(err)
			return false
		}
		if !x.resp.Informational() {
			break
		}
		if seen++; seen > maxFlood {
			x.refuse(badAnswer("more than %d informational heads", maxFlood), channel.Final)
			return false
		}
		if x.resp.Status == 100 || passed == maxInforms {
			continue // we never asked to continue
		}
		passed++
		if x.in.Inform(x.mapHead(false)) != nil {
			return false
		}
	}
	x.upload.answered()
	if x.resp.Status == 101 && (!x.in.Upgrade() || !http1.EqualFold(x.resp.Upgrade, "websocket")) {
		x.refuse(badAnswer("switches protocols unasked"), channel.Final)
		return false
	}
	return true
}

func badAnswer(format string, args ...any) error {
	return causeway.Refuse(causeway.CodeConnectorBadAnswer, format, args...)
}

// noAnswer says why no head came, and whether the server may have seen the request.
func (x *exchange) noAnswer(err error) {
	cause := x.upload.cause()
	switch {
	case cause != nil:
		x.refuse(cause, channel.Final)
	case isTimeout(err):
		// The time is used up: trying elsewhere would only take it twice.
		x.refuse(&causeway.Refusal{Code: causeway.CodeConnectorServerTimeout, Reason: "no answer in time", Err: err}, channel.Final)
	case isRefusal(err):
		x.refuse(err, channel.Final)
	case errors.Is(err, io.ErrUnexpectedEOF):
		x.refuse(&causeway.Refusal{Code: causeway.CodeConnectorBadAnswer, Reason: "the answer's head ends early", Err: err}, channel.Final)
	default:
		x.refuse(&causeway.Refusal{Code: causeway.CodeConnectorServerReset, Reason: "connection lost before the answer", Err: err}, channel.Delivered)
	}
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*causeway.Refusal](err)
	return ok
}

// mapHead writes the head of the current answer as the device may see it. Its own framing comes from the gateway.
func (x *exchange) mapHead(final bool) []byte {
	b := http1.AppendStatusLine(x.head[:0], x.resp.Status, x.resp.Reason)
	b = outward{x.route, x.verdict.Index}.appendFields(b, &x.resp, x.verdict.Rest)
	if final && x.resp.ContentLength >= 0 && x.resp.Status != 204 {
		b = http1.AppendContentLength(b, x.resp.ContentLength)
	}
	if x.resp.Status == 101 {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	x.head = http1.AppendEnd(b)
	return x.head
}

// passOn sends the answer outward. The head goes as soon as it is there, with what of the body came along. It
// reports whether the answer was complete.
func (x *exchange) passOn() bool {
	x.status = x.resp.Status
	head := x.mapHead(true)
	if len(head) > maxAnswerHead {
		x.refuse(badAnswer("head of %d bytes", len(head)), channel.Final)
		return false
	}
	if x.resp.BodyBytes == 0 {
		return x.in.Answer(head, nil, true) == nil
	}
	buf := chunkBuffers.Get().(*[chunkBytes]byte)
	defer chunkBuffers.Put(buf)
	return x.passBody(head, buf[:])
}

// passBody sends the answer that has this head, piece by piece by way of buf.
func (x *exchange) passBody(head, buf []byte) bool {
	body := x.conn.reader.Body(x.resp.BodyBytes, x.resp.Chunked, 0)
	n, err := 0, error(nil)
	if x.conn.buffered() > 0 {
		if n, err = x.readSome(body, buf); err != nil && err != io.EOF {
			x.refuse(bodyError(err), channel.Final)
			return false
		}
	}
	trailers := x.trailers(body, err)
	x.replied += int64(n)
	if x.in.Answer(head, buf[:n], err == io.EOF && len(trailers) == 0) != nil {
		return false
	}
	for err == nil {
		if len(buf) < bulkChunkBytes && x.in.Bulk() {
			large := bulkChunkBuffers.Get().(*[bulkChunkBytes]byte)
			defer bulkChunkBuffers.Put(large)
			buf = large[:]
		}
		n, err = x.readSome(body, buf)
		if err != nil && err != io.EOF {
			x.cut(err)
			return false
		}
		trailers = x.trailers(body, err)
		x.replied += int64(n)
		if last := err == io.EOF && len(trailers) == 0; n > 0 || last {
			if x.in.Data(buf[:n], last) != nil {
				return false
			}
		}
	}
	if len(trailers) > 0 && x.in.AnswerTrailers(trailers) != nil {
		return false
	}
	return true
}

// readSome waits for data and returns all that came with it. The line end behind a chunk alone is not a reason to go
// on: the next chunk may be an event that comes in an hour.
func (x *exchange) readSome(body *http1.BodyReader, buf []byte) (n int, err error) {
	if err := x.conn.SetReadDeadline(time.Now().Add(time.Duration(x.verdict.Rule.IdleTimeout))); err != nil {
		return 0, err
	}
	for n < len(buf) && err == nil {
		var m int
		m, err = body.Read(buf[n:])
		if n += m; x.conn.buffered() <= len("\r\n") {
			break
		}
	}
	return n, err
}

// trailers returns the fields behind a body that ended, those left out that name places or are ours.
func (x *exchange) trailers(body *http1.BodyReader, err error) []byte {
	if err != io.EOF {
		return nil
	}
	var lines []byte
	for _, f := range body.Trailers() {
		if !http1.DroppedOutward(f.Name) && mapperOf(f.Name) == mapNothing {
			lines = append(lines, f.Line...)
		}
	}
	return lines
}

// cut ends an answer that has begun and cannot be completed: the device must see that it was cut.
func (x *exchange) cut(err error) {
	err = bodyError(err)
	x.failed = true
	code := causeway.CodeOf(err)
	gone := x.deviceGone()
	x.in.Refuse(code, channel.Final)
	if !gone {
		x.warnOf(code, err)
	}
}

func bodyError(err error) error {
	r := &causeway.Refusal{Code: causeway.CodeConnectorServerReset, Reason: "answer body", Err: err}
	switch {
	case isTimeout(err):
		r.Code = causeway.CodeConnectorServerTimeout
	case isRefusal(err), errors.Is(err, io.ErrUnexpectedEOF):
		r.Code = causeway.CodeConnectorBadAnswer
	}
	return r
}
