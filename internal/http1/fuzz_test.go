package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/causeway-gateway/causeway/internal/http1/http1test"
)

// FuzzRequest: whatever we accept, net/http accepts with the same meaning, down to where the next request begins.
func FuzzRequest(f *testing.F) {
	for _, c := range http1test.Corpus() {
		if len(c.Raw) < 1000 {
			f.Add([]byte(c.Raw))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rd, r := NewReader(bytes.NewReader(raw)), &Request{}
		err := rd.ReadRequest(r, Limits{})
		// What is cut by the network into bytes must be read alike.
		slow, r2 := NewReader(iotest.OneByteReader(bytes.NewReader(raw))), &Request{}
		if err2 := slow.ReadRequest(r2, Limits{}); (err == nil) != (err2 == nil) || !bytes.Equal(r.Head, r2.Head) && err == nil {
			t.Fatalf("%q: in one piece %v, in bytes %v", raw, err, err2)
		}
		if err != nil || r.Get("Trailer") != nil {
			return // net/http refuses some names in Trailer, which we drop
		}
		b := rd.Body(r.BodyBytes, r.Chunked, 0)
		body, err := io.ReadAll(b)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(rd)

		theirs := bufio.NewReader(bytes.NewReader(raw))
		req, err := http.ReadRequest(theirs)
		if err != nil {
			t.Fatalf("%q: we accept, net/http says %v", raw, err)
		}
		theirBody, err := io.ReadAll(req.Body)
		if err != nil {
			t.Fatalf("%q: we read the body, net/http says %v", raw, err)
		}
		theirRest, _ := io.ReadAll(theirs)
		if !bytes.Equal(body, theirBody) || !bytes.Equal(rest, theirRest) {
			t.Fatalf("%q: body %q and then %q, net/http reads %q and then %q", raw, body, rest, theirBody, theirRest)
		}
		if req.Method != string(r.Method) || !EqualFold(req.Host, r.Host) || req.URL.RequestURI() != requestURI(r.Target) || req.ProtoMinor != r.Minor {
			t.Fatalf("%q: %s %s for %s, net/http reads %s %s for %s", raw, r.Method, r.Target, r.Host, req.Method, req.URL.RequestURI(), req.Host)
		}
		sameFields(t, raw, r.Fields, req.Header)
		kept := string(AppendInward(nil, r))
		for _, name := range []string{"content-length:", "transfer-encoding:", "connection:", "host:", "client-cert", "x-causeway-"} {
			if strings.Contains("\n"+strings.ToLower(kept), "\n"+name) {
				t.Fatalf("%q: %s travels inward in %q", raw, name, kept)
			}
		}
		again, err := AppendRequestHead(nil, r.Method, r.Target, r.Host)
		if err != nil {
			t.Fatalf("%q: we accept what we cannot write: %v", raw, err)
		}
		again = AppendEnd(AppendInward(again, r))
		if err := new(Request).Parse(again, Limits{MaxHeadBytes: 64 << 10}); err != nil {
			t.Fatalf("%q: we cannot read our own %q: %v", raw, again, err)
		}
	})
}

// requestURI is how net/url writes a target.
func requestURI(target []byte) string {
	u, err := url.ParseRequestURI(string(target))
	if err != nil {
		return string(target)
	}
	return u.RequestURI()
}

// sameFields compares what we read with a header map that lacks some fields net/http takes out.
func sameFields(t *testing.T, raw []byte, fields []Field, theirs http.Header) {
	t.Helper()
	ours := http.Header{}
	for _, f := range fields {
		key := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		ours[key] = append(ours[key], string(f.Value))
	}
	for key, values := range ours {
		switch key {
		case "Host", "Transfer-Encoding", "Content-Length", "Trailer":
			continue
		}
		if got, want := strings.Join(values, "\n"), strings.Join(theirs[key], "\n"); got != want {
			t.Fatalf("%q: %s is %q, net/http reads %q", raw, key, got, want)
		}
	}
	for key := range theirs {
		if _, ok := ours[key]; !ok && key != "Cache-Control" { // net/http makes one of Pragma
			t.Fatalf("%q: net/http reads a field %s", raw, key)
		}
	}
}

