package channel

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Defaults of the liveness settings.
const (
	DefaultPingEvery = time.Second
	// DefaultDeadAfter leaves half a second of the five within which a dead channel has to be gone, for everything that
	// is to be done then, on a machine that is busy.
	DefaultDeadAfter        = 4500 * time.Millisecond
	DefaultHandshakeTimeout = 10 * time.Second
)

const (
	// readBufferBytes is a TLS record: what lies below gives no more at a time, and every idle link holds it.
	readBufferBytes = 16 << 10
	// maxPendingBytes is how much output may wait behind the write under way before who sends more of it waits too.
	maxPendingBytes = 256 << 10
	// maxPostedBytes is how much of it may be answers of the link's reader, which never wait. A peer that makes us answer
	// more than this without reading is cut.
	maxPostedBytes = 1 << 20
	// handOverAfter is how many batches a sender writes for others before a goroutine takes over from it.
	handOverAfter = 4
)

var (
	errDead      = errors.New("no byte from the other side in time")
	errLinkEnded = errors.New("link ended")
)

// A link is one connection of a channel set, as both sides see it: it writes frames in batches, reads them, and
// notices when the other side is gone. What frames mean is up to its owner.
type link struct {
	// Fixed at construction.
	conn      net.Conn
	batched   *batchedConn // nil when conn is not a TLS connection over Batched
	log       *slog.Logger
	budget    *budget
	pingEvery time.Duration
	deadAfter time.Duration
	since     time.Time
	ended     chan struct{} // closed by fail
	failed    atomic.Bool   // err is set; for who must not wait for wmu

	// Owned by the reader.
	br  *bufio.Reader
	raw [frameHeaderBytes]byte // of the frame being read

	lastByte atomic.Int64 // nanoseconds since the link began, of the last read; later for time that this process stood still
	rtt      atomic.Int64 // nanoseconds
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	stalls   atomic.Uint64 // times a sender waited for credit

	wmu      sync.Mutex // guards the fields below
	wcond    *sync.Cond
	pending  []byte
	spare    []byte
	writing  bool
	parted   bool  // the output has ended in order: what comes after is dropped
	enqueued int64 // bytes ever appended to pending
	handed   int64 // of these, bytes handed to conn
	posted   int   // bytes of post in pending
	err      error

	smu     sync.Mutex // guards the fields below
	streams map[uint32]*stream
	lastID  uint32 // highest stream id seen or used
	idle    *sync.Cond
}

func newLink(conn net.Conn, log *slog.Logger, b *budget, pingEvery, deadAfter time.Duration) *link {
	l := &link{
		conn: conn, log: log, budget: b,
		pingEvery: orDefault(pingEvery, DefaultPingEvery), deadAfter: orDefault(deadAfter, DefaultDeadAfter),
		since: time.Now(), ended: make(chan struct{}),
		streams: map[uint32]*stream{},
	}
	l.br = bufio.NewReaderSize(life{l}, readBufferBytes)
	l.wcond, l.idle = sync.NewCond(&l.wmu), sync.NewCond(&l.smu)
	if t, ok := conn.(*tls.Conn); ok {
		l.batched, _ = t.NetConn().(*batchedConn)
	}
	return l
}

// life reads from a link's connection and notes that something came.
type life struct{ l *link }

