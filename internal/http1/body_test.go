package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/causeway-gateway/causeway"
)

// bodyOf returns the reader of a body that lies behind a head.
func bodyOf(t testing.TB, conn func(string) io.Reader, raw string, bodyBytes int64, chunked bool, limit int64) *BodyReader {
	t.Helper()
	rd := NewReader(conn(smallHead + raw))
	if _, err := rd.ReadHead(DefaultMaxHeadBytes); err != nil {
		t.Fatal(err)
	}
	return rd.Body(bodyBytes, chunked, limit)
}

func closedConn(raw string) io.Reader { return strings.NewReader(raw) }

func TestBodyNeverReportsAShortOneAsComplete(t *testing.T) {
	const chunks = "5;x\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\nZ: z\r\n\r\n"
	for n := range len(chunks) {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "data+EOF": iotest.DataErrReader} {
			b := bodyOf(t, func(s string) io.Reader { return wrap(strings.NewReader(s)) }, chunks[:n], -1, true, 0)
			got, err := io.ReadAll(b)
			if err != io.ErrUnexpectedEOF || b.Done() || !strings.HasPrefix("hello world", string(got)) {
				t.Errorf("%s: %q: got %q, %v, done %v", name, chunks[:n], got, err, b.Done())
			}
			if _, again := b.Read(make([]byte, 1)); again != err {
				t.Errorf("%s: %q: the error became %v", name, chunks[:n], again)
			}
		}
	}
	const text = "hello"
	for n := range len(text) {
		b := bodyOf(t, closedConn, text[:n], int64(len(text)), false, 0)
		if got, err := io.ReadAll(b); err != io.ErrUnexpectedEOF || string(got) != text[:n] || b.Done() {
			t.Errorf("length: %q: got %q, %v", text[:n], got, err)
		}
	}
}

func TestBodyUntilCloseEndsWithTheConnectionAlone(t *testing.T) {
	b := bodyOf(t, closedConn, "hello", -1, false, 0)
	if got, err := io.ReadAll(b); string(got) != "hello" || err != nil || b.Done() {
		t.Errorf("got %q, %v, done %v: such a connection cannot go on", got, err, b.Done())
	}
	b = bodyOf(t, openConn, "hello", -1, false, 0)
	if got, err := io.ReadAll(b); string(got) != "hello" || err != errSilent {
		t.Errorf("reset: got %q, %v", got, err)
	}
}

func TestBodyDoesNotWaitForBytesBehindIt(t *testing.T) {
	for name, b := range map[string]*BodyReader{
		"length":  bodyOf(t, openConn, "hello", 5, false, 0),
		"chunked": bodyOf(t, openConn, "5\r\nhello\r\n0\r\n\r\n", -1, true, 0),
		"none":    bodyOf(t, openConn, "", 0, false, 0),
	} {
		if _, err := io.ReadAll(b); err != nil || !b.Done() {
			t.Errorf("%s: got %v, done %v", name, err, b.Done())
		}
	}
}

