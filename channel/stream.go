package channel

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Windows: how many body bytes a stream may have under way in one direction.
const (
	// requestWindow is what a request may send before the connection point asks for more, which it does once
	// it has a connection to the server. Until then the gateway still holds those bytes and can send the
	// request elsewhere.
	requestWindow = 16 << 10
	// answerWindow is the first window of an answer, and of a request whose server is connected.
	answerWindow = 64 << 10
	// maxWindow is what a window grows to for a reader that keeps up.
	maxWindow = 4 << 20
	// growWithin is how quickly a reader has to drain a whole window for it to double: twice the round trip,
	// and at least this.
	growWithin = 20 * time.Millisecond
)

var (
	errStreamDone    = errors.New("stream is finished")
	errAnswerTimeout = errors.New("no answer in time")
	errSignalled     = errors.New("signalled")
	errOffered       = errors.New("offered a bulk connection")
	errNoCredit      = errors.New("the gateway took nothing for too long")
)

// streamReset is how a stream ends early, by the peer's reset or because the session was lost.
type streamReset struct {
	code     causeway.Code
	delivery Delivery
	lost     bool // the session ended, not only this stream
}

func (e *streamReset) Error() string {
	if e.lost {
		return "session lost"
	}
	return "stream reset: " + e.code.String()
}

// A chunk is one received frame of a stream. head and body point into buf.
type chunk struct {
	typ        frameType
	buf        *buffer
	head, body []byte
	fin        bool
}

// A stream is one exchange on one link. Both sides use it: what is received goes through queue and window, what
// is sent through credit.
type stream struct {
	// arrived and credited have room for one signal each: something changed, look again.
	arrived  chan struct{}
	credited chan struct{}
	timer    *time.Timer // for the exchange's own timeout; stopped while unused

	mu sync.Mutex // guards the fields below
	// link and id are the stream's identity. Its owner alone changes them and may read them without mu. Everybody
	// else compares both under mu, because a finished stream's memory soon is another's.
	link    *link
	id      uint32
	queue   []chunk
	heads   int // heads received
	queued  int // body bytes in queue
	window  int // bytes the peer may have under way or in queue
	granted int // of these, bytes it may still send
	credit  int // bytes we may still send
	fin     bool
	err     error
	gone    Interrupter        // connection point: told once when the stream ends early
	cancel  context.CancelFunc // connection point: of the handler's context, if it asked for one
	bulk    *bulkConn          // that a direction has moved to; ends with the stream
	offer   uint32             // gateway: bulk connection that the request's body may move to; 0 for none
	epoch   time.Time
	drained int // bytes consumed since epoch
}

var streams = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &stream{arrived: make(chan struct{}, 1), credited: make(chan struct{}, 1), timer: t}
}}

// newStream returns a stream that may receive up to window bytes and send up to credit.
func newStream(l *link, id uint32, window, credit int) *stream {
	s := streams.Get().(*stream)
	drain(s.arrived)
	drain(s.credited)
	s.mu.Lock()
	s.link, s.id, s.window, s.granted, s.credit = l, id, window, window, credit
	s.queue, s.heads, s.queued, s.fin, s.err, s.epoch, s.drained = s.queue[:0], 0, 0, false, nil, time.Time{}, 0
	s.mu.Unlock()
	return s
}

// release gives up the stream. The caller must be its only user apart from the link's reader.
func (s *stream) release() {
	s.timer.Stop()
	s.mu.Lock()
	for _, c := range s.queue {
		putBuffer(c.buf)
	}
	s.link.budget.add(-s.queued)
	clear(s.queue)
	s.queue, s.queued, s.gone, s.cancel = s.queue[:0], 0, nil, nil
	s.bulk, s.offer = nil, 0
	s.link, s.id = nil, 0
	s.mu.Unlock()
	streams.Put(s)
}

