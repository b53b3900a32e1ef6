package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestDeviceGetsAnswersOnOneConnection(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	for range 3 {
		r := d.ask(get("/app/x?y=1"))
		r.wants(t, 200, 0)
		if r.body != "hello " || r.ContentLength != 6 {
			t.Errorf("body %q, length %d", r.body, r.ContentLength)
		}
		if len(r.Header.Get("X-Request-Id")) != 32 {
			t.Errorf("X-Request-Id %q", r.Header.Get("X-Request-Id"))
		}
	}
	seen := in.backend.requests()
	if len(seen) != 3 || string(seen[0].head.Target) != "/app/x?y=1" || string(seen[0].head.Host) != testName {
		t.Errorf("forwarded %d requests, the first %q", len(seen), seen[0].Head)
	}
	if seen[0].Principal != seen[2].Principal {
		t.Error("one connection made two principals")
	}
}

func TestRequestBodies(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	r := d.ask("POST /app/up HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nworld")
	if r.body != "hello world" {
		t.Errorf("length: %q", r.body)
	}
	r = d.ask("POST /app/up HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n2\r\nld\r\n0\r\n\r\n")
	if r.body != "hello world" {
		t.Errorf("chunked: %q", r.body)
	}
	r = d.ask("POST /app/up HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\n\r\n")
	if r.body != "hello " {
		t.Errorf("empty: %q", r.body)
	}
	seen := in.backend.requests()
	for i, want := range []int64{5, -1, 0} {
		if seen[i].BodyBytes != want {
			t.Errorf("request %d has BodyBytes %d, want %d", i, seen[i].BodyBytes, want)
		}
	}
	if seen[1].head.Get("Transfer-Encoding") != nil {
		t.Error("Transfer-Encoding travelled inward")
	}
}

func TestRequestTrailersTravelWithoutForbiddenOnes(t *testing.T) {
	in := run(t)
	var got string
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if _, err := io.ReadAll(r.Body); err != nil {
			return err
		}
		got = string(r.Trailers())
		return d.Answer(head("204 No Content"), nil, true)
	})
	r := in.dial("pc-1").ask("POST /app/up HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" +
		"X-Sum: 1\r\nHost: evil\r\nContent-Length: 9\r\nX_Causeway-Device-Id: evil\r\n\r\n")
	r.wants(t, 204, 0)
	if got != "X-Sum: 1\r\n" {
		t.Errorf("trailers %q", got)
	}
}

func TestAnswersKeepTheirFraming(t *testing.T) {
	stream := func(parts ...string) func(context.Context, *seenRequest, channel.DeviceSide) error {
		return func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error {
			if err := d.Answer(head("200 OK"), []byte(parts[0]), false); err != nil {
				return err
			}
			for i, p := range parts[1:] {
				if err := d.Data([]byte(p), i == len(parts)-2); err != nil {
					return err
				}
			}
			return nil
		}
	}
	once := func(status string, body string, fields ...string) func(context.Context, *seenRequest, channel.DeviceSide) error {
		return func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error {
			return d.Answer(head(status, fields...), []byte(body), true)
		}
	}
	for _, tt := range []struct {
		name, ask string
		handle    func(context.Context, *seenRequest, channel.DeviceSide) error
		status    int
		body      string
		length    int64
		te        string
		more      bool // the connection goes on
	}{
		{"unknown length is chunked", get("/app/"), stream("ab", "", "cd"), 200, "abcd", -1, "chunked", true},
		{"to HTTP/1.0 until close", "GET /app/ HTTP/1.0\r\nHost: gateway.test\r\n\r\n", stream("ab", "cd"), 200, "abcd", -1, "", false},
		{"known length", get("/app/"), once("200 OK", "abc", "Content-Length: 3"), 200, "abc", 3, "", true},
		{"HEAD keeps the length", strings.Replace(get("/app/"), "GET", "HEAD", 1), once("200 OK", "", "Content-Length: 77"), 200, "", 77, "", true},
		{"204", get("/app/"), once("204 No Content", ""), 204, "", 0, "", true},
		{"304", get("/app/"), once("304 Not Modified", "", "Content-Length: 9"), 304, "", 0, "", true},
		{"device says close", get("/app/", "Connection: close"), once("200 OK", "x"), 200, "x", 1, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := run(t)
			in.backend.serve(tt.handle)
			d := in.dial("pc-1")
			r := d.ask(tt.ask)
			te := strings.Join(r.TransferEncoding, ",")
			if r.StatusCode != tt.status || r.body != tt.body || r.err != nil || r.ContentLength != tt.length || te != tt.te {
				t.Errorf("got %d %q err %v length %d %q", r.StatusCode, r.body, r.err, r.ContentLength, te)
			}
			if tt.more {
				in.backend.serve(answerOK)
				d.ask(get("/app/again")).wants(t, 200, 0)
			} else if !d.closed() {
				t.Error("connection stays open")
			}
		})
	}
}