func (r life) Read(p []byte) (int, error) {
	n, err := r.l.conn.Read(p)
	if n > 0 {
		r.l.lastByte.Store(int64(r.l.now()))
	}
	return n, err
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

func (l *link) roundTrip() time.Duration { return time.Duration(l.rtt.Load()) }

// queued returns how much output waits behind the write under way.
func (l *link) queued() int {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return len(l.pending)
}

// write appends one frame made of up to three pieces and sees to it that it is written: by this goroutine, or by
// the one that is writing already. It returns where in the output the frame begins; after an error not one byte
// of the frame was handed to the connection.
func (l *link) write(h frameHeader, a, b, c []byte) (offset int64, err error) {
	offset, first, err := l.enqueueWhenRoom(h, a, b, c)
	if first {
		if h.typ != frameData { // whose batches are large anyway
			runtime.Gosched()
		}
		l.flush()
	}
	return offset, err
}

// flush writes what is pending. Only who was told by enqueue to be the writer may call it. With small frames it is
// worth giving way first (runtime.Gosched): goroutines that can run now put their frames into the same batch, which
// saves most of the system calls on a busy link and costs nothing on a quiet one.
func (l *link) flush() {
	l.wmu.Lock()
	l.flushLocked(handOverAfter)
}

// post is write for the link's reader, which must never wait for the other side to read: two readers doing so
// would wait for each other.
func (l *link) post(h frameHeader, p []byte) error {
	l.wmu.Lock()
	l.posted += frameHeaderBytes + len(p)
	if l.posted > maxPostedBytes && l.err == nil {
		l.wmu.Unlock()
		l.fail(violation("other side makes us answer without reading"))
		return errLinkEnded
	}
	_, first, err := l.enqueueLocked(h, p, nil, nil)
	if first {
		l.flushLater()
	}
	return err
}

// flushLater flushes on a goroutine of its own. It ends when nothing is pending or the link failed; serve waits
// for it through writing.
func (l *link) flushLater() {
	go func() {
		l.wmu.Lock()
		l.flushLocked(-1)
	}()
}

// waitsForRoom are the frames that can be large, and are sent from goroutines that may wait.
var waitsForRoom = [256]bool{frameData: true, frameAnswer: true, frameInform: true, frameTrailers: true, frameDocument: true}

// enqueueWhenRoom is enqueue, once there is room for a frame that can be large.
func (l *link) enqueueWhenRoom(h frameHeader, a, b, c []byte) (offset int64, first bool, err error) {
	l.wmu.Lock()
	if waitsForRoom[h.typ] {
		l.awaitRoomLocked()
	}
	return l.enqueueLocked(h, a, b, c)
}

// awaitRoom waits until not too much output waits, or the link ended. It is for who enqueues under a lock that the link's
// reader takes, too, and must not wait there.
func (l *link) awaitRoom() {
	l.wmu.Lock()
	l.awaitRoomLocked()
	l.wmu.Unlock()
}

func (l *link) awaitRoomLocked() {
	for !l.hasRoomLocked() {
		l.wcond.Wait() // ends within deadAfter: the write under way has a deadline
	}
}

func (l *link) hasRoom() bool {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return l.hasRoomLocked()
}

func (l *link) hasRoomLocked() bool { return len(l.pending) <= maxPendingBytes || l.err != nil }

// enqueue appends a frame to the output. first says that nobody is writing and the caller has become the writer.
func (l *link) enqueue(h frameHeader, a, b, c []byte) (offset int64, first bool, err error) {
	l.wmu.Lock()
	return l.enqueueLocked(h, a, b, c)
}

// enqueueLocked is enqueue for who holds wmu, which it unlocks.
func (l *link) enqueueLocked(h frameHeader, a, b, c []byte) (offset int64, first bool, err error) {
	h.length = len(a) + len(b) + len(c)
	if l.err != nil {
		err := l.err
		l.wmu.Unlock()
		return 0, false, err
	}
	if l.parted { // nobody waits for it
		offset = l.enqueued
		l.wmu.Unlock()
		return offset, false, nil
	}
	offset = l.enqueued
	l.enqueued += int64(frameHeaderBytes + h.length)
	l.pending = appendFrameHeader(l.pending, h)
	l.pending = append(append(append(l.pending, a...), b...), c...)
	first = !l.writing
	l.writing = true
	l.wmu.Unlock()
	return offset, first, nil
}

// flushLocked writes what is pending, in batches, until nothing is left. After rounds batches another goroutine
// goes on, so that a request is not kept from its own work by others' output. It unlocks wmu.
func (l *link) flushLocked(rounds int) {
	for {
		out := l.pending
		l.pending, l.spare = l.spare[:0], nil
		l.handed, l.posted = l.enqueued, 0
		l.wmu.Unlock()
		err := l.writeBatch(out)
		l.wmu.Lock()
		if cap(out) <= 2*maxPendingBytes {
			l.spare = out[:0]
		}
		l.wcond.Broadcast()
		if err != nil || l.err != nil || len(l.pending) == 0 {
			l.writing = false
			l.wmu.Unlock()
			if err != nil {
				l.fail(err)
			}
			return
		}
		if rounds--; rounds == 0 {
			l.wmu.Unlock()
			l.flushLater()
			return
		}
	}
}

func (l *link) writeBatch(out []byte) error {
	l.bytesOut.Add(uint64(len(out)))
	if l.batched == nil {
		return writePatiently(l.conn, out, l.deadAfter)
	}
	l.batched.cork(len(out))
	_, err := l.conn.Write(out) // into the batch
	return errors.Join(err, l.batched.flush(l.deadAfter))
}

// wasHanded reports whether any byte from offset on was handed to the connection.
func (l *link) wasHanded(offset int64) bool {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return offset < l.handed
}

// fail ends the link with its first error: the connection is closed and every stream ends.
func (l *link) fail(err error) {
	l.wmu.Lock()
	if l.err != nil {
		l.wmu.Unlock()
		return
	}
	l.err = err
	l.failed.Store(true)
	close(l.ended)
	l.wcond.Broadcast()
	l.wmu.Unlock()
	closeNow(l.conn)

	l.smu.Lock()
	lost := make(map[uint32]*stream, len(l.streams))
	for id, s := range l.streams {
		lost[id] = s
	}
	l.smu.Unlock()
	for id, s := range lost {
		s.end(l, id, &streamReset{lost: true})
	}
}

// part ends the output in order, behind all that is pending, and waits for the other side to end the link. Closing at
// once would answer what the other side is still sending with a reset, and a reset costs it what it has not read yet.
func (l *link) part(ctx context.Context) {
	c, ok := l.conn.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	l.wmu.Lock()
	for l.writing && l.err == nil {
		l.wcond.Wait() // ends within deadAfter: the write under way has a deadline
	}
	l.parted = true
	l.wmu.Unlock()
	if c.CloseWrite() != nil {
		return
	}
	late := time.NewTimer(l.deadAfter)
	defer late.Stop()
	select {
	case <-l.ended:
	case <-late.C:
	case <-ctx.Done():
	}
}

// closeNow closes without TLS's farewell, which could block on a peer that does not read.
func closeNow(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

func (l *link) failure() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return l.err
}

// add registers a stream. It fails once the link ended.
func (l *link) add(id uint32, s *stream) error {
	l.smu.Lock()
	l.streams[id] = s
	l.smu.Unlock()
	if err := l.failure(); err != nil { // fail may have missed it
		l.remove(id)
		return err
	}
	return nil
}

func (l *link) remove(id uint32) {
	l.smu.Lock()
	delete(l.streams, id)
	if len(l.streams) == 0 {
		l.idle.Broadcast()
	}
	l.smu.Unlock()
}

func (l *link) find(id uint32) *stream {
	l.smu.Lock()
	defer l.smu.Unlock()
	return l.streams[id]
}

func (l *link) inFlight() int {
	l.smu.Lock()
	defer l.smu.Unlock()
	return len(l.streams)
}

// waitIdle waits until no stream is left, the link ended or ctx did.
func (l *link) waitIdle(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		l.smu.Lock()
		l.idle.Broadcast()
		l.smu.Unlock()
	})
	defer stop()
	l.smu.Lock()
	defer l.smu.Unlock()
	for len(l.streams) > 0 && ctx.Err() == nil {
		l.idle.Wait()
	}
}

