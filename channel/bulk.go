package channel

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway/internal/window"
)

const (
	// bulkAfter is how many body bytes of one direction pass over the request plane before it moves to a bulk
	// connection: small bodies never pay for one, and large ones hardly notice.
	bulkAfter = 256 << 10
	// maxBulkBytes is the most body that one frame on a bulk connection carries. Nobody waits behind it.
	maxBulkBytes = 128 << 10
	// maxBulkConns bounds the bulk connections of one channel set.
	maxBulkConns = 32
	// bulkMemoryBytes is what a bulk connection in use holds in the process besides the kernel's buffers, as the
	// memory budget counts it: a frame, the buffer it is written in, what was read ahead, and TLS's record.
	bulkMemoryBytes = 384 << 10
	// bulkPatience is how long a write may stand still before the connection is given up: longer than any device or
	// server may pause. Whoever is tired of waiting earlier ends the stream, and that ends the write.
	bulkPatience = 20 * time.Minute
	// freePatience is how long the gateway may take with what is on its way when everything was sent: some MiB in the
	// kernels of both sides, for a device that reads slower than a kilobyte a second.
	freePatience = time.Hour
	// bulkUse is how many bytes over a bulk connection say that it was of use, and soonEnded within what time one that was
	// not counts as a dial that failed: idle ones end with their instance.
	bulkUse   = 64 << 10
	soonEnded = 10 * time.Second
)

// ErrBulkEnded is how Serve says that a bulk connection ended in a usual way: with its stream, which a device may end at any
// time, or unused. If the channel itself is broken, its request connections say so.
var ErrBulkEnded = errors.New("bulk connection ended")

var errUnused = errors.New("not used any more")

// A bulkConn is one bulk connection, as both sides see it: it carries large bodies, one stream at a time and in both
// directions, without credit. TCP holds the sender back when the reader does not keep up; nobody shares the
// connection, so nobody else waits.
//
// Reading has one owner at a time. While no stream reads, watch does: it takes pings, notices the end, and at the
// connection point learns that the gateway has done with a stream. The first body frame makes it hand reading over to
// the stream, which hands it back after its last.
type bulkConn struct {
	// Fixed at construction.
	number    uint32
	from      *link // that said hello; not served
	hello     Hello // gateway: what it was admitted with
	conn      net.Conn
	batched   *batchedConn // nil when conn is not a TLS connection over Batched
	budget    *budget
	pingEvery time.Duration
	deadAfter time.Duration
	looks     int              // in how many parts deadAfter passes
	since     time.Time        // welcomed
	ended     chan struct{}    // closed by fail
	turn      chan frameHeader // watch to a stream: read on, this is the header you find yourself behind
	back      chan struct{}    // a stream to watch
	free      chan struct{}    // connection point: the gateway has done with the stream; room for one signal
	bytesIn   atomic.Uint64
	bytesOut  atomic.Uint64

	// Owned by whoever reads.
	br     *bufio.Reader
	raw    [frameHeaderBytes]byte
	window window.Window

	wmu    sync.Mutex // guards the fields below
	header [frameHeaderBytes]byte
	spoke  bool // something was written since the last look

	smu sync.Mutex // guards the fields below
	err error
	// stream that the connection is lent to, on link; nil while idle.
	link   *link
	stream uint32

	gone bool // guarded by Bulk.mu: counted out
}

// bulkReadAhead is for frame headers. Bodies are read past it, in pieces of TLS records.
const bulkReadAhead = 4 << 10

func newBulkConn(l *link, number uint32) *bulkConn {
	b := &bulkConn{
		number: number, from: l, conn: l.conn, batched: l.batched, budget: l.budget, pingEvery: l.pingEvery, deadAfter: l.deadAfter,
		looks: looksOf(l.conn), since: time.Now(),
		ended: make(chan struct{}), turn: make(chan frameHeader), back: make(chan struct{}, 1), free: make(chan struct{}, 1),
	}
	b.br = bufio.NewReaderSize(aliveReader{b}, bulkReadAhead)
	b.window = boundSocket(l.conn)
	return b
}

// aliveReader reads with the deadline by which at least a ping must have come.
type aliveReader struct{ b *bulkConn }

func (r aliveReader) Read(p []byte) (int, error) {
	for idle := 1; ; idle++ {
		if err := r.b.conn.SetReadDeadline(time.Now().Add(r.b.deadAfter / time.Duration(r.b.looks))); err != nil {
			return 0, err
		}
		n, err := r.b.conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || idle >= r.b.looks {
			r.b.bytesIn.Add(uint64(n))
			r.b.window.Took(n)
			return n, err
		}
	}
}