func TestAnswerTrailersReachTheDevice(t *testing.T) {
	in := run(t)
	in.backend.serve(func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error {
		if err := d.Answer(head("200 OK"), []byte("x"), false); err != nil {
			return err
		}
		return d.Trailers([]byte("X-Sum: 1\r\nTransfer-Encoding: chunked\r\n"))
	})
	d := in.dial("pc-1")
	d.send(get("/app/"))
	r := d.receive("GET")
	if r.body != "x" || r.Trailer.Get("X-Sum") != "1" || len(r.Trailer) != 1 {
		t.Errorf("body %q trailers %v", r.body, r.Trailer)
	}
}

func TestInformationalHeadsPass(t *testing.T) {
	in := run(t)
	in.backend.serve(func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error {
		if err := d.Informational(head("103 Early Hints", "Link: </a>; rel=preload")); err != nil {
			return err
		}
		return d.Answer(head("200 OK"), []byte("x"), true)
	})
	d := in.dial("pc-1")
	d.send(get("/app/"))
	line, err := d.br.ReadString('\n')
	if err != nil || line != "HTTP/1.1 103 Early Hints\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	for line != "\r\n" {
		if line, err = d.br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	d.receive("GET").wants(t, 200, 0)
}

func TestContinueComesOnlyWhenTheBodyIsWanted(t *testing.T) {
	in := run(t)
	const ask = "POST /app/up HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
	d := in.dial("pc-1")
	d.send(ask)
	if line, err := d.br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	_, _ = d.br.ReadString('\n')
	d.send("hi")
	if r := d.receive("POST"); r.body != "hello hi" {
		t.Errorf("got %q", r.body)
	}
	if seen := in.backend.requests(); seen[0].head.Get("Expect") != nil {
		t.Error("Expect travelled inward")
	}

	in.backend.mu.Lock()
	in.backend.notReady = true
	in.backend.mu.Unlock()
	d.send(ask)
	r := d.receive("POST")
	r.wants(t, 503, causeway.CodeNoConnectionPoint)
	if !d.closed() {
		t.Error("connection stays open although nobody knows whether the body will come")
	}

	stranger := in.dialTLS(in.clientTLS())
	stranger.ask(ask).wants(t, 403, causeway.CodeClientCertificateRequired)
}

// smuggling is what must never be taken for a request, nor hide one.
var smuggling = map[string]string{
	"CL and TE":               "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE and CL":               "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
	"two TE":                  "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"two different CL":        "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"two equal CL":            "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
	"CL list":                 "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2, 2\r\n\r\nab",
	"CL with sign":            "POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: +2\r\n\r\nab",
	"bare LF":                 "GET /app/ HTTP/1.1\nHost: gateway.test\n\n",
	"bare LF in fields":       "GET /app/ HTTP/1.1\r\nHost: gateway.test\r\nA: b\nC: d\r\n\r\n",
	"bare CR":                 "GET /app/ HTTP/1.1\r\nHost: gateway.test\r\nA: b\rC: d\r\n\r\n",
	"obs-fold":                "GET /app/ HTTP/1.1\r\nHost: gateway.test\r\nA: b\r\n c\r\n\r\n",
	"NUL":                     "GET /app/ HTTP/1.1\r\nHost: gateway.test\r\nA: b\x00c\r\n\r\n",
	"space before colon":      "GET /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length : 0\r\n\r\n",
	"HTTP/1.0 with TE":        "POST /app/ HTTP/1.0\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"no Host":                 "GET /app/ HTTP/1.1\r\n\r\n",
	"HTTP/1.0 without Host":   "GET /app/ HTTP/1.0\r\n\r\n",
	"two Hosts":               "GET /app/ HTTP/1.1\r\nHost: gateway.test\r\nHost: evil.test\r\n\r\n",
	"Host with user":          "GET /app/ HTTP/1.1\r\nHost: a@gateway.test\r\n\r\n",
	"space in the target":     "GET /app/ x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
	"no version":              "GET /app/\r\nHost: gateway.test\r\n\r\n",
	"OPTIONS *":               "OPTIONS * HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
	"authority form":          "CONNECT gateway.test:443 HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
	"junk":                    "\x16\x03\x01\r\n\r\n",
	"absolute and other Host": "GET http://evil.test/app/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
}

