package http1

import (
	"bytes"
	"errors"
	"io"

	"github.com/causeway-gateway/causeway"
)

// A Reader reads messages from one connection. It holds no buffer while it waits for the first byte of a message
// and none after Release, so an idle connection costs its struct alone. Bytes that came with a message and belong
// to the next one are kept. It sets no deadlines: the caller does, around Wait and the read of head and body.
// A Reader is for one goroutine at a time.
type Reader struct {
	src io.Reader

	// buf[start:end] was read and not yet used.
	buf        *[]byte
	start, end int
	// held is where in buf the head ends that the caller may still look at; bytes before it stay untouched.
	held int
	// pinned is the buffer of the head when the body needed another one.
	pinned *[]byte

	first [1]byte // Wait reads into it
	body  BodyReader
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{src: r} }

// Reset makes rd read from r as if it were new. What it held is released.
func (rd *Reader) Reset(r io.Reader) {
	rd.start, rd.end = 0, 0
	rd.Release()
	rd.src = r
}

// Buffered returns how many bytes were read and not yet used.
func (rd *Reader) Buffered() int { return rd.end - rd.start }

// Release says that head and body of the last message are no longer looked at. The buffers go back unless bytes
// of the next message are in them.
func (rd *Reader) Release() {
	rd.held = 0
	rd.body = BodyReader{err: errReleased}
	if rd.pinned != nil {
		giveBuffer(rd.pinned)
		rd.pinned = nil
	}
	if rd.buf != nil && rd.start == rd.end {
		giveBuffer(rd.buf)
		rd.buf, rd.start, rd.end = nil, 0, 0
	}
}

// Wait blocks until a byte of the next message is there, without holding a buffer until then. It releases the last
// message. The error is that of the connection, io.EOF if it ended between messages.
func (rd *Reader) Wait() error {
	rd.Release()
	return rd.Watch()
}

// Watch blocks until a byte behind the last message is there, as Wait does, while head and body of that message
// stay valid: so a gateway learns that the device is gone before it was answered. It may run on a goroutine of its
// own while nobody else uses the Reader, once the body was read. A deadline of the connection ends it without loss.
func (rd *Reader) Watch() error {
	if rd.start < rd.end {
		return nil
	}
	for range maxEmptyReads {
		n, err := rd.src.Read(rd.first[:])
		if n > 0 {
			rd.makeRoom(1)
			(*rd.buf)[rd.end] = rd.first[0]
			rd.end++
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

const maxEmptyReads = 100

var errReleased = errors.New("http1: body read after its message was released")

// ReadHead reads a head of at most maxBytes, up to and including the empty line. It is valid until the next
// ReadHead, Wait or Release. The error is io.EOF if the connection ended before the first byte, io.ErrUnexpectedEOF
// if it ended inside the head, a *causeway.Refusal if a bare LF shows that this head will never be good or it is too
// long, else that of the connection.
func (rd *Reader) ReadHead(maxBytes int) ([]byte, error) {
	return rd.readHead(maxBytes, nil)
}

// ReadRequest reads and parses a request head. Errors are those of ReadHead and Request.Parse. A request line that
// cannot become a request is refused at once, without waiting for the rest of the head.
func (rd *Reader) ReadRequest(r *Request, lim Limits) error {
	lim = lim.forRequest()
	head, err := rd.readHead(lim.MaxHeadBytes, func(sofar []byte) (bool, error) { return checkStart(sofar, lim) })
	if err != nil {
		return err
	}
	return r.Parse(head, lim)
}

// ReadResponse reads and parses one answer head, which may be a 1xx. Errors are those of ReadHead and Response.Parse.
func (rd *Reader) ReadResponse(r *Response, requestMethod []byte, lim Limits) error {
	lim = lim.forResponse()
	head, err := rd.readHead(lim.MaxHeadBytes, nil)
	if refusal, ok := errors.AsType[*causeway.Refusal](err); ok {
		refusal.Code = causeway.CodeConnectorBadAnswer
	}
	if err != nil {
		return err
	}
	return r.Parse(head, requestMethod, lim)
}

// readHead shows the beginning of an unfinished head to check until that says that it has seen enough.
func (rd *Reader) readHead(maxBytes int, check func(sofar []byte) (done bool, err error)) ([]byte, error) {
	if err := rd.Wait(); err != nil {
		return nil, err
	}
	seen := 0 // bytes of the head already searched
	for {
		sofar := (*rd.buf)[rd.start:rd.end]
		end := HeadEnd(sofar, seen)
		if end > maxBytes {
			return nil, tooLong(maxBytes)
		}
		if end >= 0 {
			rd.start += end
			rd.held = rd.start
			return sofar[:end:end], nil
		}
		if i := bareLF(sofar, seen); i >= 0 {
			return nil, bad("bare LF ends the line at byte %d", i)
		}
		if check != nil {
			done, err := check(sofar)
			if err != nil {
				return nil, err
			}
			if done {
				check = nil
			}
		}
		if len(sofar) >= maxBytes {
			return nil, tooLong(maxBytes)
		}
		seen = len(sofar)
		if err := rd.fillHead(maxBytes); err != nil {
			return nil, err
		}
	}
}

func tooLong(maxBytes int) error {
	return causeway.Refuse(causeway.CodeHeadersTooLarge, "head of more than %d bytes", maxBytes)
}

// bareLF returns the index of the first LF at or behind from that has no CR before it, or -1.
func bareLF(b []byte, from int) int {
	for i := from; ; i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		if i += n; i == 0 || b[i-1] != '\r' {
			return i
		}
	}
}

// fillHead reads more of a head, in a larger buffer if need be.
func (rd *Reader) fillHead(maxBytes int) error {
	if rd.end == len(*rd.buf) {
		have := rd.end - rd.start
		to := rd.buf
		if rd.start == 0 {
			to = takeBuffer(min(2*have, maxBytes))
		}
		copy(*to, (*rd.buf)[rd.start:rd.end])
		if to != rd.buf {
			giveBuffer(rd.buf)
			rd.buf = to
		}
		rd.start, rd.end = 0, have
	}
	return unexpected(rd.fill())
}

// fill reads once into the free end of buf.
func (rd *Reader) fill() error {
	for range maxEmptyReads {
		n, err := rd.src.Read((*rd.buf)[rd.end:])
		rd.end += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read reads what follows the head as it is, for connections that switched protocols: first what was read ahead.
func (rd *Reader) Read(p []byte) (int, error) {
	if rd.start < rd.end {
		n := copy(p, (*rd.buf)[rd.start:rd.end])
		rd.start += n
		return n, nil
	}
	return rd.src.Read(p)
}