// begun notes n bytes of body that came with the request itself and do not wait in the queue.
func (s *stream) begun(n int, fin bool) {
	s.mu.Lock()
	s.granted -= n
	s.queued += n
	s.fin = fin
	s.mu.Unlock()
	s.link.budget.add(n)
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// isLocked reports whether the stream is the one that l knows by id.
func (s *stream) isLocked(l *link, id uint32) bool { return s.link == l && s.id == id }

// receive is called by l's reader with a frame for stream id. It takes over c.buf.
func (s *stream) receive(l *link, id uint32, c chunk) error {
	s.mu.Lock()
	err := error(nil)
	kept := false
	if s.isLocked(l, id) && s.err == nil { // else it finished meanwhile
		if err = s.acceptLocked(c); err == nil {
			s.granted -= len(c.body)
			s.queued += len(c.body)
			s.fin = c.fin || c.typ == frameMove
			l.budget.add(len(c.body))
			kept = s.keepLocked(c)
		}
	}
	s.mu.Unlock()
	if !kept {
		putBuffer(c.buf)
	}
	if err == nil {
		signal(s.arrived)
	}
	return err
}

// acceptLocked says what is wrong with a frame. What it lets pass cannot make us hold more than a small multiple of
// the window.
func (s *stream) acceptLocked(c chunk) error {
	switch {
	case s.fin:
		return violation("frame of type %d after the end of stream %d", c.typ, s.id)
	case len(c.body) > s.granted:
		return violation("stream %d sent %d bytes with a credit of %d", s.id, len(c.body), s.granted)
	case c.typ == frameData && len(c.body) == 0 && !c.fin && c.buf != nil:
		return violation("empty data frame of stream %d", s.id)
	case c.typ == frameInform || c.typ == frameAnswer:
		if s.heads++; s.heads > maxInforms+2 {
			return violation("more than %d heads of stream %d", maxInforms+2, s.id)
		}
	}
	return nil
}

// coalesceBytes is the largest body that is copied behind the one before it, so that many small frames do not hold
// a buffer each while their reader is slow.
const coalesceBytes = smallBufferBytes / 2

// keepLocked puts c into the queue, and reports whether its buffer stays there.
func (s *stream) keepLocked(c chunk) bool {
	if n := len(s.queue); n > 0 && c.typ == frameData && len(c.body) <= coalesceBytes {
		last := &s.queue[n-1]
		if (last.typ == frameData || last.typ == frameAnswer) && cap(last.body)-len(last.body) >= len(c.body) {
			last.body = append(last.body, c.body...)
			last.fin = c.fin
			return false
		}
	}
	s.queue = append(s.queue, c)
	return true
}

// next returns the next chunk, or what ended the stream once all chunks before that were taken. It waits until
// done (errStreamDone), timeout (errAnswerTimeout) or other (errSignalled). The caller hands the chunk back with
// consumed.
func (s *stream) next(done <-chan struct{}, timeout <-chan time.Time, other <-chan struct{}) (chunk, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			c := s.queue[0]
			n := copy(s.queue, s.queue[1:])
			s.queue[n] = chunk{}
			s.queue = s.queue[:n]
			s.mu.Unlock()
			return c, nil
		}
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return chunk{}, err
		}
		select {
		case <-s.arrived:
		case <-done:
			return chunk{}, errStreamDone
		case <-timeout:
			return chunk{}, errAnswerTimeout
		case <-other:
			return chunk{}, errSignalled
		}
	}
}

// consumed takes back a chunk whose bytes were passed on and lets the peer send as many more.
func (s *stream) consumed(c chunk) {
	s.returnBytes(len(c.body), c.fin)
	putBuffer(c.buf)
}

// returnBytes says that n received body bytes left the queue's memory. Nothing is granted after the last.
func (s *stream) returnBytes(n int, last bool) {
	if n == 0 {
		return
	}
	s.link.budget.add(-n)
	s.mu.Lock()
	s.queued -= n
	s.growLocked(n)
	grant := 0
	if free := s.window - s.granted - s.queued; !last && !s.fin && s.err == nil && free >= s.window/4 {
		grant = free
		s.granted += grant
	}
	id := s.id
	s.mu.Unlock()
	if grant > 0 {
		s.grant(id, grant)
	}
}

// widen raises the window to n at once, as the connection point does when the server is connected.
func (s *stream) widen(n int) {
	s.mu.Lock()
	grant := 0
	if n > s.window && !s.fin && s.err == nil {
		grant = n - s.window
		s.window = n
		s.granted += grant
	}
	id := s.id
	s.mu.Unlock()
	if grant > 0 {
		s.grant(id, grant)
	}
}

func (s *stream) grant(id uint32, n int) {
	var w [4]byte
	binary.BigEndian.PutUint32(w[:], uint32(n))
	// A lost link ends the stream by itself.
	_, _ = s.link.write(frameHeader{stream: id, typ: frameWindow}, w[:], nil, nil)
}

// growLocked doubles the window of a reader that drains it quickly, and halves a large one under memory pressure.
func (s *stream) growLocked(n int) {
	if !s.link.budget.roomy() {
		s.window = max(s.window/2, min(s.window, answerWindow))
		s.epoch = time.Time{}
		return
	}
	if s.drained += n; s.drained < s.window && !s.epoch.IsZero() {
		return
	}
	now := time.Now()
	if !s.epoch.IsZero() && now.Sub(s.epoch) <= max(growWithin, 2*s.link.roundTrip()) {
		s.window = min(2*s.window, maxWindow)
	}
	s.epoch, s.drained = now, 0
}