func TestAmbiguousRequestsAreRefusedAndEndTheConnection(t *testing.T) {
	in := run(t)
	for name, raw := range smuggling {
		t.Run(name, func(t *testing.T) {
			d := in.dial("pc-1")
			// Whatever follows must never be taken for a request.
			r := d.ask(raw + "GET /app/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
			r.wants(t, 400, causeway.CodeBadRequest)
			if !r.Close || !d.closed() {
				t.Error("connection goes on")
			}
		})
	}
	if n := len(in.backend.requests()); n != 0 {
		t.Errorf("%d requests were forwarded, the first %q", n, in.backend.requests()[0].Head)
	}
}

func TestBrokenChunksAbortTheRequest(t *testing.T) {
	for name, body := range map[string]string{
		"0x size":            "0x3\r\nabc\r\n0\r\n\r\n",
		"bare LF":            "3\nabc\n0\n\n",
		"longer than size":   "3\r\nabcd\r\n0\r\n\r\n",
		"negative":           "-1\r\n\r\n",
		"overflow":           "ffffffffffffffff1\r\nabc\r\n",
		"LF in extension":    "3;a\nb\r\nabc\r\n0\r\n\r\n",
		"bare LF at the end": "3\r\nabc\r\n0\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			in := run(t)
			d := in.dial("pc-1")
			r := d.ask("POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
			r.wants(t, 400, causeway.CodeBadRequest)
			if !d.closed() {
				t.Error("connection goes on")
			}
		})
	}
}

func TestPathTricksAreRefused(t *testing.T) {
	in := run(t)
	for _, path := range []string{"/app/../mp", "/app/%2e%2e/b", "/app/%252e/b", "/app/%2f..%2fb", "/app/a%5cb", `/app/a\b`, "/app//b", "//app/b",
		"/app/%00", "/app/%c0%af", "/app/%", "/app/%zz", "/app/%0d%0a", "/app/a/.."} {
		t.Run(path, func(t *testing.T) {
			d := in.dial("pc-1")
			d.ask(get(path)).wants(t, 400, causeway.CodeBadRequest)
			if !d.closed() {
				t.Error("connection goes on")
			}
		})
	}
	for _, path := range []string{"/app/%2b%7e", "/app/A/b/", "/app/./InRelease", "/app/@scope%2fname"} {
		t.Run(path, func(t *testing.T) { in.dial("pc-1").ask(get(path)).wants(t, 200, 0) })
	}
	seen := in.backend.requests()
	if len(seen) != 4 || string(seen[0].head.Target) != "/app/%2b%7e" || string(seen[2].head.Target) != "/app/./InRelease" {
		t.Errorf("forwarded %d requests", len(seen))
	}
}

func TestForeignAuthorityIsMisdirected(t *testing.T) {
	in := run(t)
	for name, raw := range map[string]string{
		"foreign Host":   "GET /app/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"absolute form":  "GET https://evil.test/app/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"trailing dot":   "GET /app/ HTTP/1.1\r\nHost: gateway.test.\r\n\r\n",
		"another port":   "GET /app/ HTTP/1.1\r\nHost: gateway.test:8443\r\n\r\n",
		"address":        "GET /app/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"forwarded host": "GET /app/ HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: gateway.test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) { in.dial("pc-1").ask(raw).wants(t, 421, causeway.CodeMisdirected) })
	}
	for name, raw := range map[string]string{
		"absolute form of ours": "GET https://gateway.test/app/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
		"port and case":         "GET /app/ HTTP/1.1\r\nHost: GATEWAY.test:443\r\n\r\n",
		"published host":        "GET /x HTTP/1.1\r\nHost: repo.test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) { in.dial("pc-1").ask(raw).wants(t, 200, 0) })
	}
}

