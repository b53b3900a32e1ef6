package connpoint

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestGoodAnswersPass(t *testing.T) {
	for _, tt := range []struct {
		name, method, answer string
		status               int
		body, head           string // head: what must stand in it
	}{
		{"length", "GET", ok, 200, "ok", "Content-Length: 2\r\n"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x=y\r\nay!\r\n0\r\n\r\n", 200, "okay!", "\r\n\r\n"},
		{"until close", "GET", "HTTP/1.0 200 OK\r\n\r\nall of it", 200, "all of it", "HTTP/1.1 200"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", "Content-Length: 0\r\n"},
		{"no content", "DELETE", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", "HTTP/1.1 204 No Content\r\n"},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n", 304, "", "Content-Length: 9\r\n"},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", 200, "", "Content-Length: 12345\r\n"},
		{"server field", "GET", "HTTP/1.1 200 OK\r\nServer: IIS/10.0\r\nContent-Length: 0\r\n\r\n", 200, "", "Server: IIS/10.0\r\n"},
		{"continue unasked", "GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok, 200, "ok", ""},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, answeringOnce(t, tt.answer).url(), nil)
			in := b.do(tt.method, "/app/x")
			in.wantAnswer(t, tt.status, tt.body)
			if !strings.Contains(in.answer, tt.head) {
				t.Errorf("head %q lacks %q", in.answer, tt.head)
			}
		})
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	bodies := make(chan string, 1)
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		buf := make([]byte, 4096)
		var got []byte
		for !strings.HasSuffix(string(got), "\r\n\r\n") {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			got = append(got, buf[:n]...)
		}
		bodies <- string(got)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nLocation: http://10.0.0.5/\r\nX-Causeway-Error: no\r\nLink: </x>\r\n\r\n")
	})
	b := newBench(t, srv.url(), nil)
	in := b.request("POST", "/app/x")
	in.body, in.bodyBytes, in.trailers = strings.NewReader("hello"), -1, []byte("X-Check: 7\r\nContent-Length: 3\r\n")
	b.serve(in)
	in.wantAnswer(t, 200, "ok")
	if in.answerTrailers != "X-Sum: 1\r\n" {
		t.Errorf("trailers outward %q, want X-Sum alone", in.answerTrailers)
	}
	if got, want := <-bodies, "5\r\nhello\r\n0\r\nX-Check: 7\r\n\r\n"; got != want {
		t.Errorf("body inward %q, want %q", got, want)
	}
}

// Whatever an inside server does wrong before its head is complete is a 502, and nothing of it reaches the device. The
// shared corpus has more.
func TestBadHeadsAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, answer string }{
		{"garbage", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"garbage that goes on", strings.Repeat("x", 200_000)},
		{"chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"},
		{"huge head", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Pad: "+strings.Repeat("y", 1000)+"\r\n", 70) + "\r\n"},
		{"1xx flood", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100) + ok},
		{"100 flood", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100) + ok},
		{"101 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"head cut short", "HTTP/1.1 200 OK\r\nContent-Le"},
		{"chunk garbage at once", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n"},
		{"chunk size overflow at once", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nok"},
		{"chunk line with bare LF at once", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n"},
		{"body cut short at once", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, answeringOnce(t, tt.answer).url(), nil)
			in := b.do("GET", "/app/x")
			if tt.name == "body cut short at once" {
				// The cut shows only after the bytes were passed on: an aborted answer, never a short complete one.
				if in.last || in.refused != causeway.CodeConnectorBadAnswer {
					t.Errorf("last %v, refused %v", in.last, in.refused)
				}
				return
			}
			in.wantRefused(t, causeway.CodeConnectorBadAnswer, channel.Final)
			if s := b.pool().state(); s.open != 0 {
				t.Errorf("%d connections are still open after a bad answer", s.open)
			}
		})
	}
}

