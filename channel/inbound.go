package channel

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"github.com/causeway-gateway/causeway"
)

func beUint32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// An Inbound is one request at the connection point. Its methods are for the handler's goroutine, but End, and Body
// may be read on another one, which must be done before Handle returns.
type Inbound struct {
	stream    *stream
	principal *InboundPrincipal
	id        causeway.RequestID
	attempt   int
	upgrade   bool
	whole     bool // first is all of the body
	bodyBytes int64
	open      *buffer // holds head and first
	head      []byte
	first     []byte
	quota     *Quota          // given back when the request is over
	session   context.Context // for Context
	ctx       context.Context // nil until asked for
	cancel    context.CancelFunc

	body     inboundBody
	bulk     inboundBulk
	answered bool
	ended    bool
}

// inbounds are used again. That is safe because the link's reader knows a request by its stream alone.
var inbounds = sync.Pool{New: func() any { return new(Inbound) }}

// newInbound returns the request that came in the open frame b and belongs to st.
func newInbound(session context.Context, st *stream, p *InboundPrincipal, o *openHeader, b *buffer, whole bool) *Inbound {
	in := inbounds.Get().(*Inbound)
	rest := b.b[openHeaderBytes:]
	*in = Inbound{stream: st, principal: p, id: o.id, attempt: int(o.attempt), upgrade: o.upgrade, whole: whole, bodyBytes: o.bodyBytes,
		open: b, head: rest[:o.headBytes], first: rest[o.headBytes:], session: session}
	in.body = inboundBody{in: in, cur: chunk{body: in.first, fin: whole}, rest: in.first, eof: whole}
	return in
}

// ID returns the request's id, the gateway's name for it.
func (in *Inbound) ID() causeway.RequestID { return in.id }

// Attempt is 1, or 2 when the request may have reached a server before. A second attempt goes over a connection
// to the server that is made for it.
func (in *Inbound) Attempt() int { return in.attempt }

// Principal returns who asks, unverified.
func (in *Inbound) Principal() *InboundPrincipal { return in.principal }

// Head returns the request head as the gateway wrote it, unverified, until Handle returns.
func (in *Inbound) Head() []byte { return in.head }

// BodyBytes returns the body's length as the gateway announced it: 0 for none, -1 for unknown.
func (in *Inbound) BodyBytes() int64 { return in.bodyBytes }

// Upgrade reports whether the device asks to switch protocols. Its bytes come as Body, after the 101.
func (in *Inbound) Upgrade() bool { return in.upgrade }

// Whole returns the request's body if all of it came with the request, as that of most small ones does. It is there
// until Handle returns, and for who has not read Body.
func (in *Inbound) Whole() (body []byte, ok bool) { return in.first, in.whole }

// Body returns the request body. Its first Read says that a server is ready for it and opens the window. It ends
// with io.EOF after exactly what the device sent, and with another error when the device went away.
func (in *Inbound) Body() io.Reader { return &in.body }

// OnGone has x interrupted when nobody waits for the answer any more, at once if it is so already, in place of who was
// named before. It reports whether it is so. After OnGone(nil) has said no, nobody is interrupted; after it has said
// yes, the call to who was named before may still come.
func (in *Inbound) OnGone(x Interrupter) (gone bool) {
	if gone = in.stream.onEnd(x); gone && x != nil {
		x.Interrupt()
	}
	return gone
}

// Gone reports whether nobody waits for the answer any more.
func (in *Inbound) Gone() bool { return in.stream.failed() }

// Context returns a context that ends when nobody waits for the answer any more, and when Handle returns. It is made
// when it is first asked for: most requests have no need of one.
func (in *Inbound) Context() context.Context {
	if in.ctx == nil {
		in.ctx, in.cancel = context.WithCancel(in.session)
		in.stream.cancelOnEnd(in.cancel)
	}
	return in.ctx
}

// Trailers returns the field lines behind the body, after it ended.
func (in *Inbound) Trailers() []byte { return in.body.trailers }

type inboundBody struct {
	in       *Inbound
	widened  bool
	cur      chunk
	rest     []byte
	eof      bool
	trailers []byte
}

func (b *inboundBody) Read(p []byte) (int, error) {
	s := b.in.stream
	if err := b.makeRoom(); err != nil {
		return 0, err
	}
	for len(b.rest) == 0 {
		if b.eof {
			return 0, io.EOF
		}
		if b.in.bulk.body.b != nil {
			return b.readBulk(p)
		}
		c, err := s.next(nil, nil, nil)
		if err != nil {
			return 0, err
		}
		if c.typ == frameMove {
			number := beUint32(c.head)
			s.consumed(c)
			if err := b.moved(number); err != nil {
				return 0, err
			}
			continue
		}
		if b.eof = c.fin; c.typ == frameTrailers {
			b.trailers = append([]byte(nil), c.head...)
		}
		if len(c.body) == 0 {
			s.consumed(c)
			continue
		}
		b.cur, b.rest = c, c.body
	}
	n := copy(p, b.rest)
	b.in.bulk.received += n
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		s.consumed(b.cur)
		b.cur = chunk{}
	}
	return n, nil
}