func TestMethodsAndUpgradesOutsideTheRule(t *testing.T) {
	in := run(t)
	for name, tt := range map[string]struct {
		raw    string
		status int
		code   causeway.Code
	}{
		"TRACE":               {"TRACE /app/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 405, causeway.CodeMethodNotAllowed},
		"CONNECT":             {"CONNECT /app/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 405, causeway.CodeMethodNotAllowed},
		"unknown method":      {"BREW /app/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 405, causeway.CodeMethodNotAllowed},
		"h2c":                 {get("/app/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"), 400, causeway.CodeUpgradeRefused},
		"websocket elsewhere": {get("/app/", "Connection: Upgrade", "Upgrade: websocket"), 400, causeway.CodeUpgradeRefused},
		"h2c on websocket":    {get("/app/ws", "Connection: Upgrade", "Upgrade: h2c"), 400, causeway.CodeUpgradeRefused},
		"unknown path":        {get("/nothing/there"), 404, causeway.CodeURLNotPublished},
		"other expectation":   {get("/app/", "Expect: magic"), 417, causeway.CodeExpectationFailed},
		"HTTP/2.0":            {"GET /app/ HTTP/2.0\r\nHost: gateway.test\r\n\r\n", 505, causeway.CodeVersionNotSupported},
		"unknown coding":      {"POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: gzip\r\n\r\n", 501, causeway.CodeNotImplemented},
	} {
		t.Run(name, func(t *testing.T) {
			r := in.dial("pc-1").ask(tt.raw)
			r.wants(t, tt.status, tt.code)
			if tt.status == 405 && name == "unknown method" && !strings.Contains(r.Header.Get("Allow"), "GET") {
				t.Errorf("Allow %q", r.Header.Get("Allow"))
			}
		})
	}
	if n := len(in.backend.requests()); n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
}

func TestTooLargeRequestsAreRefusedBeforeAnyChannel(t *testing.T) {
	in := run(t)
	big := strings.Repeat("x", 17<<10)
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("X-%d: y", i))
	}
	for name, tt := range map[string]struct {
		raw    string
		status int
		code   causeway.Code
	}{
		"head":     {get("/app/", "X-Big: "+big), 431, causeway.CodeHeadersTooLarge},
		"fields":   {get("/app/", many...), 431, causeway.CodeHeadersTooLarge},
		"target":   {get("/app/" + strings.Repeat("y", 9<<10)), 414, causeway.CodeURITooLong},
		"body":     {"POST /app/small HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 11\r\n\r\nhello world", 413, causeway.CodeBodyTooLarge},
		"huge":     {"POST /app/small HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 9223372036854775807\r\n\r\n", 413, causeway.CodeBodyTooLarge},
		"overflow": {"POST /app/small HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 9223372036854775808\r\n\r\n", 400, causeway.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			d := in.dial("pc-1")
			d.ask(tt.raw).wants(t, tt.status, tt.code)
			if !d.closed() {
				t.Error("connection goes on")
			}
		})
	}
	if n := len(in.backend.requests()); n != 0 {
		t.Errorf("%d requests reached a channel", n)
	}
}

func TestChunkedBodyAboveTheLimitIsCutWhileItStreams(t *testing.T) {
	in := run(t)
	r := in.dial("pc-1").ask("POST /app/small HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n")
	r.wants(t, 413, causeway.CodeBodyTooLarge)
}

func TestIdentityHeadersFromOutsideAreDropped(t *testing.T) {
	in := run(t)
	fields := []string{"X-Causeway-Device-Id: evil", "x_causeway_device_id: evil", "X-Causeway-Device_Id: evil", "Client-Cert: evil", "client_cert: evil",
		"X-Client-DN: evil", "X-Client_Cert: evil", "X-SSL-Client-S-DN: evil", "Forwarded: for=evil", "X-Forwarded-For: evil", "X-Forwarded-Host: evil",
		"X-Real-IP: evil", "X_Forwarded_For: evil", "Proxy-Authorization: evil", "Proxy: evil", "Connection: X-Hop, close-not", "X-Hop: evil",
		"Keep-Alive: evil", "TE: evil", "Trailer: evil", "X-Request-Id: evil", "traceparent: evil",
		"CCMClientID: good", "Range: bytes=good", "X-Custom_Name: good", "CCMClientTimestampsSignature: good"}
	in.dial("pc-1").ask(get("/app/", fields...)).wants(t, 200, 0)
	h := string(in.backend.requests()[0].Head)
	if strings.Contains(h, "evil") {
		t.Errorf("forwarded %q", h)
	}
	if strings.Count(h, "good") != 4 {
		t.Errorf("lost a header: %q", h)
	}
}