// readFrame reads the next frame; the payload is in a buffer that the caller gives back.
func (l *link) readFrame() (frameHeader, *buffer, error) {
	if _, err := io.ReadFull(l.br, l.raw[:]); err != nil {
		return frameHeader{}, nil, err
	}
	h, err := parseFrameHeader(&l.raw)
	if err != nil {
		return h, nil, err
	}
	buf := getBuffer(h.length)
	if _, err := io.ReadFull(l.br, buf.b); err != nil {
		putBuffer(buf)
		return h, nil, err
	}
	l.bytesIn.Add(uint64(frameHeaderBytes + h.length))
	return h, buf, nil
}

// serve reads frames until the link fails. handle owns each frame's buffer and returns an error to end the link.
// When serve returns, the link's goroutines are gone.
func (l *link) serve(ctx context.Context, handle func(frameHeader, *buffer) error) error {
	stop := context.AfterFunc(ctx, func() { l.fail(ctx.Err()) })
	defer stop()
	l.lastByte.Store(int64(l.now())) // the hello may have been long in coming
	var wg sync.WaitGroup
	wg.Go(l.keepAlive)
	for {
		h, buf, err := l.readFrame()
		if err == nil {
			err = l.dispatch(h, buf, handle)
		}
		if err != nil {
			l.fail(err)
			break
		}
	}
	wg.Wait()
	l.waitWriter()
	return l.failure()
}

// waitWriter waits for a batch that is still being written to the closed connection.
func (l *link) waitWriter() {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	for l.writing {
		l.wcond.Wait()
	}
}

// dispatch answers the frames that concern the link alone and leaves the others to handle.
func (l *link) dispatch(h frameHeader, buf *buffer, handle func(frameHeader, *buffer) error) error {
	switch h.typ {
	case framePing:
		defer putBuffer(buf)
		if h.length != 8 {
			return violation("ping of %d bytes", h.length)
		}
		return l.post(frameHeader{typ: framePong}, buf.b)
	case framePong:
		defer putBuffer(buf)
		if h.length != 8 {
			return violation("pong of %d bytes", h.length)
		}
		sent := time.Duration(binary.BigEndian.Uint64(buf.b))
		if rtt := l.now() - sent; sent > 0 && rtt > 0 {
			l.rtt.Store(int64(rtt))
		}
		return nil
	case frameWindow:
		defer putBuffer(buf)
		if h.length != 4 {
			return violation("window of %d bytes", h.length)
		}
		if s := l.find(h.stream); s != nil {
			return s.addCredit(l, h.stream, binary.BigEndian.Uint32(buf.b))
		}
		return nil
	}
	if h.typ >= frameOptional {
		putBuffer(buf)
		return nil
	}
	return handle(h, buf)
}

