package http1

import (
	"bytes"
	"errors"
	"io"

	"github.com/causeway-gateway/causeway"
)

// The bounds of what a chunked body may carry beside its data.
const (
	maxChunkLineBytes = 256      // one size with its extensions
	maxChunkExtra     = 16 << 10 // all extensions of a body together
	maxTrailerBytes   = 8 << 10
	maxTrailers       = 32
)

// A BodyReader reads one message body and never reports a short one as complete: Read returns io.EOF only after the
// last byte of a length, the last chunk with its trailers, or the end of a connection that frames the body by it.
// It is valid until the next ReadHead, Wait or Release of its Reader.
type BodyReader struct {
	rd    *Reader
	kind  bodyKind
	left  int64 // of the length or of the chunk
	limit int64 // data bytes that may still come; negative: no limit
	err   error // sticky, io.EOF at the end

	inChunks bool // a chunk was read, so its line end comes before the next size
	extra    int  // extension bytes so far
	trailers []byte
}

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyUntilClose
)

// ErrBodyTooLarge is what a body above the given limit ends with: a *causeway.Refusal with CodeBodyTooLarge.
var ErrBodyTooLarge error = causeway.Refuse(causeway.CodeBodyTooLarge, "the body is above the limit")

// Body returns the reader for the body of the message whose head was read last. bodyBytes and chunked are those of
// the parsed head; -1 without chunked reads until the connection ends. limit bounds the data, 0 sets none.
func (rd *Reader) Body(bodyBytes int64, chunked bool, limit int64) *BodyReader {
	b := &rd.body
	*b = BodyReader{rd: rd, left: bodyBytes, limit: limit}
	if limit <= 0 {
		b.limit = -1
	}
	switch {
	case chunked:
		b.kind, b.left = bodyChunked, 0
	case bodyBytes > 0:
		b.kind = bodyLength
		if limit > 0 && bodyBytes > limit {
			b.err = ErrBodyTooLarge
		}
	case bodyBytes < 0:
		b.kind = bodyUntilClose
	default:
		b.err = io.EOF
	}
	return b
}

// Done reports whether the whole body was read, trailers included, so that the connection can go on.
func (b *BodyReader) Done() bool { return b.err == io.EOF && b.kind != bodyUntilClose }

// Read reads body data. Malformed chunks are a *causeway.Refusal with CodeBadRequest, a body that ends early is
// io.ErrUnexpectedEOF. Errors are final.
func (b *BodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.kind == bodyChunked && b.left == 0 {
		if b.err = b.nextChunk(); b.err != nil {
			return 0, b.err
		}
	}
	if b.kind != bodyUntilClose && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.rd.Read(p)
	if b.limit >= 0 && int64(n) > b.limit {
		b.err = ErrBodyTooLarge
		return 0, b.err
	}
	if b.limit >= 0 {
		b.limit -= int64(n)
	}
	b.left -= int64(n)
	b.err = b.after(err)
	return n, b.err
}

// after turns the connection's error into the body's.
func (b *BodyReader) after(err error) error {
	switch {
	case b.kind == bodyUntilClose:
		return err
	case b.kind == bodyLength && b.left == 0:
		return io.EOF // an error of the connection shows when the next message is read
	default:
		return unexpected(err)
	}
}

// nextChunk reads up to the data of the next chunk; io.EOF after the last one and its trailers.
func (b *BodyReader) nextChunk() error {
	if b.inChunks {
		line, err := b.readLine(2)
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return bad("chunk longer than its size")
		}
	}
	line, err := b.readLine(maxChunkLineBytes)
	if err != nil {
		return err
	}
	size, extension, ok := parseChunkLine(line)
	if !ok {
		return bad("chunk size line %.64q", line)
	}
	if b.extra += extension; b.extra > maxChunkExtra {
		return bad("more than %d bytes of chunk extensions", maxChunkExtra)
	}
	if size == 0 {
		return b.readTrailers()
	}
	b.left, b.inChunks = size, true
	if b.limit >= 0 && size > b.limit {
		return ErrBodyTooLarge
	}
	return nil
}