func TestServerFaultsBecomeErrorsAndNeverShortAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		handle func(d channel.DeviceSide) error
		status int
		code   causeway.Code
	}{
		"CR LF in a field": {func(d channel.DeviceSide) error { return d.Answer(head("200 OK", "A: b\rC: d"), nil, true) }, 502, causeway.CodeConnectorBadAnswer},
		"garbage":          {func(d channel.DeviceSide) error { return d.Answer([]byte("SSH-2.0-x\r\n\r\n"), nil, true) }, 502, causeway.CodeConnectorBadAnswer},
		"huge head": {func(d channel.DeviceSide) error {
			return d.Answer(head("200 OK", "A: "+strings.Repeat("x", 65<<10)), nil, true)
		}, 502, causeway.CodeConnectorBadAnswer},
		"short at once": {func(d channel.DeviceSide) error {
			return d.Answer(head("200 OK", "Content-Length: 9"), []byte("abc"), true)
		}, 502, causeway.CodeConnectorBadAnswer},
		"long at once": {func(d channel.DeviceSide) error {
			return d.Answer(head("200 OK", "Content-Length: 2"), []byte("abc"), true)
		}, 502, causeway.CodeConnectorBadAnswer},
		"101 unasked": {func(d channel.DeviceSide) error {
			return d.Answer(head("101 Switching", "Connection: Upgrade", "Upgrade: websocket"), nil, false)
		}, 502, causeway.CodeConnectorBadAnswer},
		"1xx as answer": {func(d channel.DeviceSide) error { return d.Answer(head("103 Early"), nil, true) }, 502, causeway.CodeConnectorBadAnswer},
		"two lengths": {func(d channel.DeviceSide) error {
			return d.Answer(head("200 OK", "Content-Length: 1", "Content-Length: 2"), nil, false)
		}, 502, causeway.CodeConnectorBadAnswer},
		"hangs": {func(channel.DeviceSide) error {
			return causeway.Refuse(causeway.CodeConnectorServerTimeout, "10.0.0.7 hangs")
		}, 504, causeway.CodeConnectorServerTimeout},
		"resets": {func(channel.DeviceSide) error {
			return causeway.Refuse(causeway.CodeConnectorServerReset, "10.0.0.7 reset")
		}, 502, causeway.CodeConnectorServerReset},
		"channel lost":     {func(channel.DeviceSide) error { return causeway.Refuse(causeway.CodeChannelLost, "cp-1") }, 502, causeway.CodeChannelLost},
		"unknown error":    {func(channel.DeviceSide) error { return errors.New("boom at 10.0.0.7") }, 500, causeway.CodeInternalError},
		"no answer at all": {func(channel.DeviceSide) error { return nil }, 500, causeway.CodeInternalError},
	} {
		t.Run(name, func(t *testing.T) {
			in := run(t)
			in.backend.serve(func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error { return tt.handle(d) })
			d := in.dial("pc-1")
			r := d.ask(get("/app/"))
			r.wants(t, tt.status, tt.code)
			if strings.Contains(r.body, "10.0.0.7") || strings.Contains(r.body, "cp-1") {
				t.Errorf("answer names what lies inside: %q", r.body)
			}
			in.backend.serve(answerOK)
			d.ask(get("/app/")).wants(t, 200, 0)
		})
	}
}

func TestAnswerThatEndsEarlyIsAborted(t *testing.T) {
	lost := causeway.Refuse(causeway.CodeChannelLost, "cp-1")
	for name, tt := range map[string]struct {
		ask    string
		handle func(d channel.DeviceSide) error
	}{
		"known length": {get("/app/"), func(d channel.DeviceSide) error {
			return errors.Join(d.Answer(head("200 OK", "Content-Length: 9"), []byte("abc"), false), lost)
		}},
		"chunked": {get("/app/"), func(d channel.DeviceSide) error {
			return errors.Join(d.Answer(head("200 OK"), []byte("abc"), false), lost)
		}},
		"until close": {"GET /app/ HTTP/1.0\r\nHost: gateway.test\r\n\r\n", func(d channel.DeviceSide) error {
			return errors.Join(d.Answer(head("200 OK"), []byte("abc"), false), lost)
		}},
		"last too early": {get("/app/"), func(d channel.DeviceSide) error {
			return errors.Join(d.Answer(head("200 OK", "Content-Length: 9"), []byte("abc"), false), d.Data([]byte("d"), true))
		}},
		"more than said": {get("/app/"), func(d channel.DeviceSide) error {
			return errors.Join(d.Answer(head("200 OK", "Content-Length: 4"), []byte("abc"), false), d.Data([]byte("defg"), true))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := run(t)
			in.backend.serve(func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error { return tt.handle(d) })
			d := in.dial("pc-1")
			d.send(tt.ask)
			resp, err := http.ReadResponse(d.br, nil)
			if err != nil {
				return // cut even earlier: fine
			}
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("device took a cut answer for a whole one")
			}
		})
	}
}