// lend gives the connection to stream id of l.
func (b *bulkConn) lend(l *link, id uint32) error {
	b.smu.Lock()
	defer b.smu.Unlock()
	switch {
	case b.err != nil:
		return ErrBulkEnded
	case b.link != nil:
		return violation("bulk connection %d is used by stream %d", b.number, b.stream)
	}
	drain(b.free)
	b.link, b.stream = l, id
	b.budget.add(bulkMemoryBytes)
	return nil
}

// unlend takes the connection back.
func (b *bulkConn) unlend() {
	b.smu.Lock()
	defer b.smu.Unlock()
	if b.link != nil {
		b.link, b.stream = nil, 0
		b.budget.add(-bulkMemoryBytes)
	}
}

// lent reports whether a stream uses the connection.
func (b *bulkConn) lent() bool {
	b.smu.Lock()
	defer b.smu.Unlock()
	return b.link != nil
}

// fail ends the connection with its first error.
func (b *bulkConn) fail(err error) {
	b.smu.Lock()
	if b.err == nil {
		b.err = err
		close(b.ended)
		closeNow(b.conn)
	}
	b.smu.Unlock()
}

// done tells the stream that uses the connection that the gateway has done with it. Only the stream gives the connection
// back, or its end could end another's.
func (b *bulkConn) done() {
	if !b.lent() {
		b.fail(violation("free of a bulk connection that no stream uses"))
		return
	}
	signal(b.free)
}

// useless reports whether the connection ended soon, by itself, and before it was of use.
func (b *bulkConn) useless() bool {
	err := b.failure()
	return err != nil && !errors.Is(err, errUnused) && time.Since(b.since) < soonEnded && b.bytesIn.Load()+b.bytesOut.Load() < bulkUse
}

// Interrupt ends the connection because the stream that uses it ended.
func (b *bulkConn) Interrupt() { b.fail(errUnused) }

func (b *bulkConn) failure() error {
	b.smu.Lock()
	defer b.smu.Unlock()
	return b.err
}