// makeRoom says with the first Read that there is a server for the body: by offering a bulk connection to one that is
// large, and a window to others. A body of unknown length is offered one when it has become large.
func (b *inboundBody) makeRoom() error {
	if b.in.bodyBytes == 0 && !b.in.upgrade {
		return nil
	}
	offered, err := b.in.offerBulk()
	if !b.widened && !offered {
		b.in.stream.widen(answerWindow)
	}
	b.widened = true
	return err
}

// Inform passes on a 1xx head.
func (in *Inbound) Inform(head []byte) error {
	if in.answered || in.ended {
		return errStreamDone
	}
	_, err := in.stream.link.write(frameHeader{stream: in.stream.id, typ: frameInform}, head, nil, nil)
	return err
}

// Answer starts the answer with its head, at most 64 KiB, and the first bytes of its body. It waits for credit.
func (in *Inbound) Answer(head, body []byte, last bool) error {
	if in.answered || in.ended {
		return errStreamDone
	}
	if len(head) == 0 || len(head) > maxHeadBytes {
		return violation("answer head of %d bytes", len(head))
	}
	in.answered = true
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(head)))
	first := 0
	if len(body) > 0 {
		var err error
		if first, err = in.stream.takeCredit(min(len(body), maxDataBytes), nil); err != nil {
			return err
		}
	}
	whole := last && first == len(body)
	in.ended = whole
	if _, err := in.stream.link.write(frameHeader{stream: in.stream.id, typ: frameAnswer, fin: whole}, n[:], head, body[:first]); err != nil {
		return err
	}
	if first == len(body) {
		return nil
	}
	return in.Data(body[first:], last)
}

// Data sends more of the answer's body and waits for credit.
func (in *Inbound) Data(p []byte, last bool) error {
	if !in.answered || in.ended {
		return errStreamDone
	}
	in.ended = last
	if err := in.moveAnswer(); err != nil {
		return err
	}
	if in.bulk.answer != nil {
		return in.sendBulk(p, last)
	}
	in.bulk.sent += len(p)
	return in.stream.sendData(p, last, nil)
}

// AnswerTrailers ends the answer with field lines.
func (in *Inbound) AnswerTrailers(fields []byte) error {
	if !in.answered || in.ended {
		return errStreamDone
	}
	if len(fields) > maxHeadBytes {
		return violation("trailers of %d bytes", len(fields))
	}
	in.ended = true
	if c := in.bulk.answer; c != nil {
		if c.write(frameHeader{stream: in.stream.id, typ: frameTrailers, fin: true}, fields) != nil {
			return in.bulkLost()
		}
		return nil
	}
	_, err := in.stream.link.write(frameHeader{stream: in.stream.id, typ: frameTrailers, fin: true}, fields, nil, nil)
	return err
}

// Refuse ends the exchange without an answer, or aborts one that has begun, and with it a Read of the body. Only before
// Answer does the device get code's status.
func (in *Inbound) Refuse(code causeway.Code, d Delivery) {
	if in.ended {
		return
	}
	in.ended, in.bulk.cut = true, true
	if in.answered {
		d = Final
	}
	s := in.stream
	s.sendReset(code, d)
	s.end(s.link, s.id, errStreamDone) // the gateway says nothing more of it, and somebody may wait for its body
}

// End ends the exchange on this side: who waits for the gateway, for a body or to send the answer, does so no longer. It is
// for any goroutine, as long as Handle has not returned. The gateway learns of it by Refuse.
func (in *Inbound) End() { in.stream.end(in.stream.link, in.stream.id, errStreamDone) }

// run calls the handler and cleans up behind it.
func (in *Inbound) run(h Handler) {
	defer in.release()
	h.Handle(in)
	if !in.ended {
		in.Refuse(causeway.CodeConnectorInternalError, Final)
	}
}

func (in *Inbound) release() {
	s := in.stream
	in.settleBulk()
	s.link.remove(s.id)
	if in.cancel != nil {
		in.cancel()
	}
	putBuffer(in.body.cur.buf)
	s.release()
	putBuffer(in.open)
	in.quota.give()
	*in = Inbound{}
	inbounds.Put(in)
}