func TestNoConnectionPointIsAQuickError(t *testing.T) {
	in := run(t)
	in.backend.notReady = true
	d := in.dial("pc-1")
	began := time.Now()
	r := d.ask(get("/app/"))
	r.wants(t, 503, causeway.CodeNoConnectionPoint)
	if r.Header.Get("Retry-After") != "1" || time.Since(began) > longWait {
		t.Errorf("Retry-After %q after %v", r.Header.Get("Retry-After"), time.Since(began))
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	in := run(t, func(c *Config) { c.Timeouts.Head = 150 * time.Millisecond })
	d := in.dial("pc-1")
	d.send("GET /app/ HTTP/1.1\r\nHost: gat")
	d.receive("GET").wants(t, 408, causeway.CodeRequestTimeout)
	if !d.closed() {
		t.Error("connection goes on")
	}
}

func TestSlowBodyIsCut(t *testing.T) {
	in := run(t)
	in.apply(func(doc *signed.GatewayDocument) {
		doc.Publications[0].Rules[0].IdleTimeout = policy.Duration(150 * time.Millisecond)
	})
	d := in.dial("pc-1")
	d.send("POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 9\r\n\r\nab")
	d.receive("POST").wants(t, 408, causeway.CodeRequestTimeout)
	if !d.closed() {
		t.Error("connection goes on")
	}
}

func TestTricklingBodyIsCut(t *testing.T) {
	p := patience{idle: time.Minute}
	var waited time.Duration
	for n := 0; ; n++ {
		next := p.next()
		if next < time.Second*59 && n > 0 && next <= time.Millisecond {
			break
		}
		p.took(50*time.Second, 1)
		if waited += 50 * time.Second; waited > 5*time.Minute {
			t.Fatal("one byte every 50 s keeps its place")
		}
	}
	steady := patience{idle: time.Minute}
	for range 1000 {
		steady.took(time.Second, 1000)
	}
	if steady.next() != time.Minute {
		t.Errorf("a steady body is given %v", steady.next())
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	in := run(t, func(c *Config) { c.Timeouts.KeepAlive = 100 * time.Millisecond })
	d := in.dial("pc-1")
	d.ask(get("/app/")).wants(t, 200, 0)
	if _, err := d.br.ReadByte(); err != io.EOF {
		t.Errorf("got %v, want a clean end", err)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	const n = 200
	go func() {
		for i := range n {
			_, _ = fmt.Fprintf(d.c, "POST /app/%d HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 3\r\n\r\n%03d", i, i)
		}
	}()
	for i := range n {
		if r := d.receive("POST"); r.body != fmt.Sprintf("hello %03d", i) {
			t.Fatalf("answer %d is %q", i, r.body)
		}
	}
}

func TestDeviceThatGoesAwayCancelsTheExchange(t *testing.T) {
	in := run(t)
	ended := make(chan error, 1)
	in.backend.serve(func(ctx context.Context, _ *seenRequest, _ channel.DeviceSide) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	})
	d := in.dial("pc-1")
	d.send(get("/app/poll"))
	for len(in.backend.requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	d.c.NetConn().Close()
	select {
	case err := <-ended:
		if !errors.Is(err, errDeviceGone) {
			t.Errorf("cause %v", err)
		}
	case <-time.After(longWait):
		t.Fatal("exchange goes on")
	}
}

func TestLongPollAnswersWhileWatched(t *testing.T) {
	in := run(t)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		time.Sleep(3 * watchAfter) // long enough for the watch to read
		return answerOK(ctx, r, d)
	})
	d := in.dial("pc-1")
	for range 2 {
		d.ask(get("/app/poll")).wants(t, 200, 0)
	}
	// The next request comes while the first one is watched.
	d.send(get("/app/a"))
	time.Sleep(2 * watchAfter)
	d.send(get("/app/b"))
	d.receive("GET").wants(t, 200, 0)
	d.receive("GET").wants(t, 200, 0)
}

func TestEarlyAnswerEndsTheUpload(t *testing.T) {
	in := run(t)
	in.backend.serve(func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		return d.Answer(head("409 Conflict"), []byte("no"), true)
	})
	d := in.dial("pc-1")
	r := d.ask("POST /app/ HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 100000\r\n\r\npart")
	r.wants(t, 409, 0)
	if !r.Close {
		t.Error("connection claims to go on")
	}
	d.c.Close()
}