// run watches and pings until the connection fails or ctx ends. freed is called when the gateway says that it has
// done with a stream; nil at the gateway, which is told nothing of the kind. When run returns, its goroutines are gone.
func (b *bulkConn) run(ctx context.Context, freed func()) error {
	stop := context.AfterFunc(ctx, func() { b.fail(ctx.Err()) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(b.ping)
	b.fail(b.watch(freed))
	wg.Wait()
	b.unlend()
	return b.failure()
}

// watch reads while no stream does. It returns what ended the connection.
func (b *bulkConn) watch(freed func()) error {
	for {
		h, err := b.readHeader()
		switch {
		case err != nil:
			return err
		case h.typ == frameFree && h.length == 0 && freed != nil:
			freed()
		case h.typ == frameData || h.typ == frameTrailers:
			if !b.handOver(h) {
				return ErrBulkEnded
			}
		default:
			return violation("frame of type %d, %d bytes, on an idle bulk connection", h.typ, h.length)
		}
	}
}

// handOver lets a stream read, and waits until it is done. It reports false when the connection ended.
func (b *bulkConn) handOver(h frameHeader) bool {
	select {
	case b.turn <- h:
	case <-b.ended:
		return false
	}
	select {
	case <-b.back:
		return true
	case <-b.ended:
		return false
	}
}

// readHeader reads the next frame's header, and past pings and what a later version may have in between.
func (b *bulkConn) readHeader() (frameHeader, error) {
	for {
		if _, err := io.ReadFull(b.br, b.raw[:]); err != nil {
			return frameHeader{}, err
		}
		h, err := parseFrameHeader(&b.raw)
		if err != nil {
			return h, err
		}
		switch {
		case h.typ == framePing && h.length == 0:
		case h.typ >= frameOptional:
			if _, err := b.br.Discard(h.length); err != nil {
				return h, err
			}
		default:
			return h, nil
		}
	}
}

// ping says every pingEvery that this side lives, unless what it sends says so.
func (b *bulkConn) ping() {
	t := time.NewTicker(b.pingEvery)
	defer t.Stop()
	for {
		select {
		case <-b.ended:
			return
		case <-t.C:
		}
		if !b.wmu.TryLock() {
			continue // somebody writes
		}
		err := error(nil)
		if !b.spoke {
			err = b.writeLocked(frameHeader{typ: framePing}, nil, bulkPatience)
		}
		b.spoke = false
		b.wmu.Unlock()
		if err != nil {
			b.fail(err)
			return
		}
	}
}

// send writes body bytes, or with fin their end.
func (b *bulkConn) send(stream uint32, p []byte, fin bool) error {
	for {
		n := min(len(p), maxBulkBytes)
		last := fin && n == len(p)
		if n > 0 || last {
			if err := b.write(frameHeader{stream: stream, typ: frameData, fin: last}, p[:n]); err != nil {
				return err
			}
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

func (b *bulkConn) write(h frameHeader, p []byte) error {
	b.wmu.Lock()
	err := b.writeLocked(h, p, bulkPatience)
	b.spoke = true
	b.wmu.Unlock()
	if err != nil {
		b.fail(err)
	}
	return err
}

// signal writes an empty frame that the other side has to take soon: it has no reason to be slow with it.
func (b *bulkConn) signal(h frameHeader) error {
	if !b.wmu.TryLock() { // somebody's ping stands still: it reads nothing
		b.fail(errUnused)
		return ErrBulkEnded
	}
	err := b.writeLocked(h, nil, b.deadAfter)
	b.wmu.Unlock()
	if err != nil {
		b.fail(err)
	}
	return err
}

func (b *bulkConn) writeLocked(h frameHeader, p []byte, patience time.Duration) error {
	h.length = len(p)
	b.bytesOut.Add(uint64(frameHeaderBytes + len(p)))
	header := appendFrameHeader(b.header[:0], h)
	if b.batched == nil {
		err := writePatiently(b.conn, header, patience)
		if err == nil && len(p) > 0 {
			err = writePatiently(b.conn, p, patience)
		}
		return err
	}
	b.batched.cork(len(p))
	_, err := b.conn.Write(header) // into the batch
	if err == nil && len(p) > 0 {
		_, err = b.conn.Write(p)
	}
	return errors.Join(err, b.batched.flush(patience))
}

// A bulkReader reads one direction of a stream from the bulk connection it moved to.
type bulkReader struct {
	b        *bulkConn
	stream   uint32
	mine     bool // reading the connection is this stream's
	left     int  // bytes of the current frame
	fin      bool // the current frame is the last
	trailers []byte
}

// Read reads body bytes, no further than to the end of a frame. It ends with io.EOF.
func (r *bulkReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.fin {
			r.giveBack()
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			r.b.fail(err)
			return 0, err
		}
	}
	n, err := r.b.br.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil {
		r.b.fail(err)
	}
	return n, err
}

// readFrame reads a whole frame's body into buf, which holds maxBulkBytes. last says that it was the last.
func (r *bulkReader) readFrame(buf []byte) (n int, last bool, err error) {
	if err = r.next(); err == nil {
		n, err = io.ReadFull(r.b.br, buf[:r.left])
	}
	if err != nil {
		r.b.fail(err)
		return 0, false, err
	}
	r.left = 0
	if r.fin {
		r.giveBack()
	}
	return n, r.fin, nil
}

// next goes on to the next frame. Trailers are the last, and are read whole.
func (r *bulkReader) next() error {
	h, err := r.header()
	switch {
	case err != nil:
		return err
	case h.stream != r.stream:
		return violation("bulk connection %d of stream %d brings stream %d", r.b.number, r.stream, h.stream)
	case h.typ == frameTrailers && h.fin && h.length <= maxHeadBytes:
		r.trailers, r.fin = make([]byte, h.length), true
		_, err := io.ReadFull(r.b.br, r.trailers)
		return err
	case h.typ != frameData || h.length > maxBulkBytes || h.length == 0 && !h.fin:
		return violation("frame of type %d, %d bytes, on a bulk connection", h.typ, h.length)
	}
	r.left, r.fin = h.length, h.fin
	return nil
}

func (r *bulkReader) header() (frameHeader, error) {
	if r.mine {
		return r.b.readHeader()
	}
	select {
	case h := <-r.b.turn:
		r.mine = true
		return h, nil
	case <-r.b.ended:
		return frameHeader{}, ErrBulkEnded
	}
}

// giveBack hands reading back once the direction is complete.
func (r *bulkReader) giveBack() {
	if r.mine {
		r.mine = false
		r.b.back <- struct{}{}
	}
}

// bulkBuffers hold one frame's body each.
var bulkBuffers = sync.Pool{New: func() any { return new([maxBulkBytes]byte) }}
