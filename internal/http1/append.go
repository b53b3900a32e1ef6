package http1

import (
	"strconv"

	"github.com/causeway-gateway/causeway"
)

// AppendRequestHead appends the request line and the Host field, both generated. Field lines and AppendEnd follow.
// An error is a *causeway.Refusal and says that what was given cannot stand in a request line; dst is then unchanged.
// The target must have origin form.
func AppendRequestHead[T ~string | ~[]byte](dst []byte, method, target, host T) ([]byte, error) {
	b := append(dst, method...)
	m := b[len(dst):]
	b = append(append(b, ' '), target...)
	t := b[len(b)-len(target):]
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	h := b[len(b)-len(host):]
	// What is judged is the copies, which no longer care what the originals were.
	if !IsToken(m) {
		return dst, bad("method %.64q", m)
	}
	if r := checkTarget(t); r != nil {
		return dst, r
	}
	if r := checkHost(h); r != nil {
		return dst, r
	}
	return append(b, crlf...), nil
}

const crlf = "\r\n"

// AppendStatusLine appends the status line. A reason that could break the line is left out.
func AppendStatusLine(dst []byte, status int, reason []byte) []byte {
	if status < 100 || status > 599 {
		status, reason = causeway.CodeInternalError.Status(), nil
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if IsFieldValue(reason) {
		dst = append(dst, reason...)
	}
	return append(dst, crlf...)
}

// AppendField appends a field line. A value can never end its line: bytes that may not stand in one become spaces.
// A name that is no token is left out with its value.
func AppendField[N, V ~string | ~[]byte](dst []byte, name N, value V) []byte {
	if !IsToken(name) {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	at := len(dst)
	dst = append(dst, value...)
	for i := at; i < len(dst); i++ {
		if classes[dst[i]]&isValue == 0 {
			dst[i] = ' '
		}
	}
	return append(dst, crlf...)
}

// AppendContentLength appends a Content-Length field.
func AppendContentLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, crlf...)
}

// AppendChunkedEncoding appends "Transfer-Encoding: chunked".
func AppendChunkedEncoding(dst []byte) []byte {
	return append(dst, "Transfer-Encoding: chunked\r\n"...)
}

// AppendEnd appends the empty line that ends a head.
func AppendEnd(dst []byte) []byte { return append(dst, crlf...) }

// AppendInward appends the lines of all fields that may travel inward, as they came.
func AppendInward(dst []byte, r *Request) []byte {
	for i := range r.Fields {
		if r.Inward(&r.Fields[i]) {
			dst = append(dst, r.Fields[i].Line...)
		}
	}
	return dst
}

// AppendOutward appends the lines of all fields that may travel outward, as they came.
func AppendOutward(dst []byte, r *Response) []byte {
	for i := range r.Fields {
		if r.Outward(&r.Fields[i]) {
			dst = append(dst, r.Fields[i].Line...)
		}
	}
	return dst
}

// AppendChunk appends p as one chunk. An empty p appends nothing, because an empty chunk would end the body.
func AppendChunk(dst, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	dst = AppendChunkStart(dst, len(p))
	dst = append(dst, p...)
	return append(dst, crlf...)
}

// AppendChunkStart appends the line in front of a chunk of n bytes, for callers that write the chunk itself without
// copying it. CR LF must follow the chunk. n must not be 0.
func AppendChunkStart(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, crlf...)
}

// AppendLastChunk appends the end of a chunked body. Trailers are complete field lines as BodyReader.AppendTrailers
// makes them; lines that are malformed or may not be trailers are left out.
func AppendLastChunk(dst, trailers []byte) []byte {
	dst = append(dst, "0\r\n"...)
	dst = appendTrailerLines(dst, trailers)
	return append(dst, crlf...)
}

// appendTrailerLines copies the lines that may stand behind a body.
func appendTrailerLines(dst, lines []byte) []byte {
	for len(lines) > 0 {
		line, rest, refusal := cutLine(lines)
		if refusal != nil || len(line) == 0 {
			return dst
		}
		if f, refusal := parseField(line, lines[:len(line)+2]); refusal == nil && !DroppedTrailer(f.Name) {
			dst = append(dst, f.Line...)
		}
		lines = rest
	}
	return dst
}