func TestSmallRefusedBodyKeepsTheConnection(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	d.ask("POST /nothing HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello").wants(t, 404, causeway.CodeURLNotPublished)
	d.ask(get("/app/")).wants(t, 200, 0)
}

func TestWebSocketPassesBothWays(t *testing.T) {
	in := run(t)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if !r.Upgrade || string(r.head.Upgrade) != "websocket" {
			return errors.New("no upgrade")
		}
		if err := d.Answer(head("101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: x"), nil, false); err != nil {
			return err
		}
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			if err == io.EOF {
				return d.Data(nil, true)
			}
			if err != nil {
				return err
			}
			if err := d.Data(buf[:n], false); err != nil {
				return err
			}
		}
	})
	d := in.dial("pc-1")
	d.send(get("/app/ws", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x") + "early")
	resp, err := http.ReadResponse(d.br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Fatalf("got %v, %v", resp, err)
	}
	echo := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(d.br, b); err != nil || string(b) != want {
			t.Fatalf("got %q, %v; want %q", b, err, want)
		}
	}
	echo("early")
	d.send("later")
	echo("later")
	if err := d.c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.br.ReadByte(); err != io.EOF {
		t.Errorf("got %v, want a clean end", err)
	}
}

func TestImpatientRuleDoesNotCutAQuietWebSocket(t *testing.T) {
	in := run(t)
	const idle = 50 * time.Millisecond
	in.apply(func(doc *signed.GatewayDocument) { doc.Publications[0].Rules[2].IdleTimeout = policy.Duration(idle) })
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if err := d.Answer(head("101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"), nil, false); err != nil {
			return err
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			return err
		}
		return d.Data(b, true)
	})
	d := in.dial("pc-1")
	d.send(get("/app/ws", "Connection: Upgrade", "Upgrade: websocket"))
	if resp, err := http.ReadResponse(d.br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %v, %v", resp, err)
	}
	time.Sleep(4 * idle)
	d.send("later")
	if b, err := io.ReadAll(d.br); err != nil || string(b) != "later" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestBytesBehindARefusedUpgradeAreNoRequest(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	// To the device these may be the first bytes of the other protocol.
	d.ask(get("/app/", "Connection: Upgrade", "Upgrade: websocket")+get("/app/next")).wants(t, 400, 0)
	if !d.closed() {
		t.Error("connection goes on")
	}
	in.backend.serve(func(context.Context, *seenRequest, channel.DeviceSide) error {
		return causeway.Refuse(causeway.CodeConnectorBadAnswer, "no")
	})
	d = in.dial("pc-1")
	d.ask(get("/app/ws", "Connection: Upgrade", "Upgrade: websocket")+get("/app/next")).wants(t, 502, 0)
	if !d.closed() {
		t.Error("connection goes on")
	}
	if n := len(in.backend.requests()); n != 1 {
		t.Errorf("%d requests passed", n)
	}
}

func TestRefusedUpgradeReadsNothingOfTheDevice(t *testing.T) {
	in := run(t)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if err := d.Answer(head("403 Forbidden"), []byte("no"), true); err != nil {
			return err
		}
		go r.Body.Close()
		if n, err := r.Body.Read(make([]byte, 10)); n != 0 || err == nil {
			return fmt.Errorf("read %d bytes of what is no upgrade", n)
		}
		return nil
	})
	d := in.dial("pc-1")
	r := d.ask(get("/app/ws", "Connection: Upgrade", "Upgrade: websocket") + get("/app/next"))
	r.wants(t, 403, 0)
	if !d.closed() {
		t.Error("connection goes on")
	}
	if n := len(in.backend.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestLocalAnswers(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	r := d.ask(get("/CCM_Proxy_MutualAuth/ServiceMetadata"))
	r.wants(t, 200, 0)
	if !strings.Contains(r.body, `"ServiceName":"gateway.test"`) || !strings.Contains(r.body, `"Mode":"MutualAuth"`) {
		t.Errorf("got %q", r.body)
	}
	d.ask(get("/CCM_Proxy_ServerAuth/AADAuthInfo?TenantID=x")).wants(t, 404, causeway.CodeURLNotPublished)
	d = in.dialTLS(in.clientTLS())
	r = d.ask(get("/CCM_Proxy_ServerAuth/72057594037927937/ccm_system/request"))
	r.wants(t, 401, causeway.CodeInvalidToken)
	if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer") || !strings.Contains(r.Status, "CMGService_Invalid_Token") {
		t.Errorf("status %q, WWW-Authenticate %q", r.Status, r.Header.Get("WWW-Authenticate"))
	}
	if n := len(in.backend.requests()); n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
}

