package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway/internal/http1"
)

// The device's side of an exchange, as package channel calls it.

// Informational passes on a 1xx head.
func (x *http2Call) Informational(head []byte) error {
	r := &x.answer.head
	if err := r.Parse(head, x.method, x.s.answerLimits); err != nil {
		return err
	}
	if !r.Informational() || r.Status == 100 || x.wrote {
		return nil
	}
	h := x.w.Header()
	clear(h)
	x.fields.put(h, r)
	x.w.WriteHeader(r.Status)
	x.fields.release(h)
	return nil
}

// Answer begins the answer.
func (x *http2Call) Answer(head, body []byte, last bool) error {
	if err := x.answer.start(&x.call, head, body, last); err != nil {
		return err
	}
	r := &x.answer.head
	h := x.w.Header()
	x.fields.put(h, r)
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // nothing is to be guessed
	}
	x.fields.set(h, "X-Request-Id", x.id.String())
	switch {
	case r.ContentLength >= 0 && r.Status != 204:
		x.fields.set(h, "Content-Length", strconv.FormatInt(r.ContentLength, 10))
	case last && !r.NoBody:
		x.fields.set(h, "Content-Length", strconv.Itoa(len(body)))
	}
	if x.s.draining.Load() {
		x.fields.set(h, "Connection", "close")
	}
	x.wrote = true
	x.status = r.Status
	x.s.metrics.answered(r.Status)
	_ = x.w.SetWriteDeadline(time.Now().Add(x.target.idle))
	x.w.WriteHeader(r.Status)
	x.fields.release(h) // net/http has its copy
	return x.send(body, last)
}

// Data passes on more of the body.
func (x *http2Call) Data(p []byte, last bool) error {
	if err := x.answer.count(len(p), last); err != nil {
		return err
	}
	_ = x.w.SetWriteDeadline(time.Now().Add(x.target.idle))
	return x.send(p, last)
}

// Trailers ends the answer.
func (x *http2Call) Trailers(fields []byte) error {
	if err := x.answer.count(0, true); err != nil {
		return err
	}
	// The lines are read as the head of an answer would be, with the same strictness.
	var t http1.Response
	head := append(append([]byte("HTTP/1.1 204 \r\n"), fields...), "\r\n"...)
	if err := t.Parse(head, x.method, x.s.answerLimits); err != nil {
		return err
	}
	for i := range t.Fields {
		if f := &t.Fields[i]; !http1.DroppedTrailer(f.Name) {
			x.w.Header().Add(http.TrailerPrefix+string(f.Name), string(f.Value))
		}
	}
	return nil
}

func (x *http2Call) send(p []byte, last bool) error {
	x.bytesOut += int64(len(p))
	x.conn.allowance.sent(len(p))
	if len(p) > 0 {
		if _, err := x.w.Write(p); err != nil {
			return errors.Join(errDeviceGone, err)
		}
	}
	if last {
		return nil
	}
	if err := x.w.FlushError(); err != nil {
		return errors.Join(errDeviceGone, err)
	}
	return nil
}