func TestBodyKeepsItsLimit(t *testing.T) {
	for _, tt := range []struct {
		name      string
		raw       string
		bodyBytes int64
		chunked   bool
		limit     int64
		want      error
	}{
		{"length at the limit", "hello", 5, false, 5, nil},
		{"length above", "hello", 5, false, 4, ErrBodyTooLarge},
		{"chunks at the limit", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", -1, true, 5, nil},
		{"chunks above", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", -1, true, 4, ErrBodyTooLarge},
		{"one byte above", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", -1, true, 5, ErrBodyTooLarge},
		{"until close at the limit", "hello", -1, false, 5, nil},
		{"until close above", "hello", -1, false, 4, ErrBodyTooLarge},
	} {
		b := bodyOf(t, closedConn, tt.raw, tt.bodyBytes, tt.chunked, tt.limit)
		got, err := io.ReadAll(b)
		if err != tt.want || int64(len(got)) > tt.limit {
			t.Errorf("%s: got %q, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if causeway.CodeOf(ErrBodyTooLarge) != causeway.CodeBodyTooLarge {
		t.Error("ErrBodyTooLarge has another code")
	}
}

func TestBodyHoldsTheHeadInPlace(t *testing.T) {
	// Heads of many sizes, so that the body's lines fall on every place of the buffer.
	for size := 0; size < 9000; size += 97 {
		head := "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", size) + "\r\n\r\n"
		var raw []byte
		for i := range 40 {
			raw = AppendChunk(raw, bytes.Repeat([]byte{'b'}, i*50+1))
		}
		raw = AppendLastChunk(raw, []byte("X: "+strings.Repeat("t", 3000)+"\r\n"))
		for name, conn := range map[string]io.Reader{
			"whole": strings.NewReader(head + string(raw) + smallHead),
			"half":  iotest.HalfReader(strings.NewReader(head + string(raw) + smallHead)),
		} {
			rd, r := NewReader(conn), &Request{}
			if err := rd.ReadRequest(r, Limits{}); err != nil {
				t.Fatal(err)
			}
			b := rd.Body(-1, true, 0)
			body, err := io.ReadAll(b)
			if err != nil || len(body) != 40*39/2*50+40 || len(b.Trailers()) != 1 || string(r.Head) != head {
				t.Fatalf("%s, head of %d: %v, %d bytes, %d trailers, head intact: %v", name, len(head), err, len(body), len(b.Trailers()), string(r.Head) == head)
			}
			if err := rd.ReadRequest(r, Limits{}); err != nil || string(r.Head) != smallHead {
				t.Fatalf("%s, head of %d: the next request: %v", name, len(head), err)
			}
		}
	}
}

func TestBodyReaderIsOverWithItsMessage(t *testing.T) {
	rd := NewReader(strings.NewReader(smallHead + "hello" + smallHead))
	if _, err := rd.ReadHead(DefaultMaxHeadBytes); err != nil {
		t.Fatal(err)
	}
	b := rd.Body(5, false, 0)
	rd.Release()
	if n, err := b.Read(make([]byte, 5)); n != 0 || !errors.Is(err, errReleased) || b.Done() {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestDiscard(t *testing.T) {
	for _, tt := range []struct {
		name      string
		raw       string
		bodyBytes int64
		chunked   bool
		max       int64
		want      bool
	}{
		{"none", "", 0, false, 0, true},
		{"length", "hello", 5, false, 5, true},
		{"length above", "hello", 5, false, 4, false},
		{"chunked", "5\r\nhello\r\n0\r\n\r\n", -1, true, 100, true},
		{"chunked above", "5\r\nhello\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", -1, true, 4, false},
		{"broken", "x\r\n", -1, true, 100, false},
		{"short", "hel", 5, false, 100, false},
		{"until close", "hello", -1, false, 100, false},
	} {
		if got := bodyOf(t, closedConn, tt.raw, tt.bodyBytes, tt.chunked, 0).Discard(tt.max); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTrailersTravelOnAsLines(t *testing.T) {
	b := bodyOf(t, openConn, "0\r\nX-A:  1 \r\nHost: evil\r\nX-B: 2\r\n\r\n", -1, true, 0)
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	got := string(AppendLastChunk(nil, b.AppendTrailers(nil)))
	if want := "0\r\nX-A:  1 \r\nX-B: 2\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A long body passes in pieces that are as large as the caller's buffer and does not stay in memory.
func TestBodyReadsStraightIntoTheCallersBuffer(t *testing.T) {
	const size = 1 << 30
	rd := NewReader(io.MultiReader(strings.NewReader(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)), endless{}))
	r := &Request{}
	if err := rd.ReadRequest(r, Limits{}); err != nil {
		t.Fatal(err)
	}
	b, p, total, reads := rd.Body(r.BodyBytes, r.Chunked, 0), make([]byte, 1<<20), 0, 0
	for !b.Done() {
		n, err := b.Read(p)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		total += n
		reads++
	}
	if total != size || reads > size/len(p)+2 {
		t.Errorf("got %d bytes in %d reads", total, reads)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
