package http1

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func mustParse(t testing.TB, head string) *Request {
	t.Helper()
	r := &Request{}
	if err := r.Parse([]byte(head), Limits{}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRequestSaysWhetherTheConnectionEnds(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		want       bool
	}{
		{"1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false},
		{"1.1 close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", true},
		{"1.1 close among others", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive,x ,close\r\n\r\n", true},
		{"1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", true},
		{"1.0 keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false},
		{"1.0 keep-alive and close", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", true},
	} {
		if got := mustParse(t, tt.head).Close; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRequestExpectsOnlyWithABody(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		want       bool
	}{
		{"length", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", true},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", true},
		{"no body", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", false},
		{"length of zero", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", false},
		{"HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", false},
	} {
		if got := mustParse(t, tt.head).Expect100; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRequestUpgradesOnlyWhenConnectionSaysSo(t *testing.T) {
	for _, tt := range []struct {
		name, head, want string
		websocket        bool
	}{
		{"websocket", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "WebSocket", true},
		{"h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "h2c", false},
		{"a list", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", "websocket, h2c", false},
		{"not named", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "", false},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "", false},
	} {
		r := mustParse(t, tt.head)
		if string(r.Upgrade) != tt.want || r.WebSocket() != tt.websocket {
			t.Errorf("%s: got %q %v, want %q %v", tt.name, r.Upgrade, r.WebSocket(), tt.want, tt.websocket)
		}
	}
}

func TestRequestForgetsTheOneBefore(t *testing.T) {
	r := mustParse(t, "POST /long HTTP/1.1\r\nHost: a\r\nConnection: close, X, upgrade\r\nUpgrade: websocket\r\nX: 1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
	if err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: b\r\nX: 2\r\n\r\n"), Limits{}); err != nil {
		t.Fatal(err)
	}
	if r.Chunked || r.BodyBytes != 0 || r.Close || r.Expect100 || r.Upgrade != nil || len(r.Fields) != 2 || !r.Inward(&r.Fields[1]) || string(r.Get("x")) != "2" {
		t.Errorf("got %+v", r)
	}
}

func TestRequestParseWantsAWholeHead(t *testing.T) {
	const whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for n := range len(whole) {
		if err := new(Request).Parse([]byte(whole[:n]), Limits{}); causeway.CodeOf(err) != causeway.CodeBadRequest {
			t.Errorf("%q: got %v", whole[:n], err)
		}
	}
	if err := new(Request).Parse([]byte(whole+"x"), Limits{}); err == nil {
		t.Error("a byte behind the head: got no error")
	}
}

func TestRequestKeepsLimits(t *testing.T) {
	head := func(fields int) []byte {
		return []byte("GET /0123456789 HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", fields-1) + "\r\n")
	}
	for _, tt := range []struct {
		name string
		lim  Limits
		want causeway.Code
	}{
		{"at the limits", Limits{MaxHeadBytes: len(head(5)), MaxFields: 5, MaxTargetBytes: 11}, causeway.CodeNone},
		{"head", Limits{MaxHeadBytes: len(head(5)) - 1}, causeway.CodeHeadersTooLarge},
		{"fields", Limits{MaxFields: 4}, causeway.CodeHeadersTooLarge},
		{"target", Limits{MaxTargetBytes: 10}, causeway.CodeURITooLong},
	} {
		err := new(Request).Parse(head(5), tt.lim)
		if tt.want == causeway.CodeNone && err != nil || tt.want != causeway.CodeNone && causeway.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestRequestRefusalsQuoteAndCut(t *testing.T) {
	err := new(Request).Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nX\x1b[2J\n"+strings.Repeat("y", 5000)+": a\r\n\r\n"), Limits{})
	if err == nil || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("got %q", err)
	}
}

func TestSmallRequestAllocatesNothing(t *testing.T) {
	raw := []byte("GET /updates/pool/x?y=z HTTP/1.1\r\nHost: gateway.example\r\nUser-Agent: Debian APT-HTTP/1.3\r\n" +
		"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 1.1.1.1\r\nAccept: */*\r\n\r\n" +
		"POST /updates/inventory HTTP/1.1\r\nHost: gateway.example\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n" +
		"POST /updates/inventory HTTP/1.1\r\nHost: gateway.example\r\nContent-Length: 5\r\n\r\nhello")
	conn := bytes.NewReader(raw)
	rd, r := NewReader(conn), &Request{}
	out, p := make([]byte, 0, 4096), make([]byte, 512)
	n := testing.AllocsPerRun(100, func() {
		conn.Reset(raw)
		for range 3 {
			if err := rd.ReadRequest(r, Limits{}); err != nil {
				t.Fatal(err)
			}
			out, _ = AppendRequestHead(out[:0], r.Method, r.Target, r.Host)
			out = AppendEnd(AppendChunkedEncoding(AppendField(AppendInward(out, r), "X-Causeway-Device-Id", "pc1")))
			b := rd.Body(r.BodyBytes, r.Chunked, 1<<20)
			for {
				n, err := b.Read(p)
				out = AppendChunk(out, p[:n])
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			out = AppendLastChunk(out, nil)
		}
		rd.Release()
	})
	if n != 0 && !poolsLeak {
		t.Errorf("%v allocations for three requests", n)
	}
}

func TestSmallAnswerAllocatesNothing(t *testing.T) {
	raw := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nKeep-Alive: timeout=5, max=100\r\nConnection: keep-alive\r\n\r\nhello")
	conn := bytes.NewReader(raw)
	rd, r := NewReader(conn), &Response{}
	out, p := make([]byte, 0, 4096), make([]byte, 512)
	n := testing.AllocsPerRun(100, func() {
		conn.Reset(raw)
		if err := rd.ReadResponse(r, []byte("GET"), Limits{}); err != nil {
			t.Fatal(err)
		}
		out = AppendStatusLine(out[:0], r.Status, r.Reason)
		out = AppendEnd(AppendContentLength(AppendOutward(out, r), r.BodyBytes))
		b := rd.Body(r.BodyBytes, r.Chunked, 0)
		for !b.Done() {
			n, err := b.Read(p)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			out = append(out, p[:n]...)
		}
		rd.Release()
	})
	if n != 0 && !poolsLeak {
		t.Errorf("%v allocations", n)
	}
}
