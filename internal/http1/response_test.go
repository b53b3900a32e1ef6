package http1

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1/http1test"
)

func TestResponseIsRefusedWhenItHasTwoMeanings(t *testing.T) {
	for _, tt := range http1test.BadAnswers() {
		t.Run(tt.Name, func(t *testing.T) {
			for _, conn := range []io.Reader{openConn(tt.Raw), iotest.OneByteReader(openConn(tt.Raw))} {
				err := NewReader(conn).ReadResponse(&Response{}, []byte("GET"), Limits{})
				if code := causeway.CodeOf(err); code != causeway.CodeConnectorBadAnswer {
					t.Errorf("got %v, want %v", err, causeway.CodeConnectorBadAnswer)
				}
			}
		})
	}
}

func TestResponseFramesItsBody(t *testing.T) {
	for _, tt := range []struct {
		name, method, head       string
		declared, body           int64
		chunked, nobody, closing bool
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, false},
		{"length of zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, false, false, false},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", -1, -1, true, false, false},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\n", -1, -1, false, false, true},
		{"HTTP/1.0 until close", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", -1, -1, false, false, true},
		{"HTTP/1.0 with a length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, true},
		{"HTTP/1.0 kept alive", "GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, false},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, true},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, 0, false, true, false},
		{"HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", -1, 0, false, true, false},
		{"head is no HEAD", "head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, false},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", -1, 0, false, true, false},
		{"204 as IIS says it", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 0, 0, false, true, false},
		{"304 with the length of the whole", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 5, 0, false, true, false},
		{"103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", -1, 0, false, true, false},
		{"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, false},
		{"no space before no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, false},
		{"raw bytes in reason and value", "GET", "HTTP/1.1 200 \xe4\r\nX: \xff\r\nContent-Length: 5\r\n\r\n", 5, 5, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Response{}
			if err := r.Parse([]byte(tt.head), []byte(tt.method), Limits{}); err != nil {
				t.Fatal(err)
			}
			if r.ContentLength != tt.declared || r.BodyBytes != tt.body || r.Chunked != tt.chunked || r.NoBody != tt.nobody || r.Close != tt.closing {
				t.Errorf("got declared %d body %d chunked %v nobody %v close %v, want %d %d %v %v %v", r.ContentLength, r.BodyBytes, r.Chunked,
					r.NoBody, r.Close, tt.declared, tt.body, tt.chunked, tt.nobody, tt.closing)
			}
		})
	}
}

func TestResponseReadsUpgradeAndKeepAlive(t *testing.T) {
	r := &Response{}
	if err := r.Parse([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), []byte("GET"), Limits{}); err != nil {
		t.Fatal(err)
	}
	if string(r.Upgrade) != "websocket" || r.Informational() {
		t.Errorf("got upgrade %q, informational %v", r.Upgrade, r.Informational())
	}
	for value, want := range map[string]time.Duration{
		"timeout=5":          5 * time.Second,
		"max=100, Timeout=7": 7 * time.Second,
		"timeout = 7":        7 * time.Second,
		"timeout=":           0,
		"timeout=-1":         0,
		"timeout=99999999":   0,
		"max=100":            0,
		"":                   0,
	} {
		if err := r.Parse([]byte("HTTP/1.1 200 OK\r\nKeep-Alive: "+value+"\r\nContent-Length: 0\r\n\r\n"), []byte("GET"), Limits{}); err != nil {
			t.Fatal(err)
		}
		if r.KeepAliveTimeout != want || r.Upgrade != nil {
			t.Errorf("%q: got %v, want %v", value, r.KeepAliveTimeout, want)
		}
	}
}

func TestResponseHandsOnWhatMayTravelOutward(t *testing.T) {
	r := &Response{}
	const head = "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n" +
		"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nAlt-Svc: h3=\":443\"\r\nX-Causeway-Request-Id: forged\r\nX_Causeway_Request_Id: forged\r\nProxy-Authenticate: x\r\nX-Frame: y\r\n\r\n"
	if err := r.Parse([]byte(head), []byte("GET"), Limits{}); err != nil {
		t.Fatal(err)
	}
	const want = "Server: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Frame: y\r\n"
	if got := string(AppendOutward(nil, r)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A server that answers with a flood of 1xx, or with an answer nobody asked for, is read head by head.
func TestReadResponseReadsInformationalHeadsOneByOne(t *testing.T) {
	rd := NewReader(strings.NewReader("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 forged\r\n\r\n"))
	r := &Response{}
	for _, want := range []int{103, 200} {
		if err := rd.ReadResponse(r, []byte("GET"), Limits{}); err != nil || r.Status != want {
			t.Fatalf("got %d, %v, want %d", r.Status, err, want)
		}
	}
	b := rd.Body(r.BodyBytes, r.Chunked, 0)
	if body, err := io.ReadAll(b); string(body) != "ok" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	if rd.Buffered() == 0 {
		t.Error("bytes behind the answer went unnoticed")
	}
}

func TestCutAnswersAreNeverComplete(t *testing.T) {
	for _, tt := range http1test.CutAnswers() {
		t.Run(tt.Name, func(t *testing.T) {
			rd, r := NewReader(strings.NewReader(tt.Raw)), &Response{}
			if err := rd.ReadResponse(r, []byte("GET"), Limits{}); err != nil {
				t.Fatal(err)
			}
			b := rd.Body(r.BodyBytes, r.Chunked, 0)
			if body, err := io.ReadAll(b); err == nil || b.Done() {
				t.Errorf("got %q as a whole body", body)
			}
		})
	}
}
