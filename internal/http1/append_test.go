package http1

import (
	"strings"
	"testing"
)

func TestAppendRequestHeadRefusesWhatWouldBreakTheLine(t *testing.T) {
	for _, tt := range []struct{ name, method, target, host string }{
		{"method with a space", "GET /evil", "/", "a"},
		{"no method", "", "/", "a"},
		{"target with a line end", "GET", "/ HTTP/1.1\r\nX: y", "a"},
		{"target with a space", "GET", "/a b", "a"},
		{"absolute target", "GET", "http://a/", "a"},
		{"no target", "GET", "", "a"},
		{"target with a bad escape", "GET", "/%0", "a"},
		{"host with a line end", "GET", "/", "a\r\nX: y"},
		{"no host", "GET", "/", ""},
		{"host with user information", "GET", "/", "a@b"},
	} {
		if got, err := AppendRequestHead([]byte("x"), []byte(tt.method), []byte(tt.target), []byte(tt.host)); err == nil || string(got) != "x" {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
	}
}

func TestAppendFieldNeverEndsTheLineEarly(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"X", "a", "X: a\r\n"},
		{"X", "", "X: \r\n"},
		{"X", "a\r\nY: b", "X: a  Y: b\r\n"},
		{"X", "a\x00\x7f\x1b\tb\xff", "X: a   \tb\xff\r\n"},
		{"X: y\r\nZ", "a", ""},
		{"", "a", ""},
		{"X Y", "a", ""},
	} {
		if got := string(AppendField(nil, tt.name, tt.value)); got != tt.want {
			t.Errorf("%q: %q: got %q, want %q", tt.name, tt.value, got, tt.want)
		}
		if got := string(AppendField(nil, []byte(tt.name), []byte(tt.value))); got != tt.want {
			t.Errorf("bytes %q: %q: got %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
}

func TestAppendStatusLine(t *testing.T) {
	for _, tt := range []struct {
		status       int
		reason, want string
	}{
		{200, "OK", "HTTP/1.1 200 OK\r\n"},
		{204, "", "HTTP/1.1 204 \r\n"},
		{200, "OK\r\nX: y", "HTTP/1.1 200 \r\n"},
		{99, "x", "HTTP/1.1 500 \r\n"},
		{1000, "x", "HTTP/1.1 500 \r\n"},
	} {
		if got := string(AppendStatusLine(nil, tt.status, []byte(tt.reason))); got != tt.want {
			t.Errorf("%d %q: got %q, want %q", tt.status, tt.reason, got, tt.want)
		}
	}
}

func TestAppendChunks(t *testing.T) {
	got := AppendChunk(AppendChunk(nil, nil), []byte(strings.Repeat("a", 17)))
	got = AppendLastChunk(got, []byte("X: y\r\nContent-Length: 5\r\nbroken\r\nZ: z\r\n\r\nGET / HTTP/1.1\r\n"))
	if want := "11\r\n" + strings.Repeat("a", 17) + "\r\n0\r\nX: y\r\nZ: z\r\n\r\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