// keepAlive pings, and ends the link as soon as nothing was heard for deadAfter. Any byte counts as life. Time in which
// this process stood still itself does not count (a machine that was suspended, or had no time for it): what the other side said
// meanwhile still waits to be read.
func (l *link) keepAlive() {
	defer l.watchSilence()()
	due := time.NewTicker(l.pingEvery)
	defer due.Stop()
	if l.ping() != nil {
		return
	}
	for {
		asleep := l.now()
		select {
		case <-l.ended:
			return
		case <-due.C:
			l.forgive(l.now() - asleep)
			if l.ping() != nil {
				return
			}
		}
	}
}

// watchSilence ends the link when nothing was heard for deadAfter. It waits for nothing else: a ping can be held up for as
// long again by the very line that is dead.
func (l *link) watchSilence() (stop func()) {
	var mu sync.Mutex // guards the fields below
	var timer *time.Timer
	stopped := false
	wait, asleep := l.deadAfter, l.now()
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		l.forgive(l.now() - asleep - wait + l.pingEvery)
		if wait = l.deadAfter - (l.now() - time.Duration(l.lastByte.Load())); wait <= 0 {
			l.fail(errDead)
			return
		}
		asleep = l.now()
		timer.Reset(wait)
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(wait, look)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// forgive takes from the other side's silence what a wait that ends with the next ping at the latest took too long.
func (l *link) forgive(waited time.Duration) {
	if late := waited - l.pingEvery; late > l.pingEvery {
		last := l.lastByte.Load()
		l.lastByte.CompareAndSwap(last, min(int64(l.now()), last+int64(late))) // unless something came just now
	}
}

func (l *link) now() time.Duration { return time.Since(l.since) }

// ping asks the other side for a sign of life, which says when it was asked.
func (l *link) ping() error {
	var now [8]byte
	binary.BigEndian.PutUint64(now[:], uint64(l.now()))
	_, err := l.write(frameHeader{typ: framePing}, now[:], nil, nil)
	return err
}

// deliver hands a frame with body or trailers to its stream. Frames of streams that ended here are dropped.
func (l *link) deliver(h frameHeader, b *buffer) error {
	c := chunk{typ: h.typ, buf: b, fin: h.fin}
	switch h.typ {
	case frameData:
		if len(b.b) > maxDataBytes {
			putBuffer(b)
			return violation("data frame of %d bytes", h.length)
		}
		c.body = b.b
	case frameTrailers:
		if len(b.b) > maxHeadBytes || !h.fin {
			putBuffer(b)
			return violation("trailers of %d bytes", h.length)
		}
		c.head = b.b
	case frameInform:
		if len(b.b) > maxHeadBytes || h.fin {
			putBuffer(b)
			return violation("1xx head of %d bytes", h.length)
		}
		c.head = b.b
	case frameMove:
		if len(b.b) != 4 || h.fin {
			putBuffer(b)
			return violation("move of %d bytes", h.length)
		}
		c.head = b.b
	case frameAnswer:
		var err error
		if c.head, c.body, err = splitAnswer(b.b); err != nil {
			putBuffer(b)
			return err
		}
	}
	return l.hand(h, c)
}

func (l *link) hand(h frameHeader, c chunk) error {
	l.smu.Lock()
	s, known := l.streams[h.stream], h.stream != 0 && h.stream <= l.lastID
	l.smu.Unlock()
	if s == nil {
		putBuffer(c.buf)
		if !known {
			return violation("frame of type %d for stream %d, which was never opened", h.typ, h.stream)
		}
		return nil
	}
	return s.receive(l, h.stream, c)
}

// deliverReset ends a stream that the peer gave up.
func (l *link) deliverReset(h frameHeader, b *buffer) error {
	defer putBuffer(b)
	if len(b.b) != 3 || b.b[2] > byte(Final) {
		return violation("reset of %d bytes", len(b.b))
	}
	if s := l.find(h.stream); s != nil {
		s.end(l, h.stream, &streamReset{code: causeway.Code(binary.BigEndian.Uint16(b.b)), delivery: Delivery(b.b[2])})
	}
	return nil
}