// parseChunkLine reads hexadecimal digits, at most 16, and checks what follows them.
func parseChunkLine(line []byte) (size int64, extension int, ok bool) {
	i := 0
	for i < len(line) && classes[line[i]]&isHex != 0 {
		if i == 16 || size>>(63-4) != 0 {
			return 0, 0, false
		}
		size = size<<4 | int64(unhex(line[i]))
		i++
	}
	if i == 0 {
		return 0, 0, false
	}
	rest := line[i:]
	// An extension must say so: white space alone in front of the line end is a known way to be read in two ways.
	return size, len(rest), len(rest) == 0 || rest[0] == ';' && all(rest, isValue)
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

func (b *BodyReader) readTrailers() error {
	total, count := 0, 0
	for {
		line, err := b.readLine(maxTrailerBytes - total)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
		total += len(line) + 2
		if count++; count > maxTrailers {
			return bad("more than %d trailers", maxTrailers)
		}
		f, refusal := parseField(line, line)
		if refusal != nil {
			return refusal
		}
		if !DroppedTrailer(f.Name) {
			b.trailers = append(append(b.trailers, line...), crlf...)
		}
	}
}

// Trailers returns the fields that came behind the body and may travel on. It is complete after io.EOF.
func (b *BodyReader) Trailers() []Field {
	var fields []Field
	for rest := b.trailers; len(rest) > 0; {
		line, next, refusal := cutLine(rest)
		if refusal != nil {
			break
		}
		if f, refusal := parseField(line, rest[:len(line)+2]); refusal == nil {
			fields = append(fields, f)
		}
		rest = next
	}
	return fields
}

// AppendTrailers appends the lines of Trailers.
func (b *BodyReader) AppendTrailers(dst []byte) []byte { return append(dst, b.trailers...) }

// Discard reads and drops the rest of the body, at most maxBytes of it, so that the connection can be used again.
// It reports whether the whole body was read. It blocks like Read.
func (b *BodyReader) Discard(maxBytes int64) bool {
	if b.err != nil || b.kind == bodyLength && b.left > maxBytes {
		return b.Done()
	}
	scratch := takeBuffer(1)
	defer giveBuffer(scratch)
	for b.err == nil && maxBytes >= 0 {
		n, _ := b.Read(*scratch)
		maxBytes -= int64(n)
	}
	return b.Done()
}

var errLineTooLong = errors.New("line too long")

// readLine reads a line of at most limit bytes with its CR LF, and returns it without. It is valid until the next read.
func (b *BodyReader) readLine(limit int) ([]byte, error) {
	rd := b.rd
	searched := 0
	for {
		if rd.start < rd.end {
			sofar := (*rd.buf)[rd.start:rd.end]
			if i := bytes.IndexByte(sofar[searched:], '\n'); i >= 0 && searched+i < limit {
				i += searched
				if i == 0 || sofar[i-1] != '\r' {
					return nil, bad("bare LF in a chunked body")
				}
				rd.start += i + 1
				return sofar[:i-1], nil
			}
			if searched = len(sofar); searched >= limit {
				return nil, &causeway.Refusal{Code: causeway.CodeBadRequest, Reason: "chunked body", Err: errLineTooLong}
			}
		}
		rd.makeRoom(limit)
		if err := rd.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
}

// makeRoom makes room for a line of n bytes behind what is buffered, without touching the head.
func (rd *Reader) makeRoom(n int) {
	have := rd.end - rd.start
	switch {
	case rd.buf == nil:
		rd.buf, rd.start, rd.end, rd.held = takeBuffer(n), 0, 0, 0
	case have == 0 && len(*rd.buf)-rd.held >= n:
		rd.start, rd.end = rd.held, rd.held
	case len(*rd.buf)-rd.start >= n:
	case len(*rd.buf)-rd.held >= n:
		copy((*rd.buf)[rd.held:], (*rd.buf)[rd.start:rd.end])
		rd.start, rd.end = rd.held, rd.held+have
	default:
		old := rd.buf
		rd.buf = takeBuffer(n)
		copy(*rd.buf, (*old)[rd.start:rd.end])
		rd.start, rd.end = 0, have
		if rd.held > 0 && rd.pinned == nil {
			rd.pinned = old
		} else {
			giveBuffer(old)
		}
		rd.held = 0
	}
}