// end makes the stream that l knows by id fail with err, for both its reader and its writer.
func (s *stream) end(l *link, id uint32, err error) {
	s.mu.Lock()
	var gone Interrupter
	var cancel context.CancelFunc
	if s.isLocked(l, id) && s.err == nil {
		s.err, gone, cancel = err, s.gone, s.cancel
		s.gone, s.cancel = nil, nil
		if s.bulk != nil {
			s.bulk.Interrupt() // under mu: once the stream gave it up, it serves another
		}
	}
	s.mu.Unlock()
	signal(s.arrived)
	signal(s.credited)
	if gone != nil {
		gone.Interrupt()
	}
	if cancel != nil {
		cancel()
	}
}

// onEnd has x told when the stream ends early, in place of who was to be told before, and reports whether it has.
func (s *stream) onEnd(x Interrupter) (ended bool) {
	s.mu.Lock()
	if ended = s.err != nil; !ended {
		s.gone = x
	}
	s.mu.Unlock()
	return ended
}

// failed reports whether the stream ended early.
func (s *stream) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// cancelOnEnd has cancel called when the stream ends early, at once if it has.
func (s *stream) cancelOnEnd(cancel context.CancelFunc) {
	s.mu.Lock()
	ended := s.err != nil
	s.cancel = cancel
	s.mu.Unlock()
	if ended {
		cancel()
	}
}

// ride has b end when the stream does. It fails when the stream has ended.
func (s *stream) ride(b *bulkConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bulk = b
	return s.err
}

// alight takes ride back.
func (s *stream) alight() {
	s.mu.Lock()
	s.bulk = nil
	s.mu.Unlock()
}

// ending returns what ended the stream early, if anything did.
func (s *stream) ending() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// offerBulk says that the request's body may move to a bulk connection.
func (s *stream) offerBulk(l *link, id, number uint32) {
	s.mu.Lock()
	if s.isLocked(l, id) {
		s.offer = number
	}
	s.mu.Unlock()
	signal(s.credited)
}

func (s *stream) offered() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offer
}

// addCredit lets n more bytes be sent on the stream that l knows by id.
func (s *stream) addCredit(l *link, id uint32, n uint32) error {
	s.mu.Lock()
	if s.isLocked(l, id) {
		if int64(s.credit)+int64(n) > 1<<30 {
			s.mu.Unlock()
			return violation("credit of stream %d overflows", id)
		}
		s.credit += int(n)
	}
	s.mu.Unlock()
	signal(s.credited)
	return nil
}

// takeCredit waits until at least one byte may be sent and takes up to want, or until the body may move (errOffered).
func (s *stream) takeCredit(want int, done <-chan struct{}) (int, error) {
	for {
		s.mu.Lock()
		if s.err != nil {
			err := s.err
			s.mu.Unlock()
			return 0, err
		}
		if s.offer != 0 {
			s.mu.Unlock()
			return 0, errOffered
		}
		if s.credit > 0 {
			n := min(want, s.credit)
			s.credit -= n
			s.mu.Unlock()
			return n, nil
		}
		s.mu.Unlock()
		s.link.stalls.Add(1)
		if err := s.awaitCredit(done); err != nil {
			return 0, err
		}
	}
}

// awaitCredit waits for a word about credit, until done. At the connection point, which has none, it waits no longer than
// bulkPatience, as with bulk: an answer that nobody takes would keep a connection to the server for good. The stream has
// ended when it gives up.
func (s *stream) awaitCredit(done <-chan struct{}) error {
	var late <-chan time.Time
	if done == nil {
		s.timer.Reset(bulkPatience)
		defer s.timer.Stop()
		late = s.timer.C
	}
	select {
	case <-s.credited:
		return nil
	case <-done:
		return errStreamDone
	case <-late:
		s.sendReset(causeway.CodeConnectorRequestTimeout, Final)
		s.end(s.link, s.id, errNoCredit)
		return errNoCredit
	}
}

// giveBack returns credit that was taken and not used.
func (s *stream) giveBack(n int) {
	if n > 0 {
		s.mu.Lock()
		s.credit += n
		s.mu.Unlock()
	}
}

// sendData sends p in as many frames as credit and frame size ask for.
func (s *stream) sendData(p []byte, fin bool, done <-chan struct{}) error {
	for len(p) > 0 {
		n, err := s.takeCredit(min(len(p), maxDataBytes), done)
		if err != nil {
			return err
		}
		last := fin && n == len(p)
		if _, err := s.link.write(frameHeader{stream: s.id, typ: frameData, fin: last}, p[:n], nil, nil); err != nil {
			return err
		}
		p = p[n:]
		if last {
			return nil
		}
	}
	if !fin {
		return nil
	}
	_, err := s.link.write(frameHeader{stream: s.id, typ: frameData, fin: true}, nil, nil, nil)
	return err
}

// sendReset ends the stream on the other side.
func (s *stream) sendReset(code causeway.Code, d Delivery) {
	// A lost link has ended the stream there too.
	_, _ = s.link.write(frameHeader{stream: s.id, typ: frameReset}, resetPayload(code, d), nil, nil)
}

func resetPayload(code causeway.Code, d Delivery) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), byte(d))
}
