package channel

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/causeway-gateway/causeway"
)

// errBulkGone ends an exchange whose body was to move to a connection that is gone.
var errBulkGone = &causeway.Refusal{Code: causeway.CodeChannelLost, Reason: "bulk connection lost"}

// bulk returns the bulk connection that the stream moves to, and has it end with the stream.
func (a *attemptState) bulk(number uint32) (*bulkConn, error) {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if a.lent != nil {
		if a.lent.number != number {
			return nil, violation("stream %d moves to a second bulk connection", a.s.id)
		}
		return a.lent, nil
	}
	b := a.l.set.bulk.find(number)
	if b == nil {
		return nil, errBulkGone // it ended while the frame was on its way
	}
	if err := b.lend(a.l.link, a.s.id); err != nil {
		if errors.Is(err, ErrBulkEnded) {
			err = errBulkGone
		}
		return nil, err
	}
	a.lent = b
	if err := a.s.ride(b); err != nil {
		return nil, err
	}
	return b, nil
}

// receiveBulk passes the rest of the answer on from the bulk connection that it moved to.
func (a *attemptState) receiveBulk(ctx context.Context, number uint32) error {
	if !a.x.answered {
		return violation("an answer moves before its head")
	}
	b, err := a.bulk(number)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, b.Interrupt)
	defer func() {
		if !stop() { // it may still be about to run: end the connection before it can serve another
			b.Interrupt()
		}
	}()
	buf := bulkBuffers.Get().(*[maxBulkBytes]byte)
	defer bulkBuffers.Put(buf)
	in := bulkReader{b: b, stream: a.s.id}
	for {
		n, last, err := in.readFrame(buf[:])
		if err != nil {
			return a.bulkFailure(ctx, err)
		}
		a.peerDone = last
		if len(in.trailers) > 0 {
			return a.x.device.Trailers(in.trailers)
		}
		if err := a.x.device.Data(buf[:n], last); err != nil || last {
			return err
		}
	}
}

// bulkReason is how long the end of a bulk connection waits to be explained.
const bulkReason = time.Second

// bulkFailure prefers the reason why the stream ended to the fact that its connection did.
func (a *attemptState) bulkFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errProtocol) {
		return err
	}
	// The reason travels on the request connection, and may be later than the end of this one.
	a.s.timer.Reset(bulkReason)
	if _, cause := a.s.next(ctx.Done(), a.s.timer.C, nil); cause != nil && !errors.Is(cause, errAnswerTimeout) {
		return a.orCause(ctx, cause)
	}
	return &causeway.Refusal{Code: causeway.CodeChannelLost, Reason: "bulk connection", Err: err}
}

// sendBodyBulk sends the rest of the request's body on the bulk connection that was offered for it.
func (a *attemptState) sendBodyBulk() error {
	b, err := a.bulk(a.s.offered())
	if err != nil {
		return err
	}
	number := binary.BigEndian.AppendUint32(nil, b.number)
	if _, err := a.l.write(frameHeader{stream: a.s.id, typ: frameMove}, number, nil, nil); err != nil {
		return err
	}
	buf := bulkBuffers.Get().(*[maxBulkBytes]byte)
	defer bulkBuffers.Put(buf)
	for {
		if !a.mayRead() {
			return errStreamDone
		}
		n, err := a.x.req.Body.Read(buf[:])
		if err != nil && err != io.EOF {
			return &bodyError{err}
		}
		trailers := a.trailers(err)
		if err := b.send(a.s.id, buf[:n], err == io.EOF && len(trailers) == 0); err != nil {
			return &bulkWriteError{err}
		}
		if len(trailers) > 0 {
			if err := b.write(frameHeader{stream: a.s.id, typ: frameTrailers, fin: true}, trailers); err != nil {
				return &bulkWriteError{err}
			}
			return nil
		}
		if err == io.EOF {
			return nil
		}
	}
}

// A bulkWriteError is why a body did not go out on its bulk connection.
type bulkWriteError struct{ error }

func (e *bulkWriteError) Unwrap() error { return e.error }

// returnBulk gives the bulk connection back once both directions are complete; else it can serve nobody else.
func (a *attemptState) returnBulk(complete bool) {
	b := a.lent
	a.s.alight()
	if !complete {
		b.Interrupt()
		return
	}
	b.unlend() // first: with free on its way, the other side may lend it at once
	// When this fails, the connection has, and both sides know.
	_ = b.signal(frameHeader{typ: frameFree})
}