// FuzzResponse: whatever answer we accept, net/http accepts with the same meaning.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 200\r\n\r\nhello", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, head bool) {
		method := map[bool]string{true: "HEAD", false: "GET"}[head]
		rd, r := NewReader(bytes.NewReader(raw)), &Response{}
		if err := rd.ReadResponse(r, []byte(method), Limits{}); err != nil || r.Get("Trailer") != nil || r.Status == 101 {
			return
		}
		body, err := io.ReadAll(rd.Body(r.BodyBytes, r.Chunked, 0))
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(rd)
		theirs := bufio.NewReader(bytes.NewReader(raw))
		resp, err := http.ReadResponse(theirs, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q: we accept, net/http says %v", raw, err)
		}
		theirBody, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%q: we read the body, net/http says %v", raw, err)
		}
		theirRest, _ := io.ReadAll(theirs)
		if resp.StatusCode != r.Status || !bytes.Equal(body, theirBody) || !bytes.Equal(rest, theirRest) {
			t.Fatalf("%q: %d, body %q and then %q, net/http reads %d, %q and then %q", raw, r.Status, body, rest, resp.StatusCode, theirBody, theirRest)
		}
		sameFields(t, raw, r.Fields, resp.Header)
		again := AppendEnd(AppendOutward(AppendStatusLine(nil, r.Status, r.Reason), r))
		if r.NoBody {
			method = "HEAD"
		}
		if err := new(Response).Parse(again, []byte(method), Limits{}); err != nil {
			t.Fatalf("%q: we cannot read our own %q: %v", raw, again, err)
		}
	})
}

// FuzzWrittenRequest: what we write, we read back as it was.
func FuzzWrittenRequest(f *testing.F) {
	f.Add("GET", "/a?b", "gateway.example", "X-A", "value", []byte("body"))
	f.Add("CCM_POST", "/%2f;x", "[::1]:443", "x_b", " \t\xff\r\n", []byte(nil))
	f.Fuzz(func(t *testing.T, method, target, host, name, value string, body []byte) {
		head, err := AppendRequestHead(nil, []byte(method), []byte(target), []byte(host))
		if err != nil {
			return
		}
		head = AppendEnd(AppendChunkedEncoding(AppendField(head, name, value)))
		raw := AppendLastChunk(AppendChunk(bytes.Clone(head), body), AppendField(nil, name, value))
		rd, r := NewReader(bytes.NewReader(raw)), &Request{}
		err = rd.ReadRequest(r, Limits{MaxHeadBytes: 1 << 20, MaxTargetBytes: 1 << 20})
		written := 3 // fields: Host, Transfer-Encoding and this one
		switch {
		case !IsToken(name):
			written = 2
		case framesMessage(name):
			return // a second one of these is refused, as it must be
		}
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if string(r.Method) != method || string(r.Target) != target || string(r.Host) != host || len(r.Fields) != written || !bytes.Equal(r.Head, head) {
			t.Fatalf("%q: got %s %s for %s with %d fields", raw, r.Method, r.Target, r.Host, len(r.Fields))
		}
		if written == 3 && IsFieldValue(value) && string(r.Fields[1].Value) != strings.Trim(value, " \t") {
			t.Fatalf("%q: got value %q", raw, r.Fields[1].Value)
		}
		b := rd.Body(r.BodyBytes, r.Chunked, 0)
		got, err := io.ReadAll(b)
		if len(value) > 1000 {
			return // above what a trailer may have
		}
		if err != nil || !bytes.Equal(got, body) || !b.Done() || len(b.Trailers()) > 1 {
			t.Fatalf("%q: body %q, %v", raw, got, err)
		}
	})
}

func framesMessage(name string) bool {
	switch strings.ToLower(name) {
	case "host", "content-length", "transfer-encoding", "connection", "expect", "upgrade":
		return true
	}
	return false
}

// FuzzChunked: whatever chunked body we accept, net/http's reader decodes to the same bytes, and what we write of
// them it reads too.
func FuzzChunked(f *testing.F) {
	for _, c := range http1test.Corpus() {
		if _, body, ok := strings.Cut(c.Raw, "Transfer-Encoding: chunked\r\n\r\n"); ok && len(body) < 1000 {
			f.Add([]byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := bodyOf(t, func(s string) io.Reader { return strings.NewReader(s) }, string(raw), -1, true, 0)
		ours, err := io.ReadAll(b)
		if err != nil {
			return
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("%q: we read %q, net/http %q, %v", raw, ours, theirs, err)
		}
		written := AppendLastChunk(AppendChunk(nil, ours), b.AppendTrailers(nil))
		theirs, err = io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(written)))
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("%q: we write %q, net/http reads %q, %v", raw, written, theirs, err)
		}
	})
}