func TestHeadGetsARefusalWithoutBody(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	d.send("HEAD /nothing HTTP/1.1\r\nHost: gateway.test\r\n\r\n" + get("/app/"))
	resp, err := http.ReadResponse(d.br, &http.Request{Method: "HEAD"})
	if err != nil || resp.StatusCode != 404 {
		t.Fatalf("got %v, %v", resp, err)
	}
	d.receive("GET").wants(t, 200, 0)
}

func TestManyRangesAreTakenOff(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	few := "Range: bytes=0-1,2-3,4-5"
	many := "Range: bytes=0-1" + strings.Repeat(",0-1", 999)
	for _, fields := range [][]string{{few, "If-Range: x"}, {many, "If-Range: x"}, {few, few, few}} {
		d.ask(get("/app/", append(fields, "X-Kept: 1")...)).wants(t, 200, 0)
	}
	for i, want := range []bool{true, false, false} {
		r := in.backend.requests()[i]
		if got := r.head.Get("Range") != nil; got != want || r.head.Get("X-Kept") == nil {
			t.Errorf("request %d: Range %v, want %v", i, got, want)
		}
	}
}

func TestEncodedBodiesPassAsTheyAre(t *testing.T) {
	in := run(t)
	const bomb = "\x1f\x8b\x08\x00not inflated"
	in.backend.serve(func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		return d.Answer(head("200 OK", "Content-Encoding: gzip, gzip"), []byte(bomb), true)
	})
	if r := in.dial("pc-1").ask(get("/app/", "Accept-Encoding: gzip")); r.body != bomb || r.Header.Get("Content-Encoding") != "gzip, gzip" {
		t.Errorf("got %q", r.body)
	}
}

// TestSmallRequestsAllocateLittle keeps garbage off the path of small requests. It counts device and gateway
// together; the fake backend's copies are not made.
func TestSmallRequestsAllocateLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	in := run(t)
	answer, body := head("200 OK", "Content-Type: text/plain", "Content-Length: 5"), []byte("hello")
	in.Server.exchanger = plainBackend{in.backend, func(_ context.Context, _ *channel.Request, d channel.DeviceSide) error {
		return d.Answer(answer, body, true)
	}}
	d := in.dial("pc-1")
	ask := []byte(get("/app/x", "User-Agent: test", "Accept: */*"))
	var buf [4096]byte
	got := testing.AllocsPerRun(2000, func() {
		if _, err := d.c.Write(ask); err != nil {
			t.Fatal(err)
		}
		if _, err := d.c.Read(buf[:]); err != nil {
			t.Fatal(err)
		}
	})
	if got > 2 {
		t.Errorf("%v allocations per request, want at most 2", got)
	}
}

type plainBackend struct {
	*fakeBackend
	exchange func(context.Context, *channel.Request, channel.DeviceSide) error
}

func (b plainBackend) Exchange(ctx context.Context, r *channel.Request, d channel.DeviceSide) error {
	return b.exchange(ctx, r, d)
}

func TestPanicHurtsOneRequestOnly(t *testing.T) {
	in := run(t)
	in.backend.serve(func(context.Context, *seenRequest, channel.DeviceSide) error { panic("broken program") })
	d, h2 := in.dial("pc-1"), in.dialHTTP2(t, in.deviceCA.issue("pc-2"))
	d.send(get("/app/"))
	if !d.closed() {
		t.Error("connection goes on")
	}
	if r := h2.receive(h2.open(true, h2request("GET", testName, "/app/")...)); !r.reset {
		t.Errorf("HTTP/2: %+v", r)
	}
	in.backend.serve(answerOK)
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	waitFor(t, func() bool { return in.inFlight.Load() == 0 && in.gates["app"].inUse == 0 })
}