func TestEarlyHintsPass(t *testing.T) {
	b := newBench(t, answering(t, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n", 12)+ok).url(), nil)
	in := b.do("GET", "/app/x")
	in.wantAnswer(t, 200, "ok")
	if len(in.informs) != maxInforms {
		t.Errorf("%d informational heads passed, want %d", len(in.informs), maxInforms)
	}
	if want := "HTTP/1.1 103 Early Hints\r\nLink: </app/style.css>; rel=preload\r\n\r\n"; in.informs[0] != want {
		t.Errorf("103 is %q, want %q", in.informs[0], want)
	}
}

// cutAfter answers with head, waits until the device has it, then sends the rest and closes.
func cutAfter(t *testing.T, head, rest string) (*bench, *fakeInbound) {
	passed := make(chan struct{})
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, head)
		<-passed
		io.WriteString(c, rest)
	})
	b := newBench(t, srv.url(), nil)
	in := b.request("GET", "/app/x")
	in.onAnswer = func() { close(passed) }
	b.serve(in)
	return b, in
}

func TestAnswerCutAfterItsHeadIsAborted(t *testing.T) {
	for _, tt := range []struct{ name, head, rest string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "ok"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n"},
		{"inside a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "a\r\nok"},
		{"chunk longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nokay\r\n0\r\n\r\n"},
		{"garbage in place of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "nothing here is a size\r\n"},
		{"injected trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\nX: a\rb\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := cutAfter(t, tt.head, tt.rest)
			if in.answer == "" || in.last || in.refusals != 1 || in.refused != causeway.CodeConnectorBadAnswer {
				t.Errorf("answer %q, last %v, refused %d times with %v; want it begun and aborted", in.answer, in.last, in.refusals, in.refused)
			}
			if s := b.pool().state(); s.open != 0 {
				t.Errorf("%d connections are still open", s.open)
			}
		})
	}
}

func TestServerResetBeforeTheAnswerIsDelivered(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		c.(*net.TCPConn).SetLinger(0)
	})
	newBench(t, srv.url(), nil).do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorServerReset, channel.Delivered)
}

func TestServerThatHangsIsTimedOut(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		s.readHead(c) // until the other side gives up
	})
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", AnswerTimeout: policy.Duration(50 * time.Millisecond)}}
	})
	b.do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorServerTimeout, channel.Final)
}

func TestAnswerBodyThatStopsIsCut(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")
		s.readHead(c)
	})
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", IdleTimeout: policy.Duration(50 * time.Millisecond)}}
	})
	in := b.do("GET", "/app/x")
	if in.data.String() != "ok" || in.last || in.refused != causeway.CodeConnectorServerTimeout {
		t.Errorf("body %q, last %v, refused %v; want it cut by the idle timeout", in.data.String(), in.last, in.refused)
	}
}

func TestUnreachableServerIsNotDelivered(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String()
	ln.Close()
	b := newBench(t, url, nil)
	for range circuitFailures + 3 {
		b.do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorServerUnreachable, channel.NotDelivered)
	}
	if s := b.pool().state(); s.dials != circuitFailures || s.open != 0 {
		t.Errorf("%d dials, %d open; want %d dials before the circuit opens, none open", s.dials, s.open, circuitFailures)
	}
}

func TestNoInsideNameInRefusals(t *testing.T) {
	// What is refused reaches the device as a code: there is no room for a name in it. The reason stays in our log.
	b := newBench(t, "http://127.0.0.1:1", nil)
	in := b.do("GET", "/app/x")
	if in.answer != "" || in.data.Len() > 0 {
		t.Errorf("a refusal carries %q %q", in.answer, in.data.String())
	}
	if !strings.Contains(b.log.String(), in.id.String()) {
		t.Errorf("the log does not name the request:\n%s", b.log)
	}
}

// Large pieces are for connections that large bodies have of their own: those are few, and each piece is memory that a
// slow reader holds.
func TestPiecesAreLargeOnBulkConnectionsOnly(t *testing.T) {
	const body = 4 << 20
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", body)
		c.Write(make([]byte, body))
	})
	for bulk, most := range map[bool]int{false: chunkBytes, true: bulkChunkBytes} {
		b := newBench(t, srv.url(), nil)
		in := b.request("GET", "/app/x")
		in.bulk = bulk
		largest := 0
		in.onData = func(p []byte) {
			largest = max(largest, len(p))
			time.Sleep(time.Millisecond) // more comes meanwhile than a piece has
		}
		b.serve(in)
		if in.data.Len() != body || !in.last {
			t.Errorf("bulk %v: %d bytes, last %v", bulk, in.data.Len(), in.last)
		}
		if largest > most || bulk && largest <= chunkBytes {
			t.Errorf("bulk %v: the largest piece has %d bytes, want at most %d", bulk, largest, most)
		}
	}
}
