package gateway

import (
	"time"

	"github.com/causeway-gateway/causeway/internal/http1"
)

// The device's side of an exchange, as package channel calls it.

// Informational passes on a 1xx head. HTTP/1.0 knows none.
func (x *http1Call) Informational(head []byte) error {
	if x.req.Minor == 0 || x.wrote {
		return nil
	}
	r := &x.answer.head
	if err := r.Parse(head, x.method, x.s.answerLimits); err != nil {
		return err
	}
	if !r.Informational() || r.Status == 100 {
		return nil
	}
	b := http1.AppendStatusLine(x.buf[:0], r.Status, r.Reason)
	return x.write(http1.AppendEnd(http1.AppendOutward(b, r)))
}

// Answer begins the answer. Whatever is wrong with it is found before the device sees a byte.
func (x *http1Call) Answer(head, body []byte, last bool) error {
	if err := x.answer.start(&x.call, head, body, last); err != nil {
		return err
	}
	r := &x.answer.head
	x.chooseFraming(body, last)
	b := http1.AppendStatusLine(x.buf[:0], r.Status, r.Reason)
	b = appendOutward(b, r)
	b = x.appendRequestID(b)
	switch {
	case x.upgraded:
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case x.framing == frameChunks:
		b = http1.AppendChunkedEncoding(b)
	case x.framing == frameLength && r.ContentLength < 0:
		b = http1.AppendContentLength(b, int64(len(body)))
	case r.ContentLength >= 0 && r.Status != 204:
		b = http1.AppendContentLength(b, r.ContentLength)
	}
	b = http1.AppendEnd(x.appendConnection(b))
	x.wrote = true
	x.status = r.Status
	x.s.metrics.answered(r.Status)
	if err := x.sendBody(b, body, last); err != nil || !x.upgraded {
		return err
	}
	close(x.body.upgraded)
	return nil
}

// chooseFraming decides how the device learns where the body ends, and whether the connection survives it.
func (x *http1Call) chooseFraming(body []byte, last bool) {
	r := &x.answer.head
	unread := x.body.rd != nil && !x.body.eof.Load()
	x.closing = x.closing || unread || x.out.Upgrade || x.s.draining.Load()
	switch {
	case r.Status == 101:
		x.watch.disarm() // from now on the body reads
		x.framing, x.upgraded, x.closing = frameNone, true, false
		x.s.metrics.upgrades.Inc()
	case r.NoBody:
		x.framing = frameNone
	case r.ContentLength >= 0 || last:
		x.framing = frameLength
	case x.req.Minor == 0:
		x.framing, x.closing = frameClose, true
	default:
		x.framing = frameChunks
	}
}

// Data passes on more of the body.
func (x *http1Call) Data(p []byte, last bool) error {
	if err := x.answer.count(len(p), last); err != nil {
		return err
	}
	return x.sendBody(x.buf[:0], p, last)
}

// Trailers ends the answer. They travel only where the framing has a place for them.
func (x *http1Call) Trailers(fields []byte) error {
	if err := x.answer.count(0, true); err != nil {
		return err
	}
	if x.framing != frameChunks {
		return nil
	}
	return x.write(http1.AppendLastChunk(x.buf[:0], fields))
}

// sendBody writes what is in b already, and p as the framing wants it. Small parts leave in one write.
func (x *http1Call) sendBody(b, p []byte, last bool) error {
	x.bytesOut += int64(len(p))
	if x.framing == frameChunks {
		b = http1.AppendChunk(b, p)
		if last {
			b = http1.AppendLastChunk(b, nil)
		}
		p = nil
	} else if len(b) > 0 {
		b = append(b, p...)
		p = nil
	}
	if x.watch.moved.Store(time.Now().UnixNano()); len(b) > 0 {
		if err := x.write(b); err != nil {
			return err
		}
	}
	if len(p) == 0 {
		return nil
	}
	return x.send(p)
}

// appendOutward copies the fields that travel outward, but for a request id of the server's own.
func appendOutward(b []byte, r *http1.Response) []byte {
	for i := range r.Fields {
		if f := &r.Fields[i]; r.Outward(f) && !http1.EqualFold(f.Name, "x-request-id") {
			b = append(b, f.Line...)
		}
	}
	return b
}
