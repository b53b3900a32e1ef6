package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/causeway-gateway/causeway"
)

const smallHead = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

func TestReaderKeepsPipelinedRequests(t *testing.T) {
	var raw strings.Builder
	const n = 1000
	for i := range n {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&raw, "GET /%d HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n", i, strings.Repeat("p", i))
		case 1:
			fmt.Fprintf(&raw, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", i, i, strings.Repeat("b", i))
		case 2:
			fmt.Fprintf(&raw, "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1;x=y\r\nb\r\n0\r\nX: y\r\n\r\n", i, i-1, strings.Repeat("b", i-1))
		}
	}
	for name, conn := range map[string]io.Reader{
		"large reads": strings.NewReader(raw.String()),
		"half reads":  iotest.HalfReader(strings.NewReader(raw.String())),
		"bytes":       iotest.OneByteReader(strings.NewReader(raw.String())),
		"data+EOF":    iotest.DataErrReader(strings.NewReader(raw.String())),
	} {
		rd, r := NewReader(conn), &Request{}
		for i := range n {
			if err := rd.ReadRequest(r, Limits{}); err != nil {
				t.Fatalf("%s: request %d: %v", name, i, err)
			}
			head := bytes.Clone(r.Head)
			b := rd.Body(r.BodyBytes, r.Chunked, 0)
			body, err := io.ReadAll(b)
			if want := i * min(1, i%3); err != nil || len(body) != want || string(r.Target) != fmt.Sprintf("/%d", i) {
				t.Fatalf("%s: request %d: got %s with %d bytes, %v, want %d", name, i, r.Target, len(body), err, want)
			}
			if !bytes.Equal(head, r.Head) {
				t.Fatalf("%s: request %d: reading the body changed the head", name, i)
			}
		}
		if err := rd.ReadRequest(r, Limits{}); err != io.EOF {
			t.Errorf("%s: at the end: got %v", name, err)
		}
	}
}

func TestReaderHoldsNoBufferWhileIdle(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	rd, r := NewReader(server), &Request{}
	for range 2 {
		go io.WriteString(client, smallHead)
		if err := rd.ReadRequest(r, Limits{}); err != nil {
			t.Fatal(err)
		}
		rd.Release()
		if rd.buf != nil || rd.pinned != nil {
			t.Error("buffer held after Release")
		}
	}
	server.SetReadDeadline(time.Now().Add(-1))
	if err := rd.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) || rd.buf != nil {
		t.Errorf("Wait: got %v, buffer held: %v", err, rd.buf != nil)
	}
	server.SetReadDeadline(time.Time{})
	go io.WriteString(client, smallHead)
	if err := rd.ReadRequest(r, Limits{}); err != nil {
		t.Errorf("after a deadline: %v", err)
	}
}

func TestReaderWatchesWithoutTouchingTheHead(t *testing.T) {
	client, server := net.Pipe()
	rd, r := NewReader(server), &Request{}
	go io.WriteString(client, smallHead)
	if err := rd.ReadRequest(r, Limits{}); err != nil {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Now().Add(-1))
	if err := rd.Watch(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	server.SetReadDeadline(time.Time{})
	go func() { io.WriteString(client, smallHead[:1]); io.WriteString(client, smallHead[1:]); client.Close() }()
	if err := rd.Watch(); err != nil || string(r.Head) != smallHead {
		t.Fatalf("got %v, head %q", err, r.Head)
	}
	if err := rd.ReadRequest(r, Limits{}); err != nil || string(r.Head) != smallHead {
		t.Fatalf("next: got %v, head %q", err, r.Head)
	}
	if err := rd.Watch(); err != io.EOF {
		t.Errorf("device gone: got %v", err)
	}
}

func TestReaderTellsHowAConnectionEnded(t *testing.T) {
	reset := errors.New("reset")
	for _, tt := range []struct {
		name string
		conn io.Reader
		want error
	}{
		{"between requests", strings.NewReader(""), io.EOF},
		{"after a byte", strings.NewReader("G"), io.ErrUnexpectedEOF},
		{"inside a head", strings.NewReader(smallHead[:20]), io.ErrUnexpectedEOF},
		{"before the last byte", strings.NewReader(smallHead[:len(smallHead)-1]), io.ErrUnexpectedEOF},
		{"reset between requests", iotest.ErrReader(reset), reset},
		{"reset inside a head", io.MultiReader(strings.NewReader("GET"), iotest.ErrReader(reset)), reset},
		{"reads nothing for ever", readerFunc(func([]byte) (int, error) { return 0, nil }), io.ErrNoProgress},
	} {
		if err := NewReader(tt.conn).ReadRequest(&Request{}, Limits{}); err != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderTakesHeadsUpToTheLimit(t *testing.T) {
	for _, most := range []int{100, DefaultMaxHeadBytes, DefaultMaxAnswerHeadBytes, 200 << 10} {
		fill := strings.Repeat("a", most-len("X: \r\n\r\n"))
		head := "X: " + fill + "\r\n\r\n"
		for _, one := range []bool{false, true} {
			conn := openConn(head + smallHead)
			if one && most <= DefaultMaxHeadBytes {
				conn = iotest.OneByteReader(conn)
			}
			rd := NewReader(conn)
			if got, err := rd.ReadHead(most); err != nil || string(got) != head {
				t.Errorf("%d bytes: %v", most, err)
			}
			if got, err := rd.ReadHead(most); err != nil || string(got) != smallHead {
				t.Errorf("the head behind %d bytes: %q, %v", most, got, err)
			}
			if _, err := NewReader(openConn("X" + head)).ReadHead(most); causeway.CodeOf(err) != causeway.CodeHeadersTooLarge {
				t.Errorf("%d bytes and one: %v", most, err)
			}
		}
	}
}

func TestReaderReadsOnAfterAnUpgrade(t *testing.T) {
	rd := NewReader(strings.NewReader(smallHead + "frames\n and more"))
	if _, err := rd.ReadHead(DefaultMaxHeadBytes); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(rd); string(b) != "frames\n and more" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestReaderResetForgetsTheConnection(t *testing.T) {
	rd := NewReader(strings.NewReader(smallHead + "secret of the first connection"))
	if _, err := rd.ReadHead(DefaultMaxHeadBytes); err != nil {
		t.Fatal(err)
	}
	rd.Reset(strings.NewReader(smallHead))
	if head, err := rd.ReadHead(DefaultMaxHeadBytes); string(head) != smallHead || err != nil || rd.Buffered() != 0 {
		t.Errorf("got %q, %v, %d bytes behind it", head, err, rd.Buffered())
	}
}

func TestHeadEnd(t *testing.T) {
	for _, tt := range []struct {
		buf  string
		want int
	}{
		{"", -1}, {"\r\n\r\n", 4}, {"a\r\n\r\nb", 5}, {"a\n\nb", -1}, {"a\r\n\n", -1}, {"a\n\r\n", -1}, {"a\r\r\n\r\n", 6}, {"a\r\n\r", -1},
	} {
		for from := 0; from <= len(tt.buf); from++ {
			if HeadEnd([]byte(tt.buf[:from]), 0) >= 0 {
				break // not a resume point
			}
			if got := HeadEnd([]byte(tt.buf), from); got != tt.want {
				t.Errorf("%q from %d: got %d, want %d", tt.buf, from, got, tt.want)
			}
		}
	}
}
