//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBadRequestsEndAtTheGateway sends what must never reach a server. Behind every bad request stands another, well
// formed: after a bad form it must not be answered either, because nobody can know where the bad request ends.
func TestBadRequestsEndAtTheGateway(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	config, host := s.tlsConfig(t), s.host(t)

	const (
		line = "GET /app/x HTTP/1.1\r\n"
		post = "POST /app/x HTTP/1.1\r\n"
	)
	h := "Host: " + host + "\r\n"
	for _, tt := range []struct {
		name, request string
		want          []int
	}{
		{"content-length with chunked", post + h + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"chunked with content-length", post + h + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", []int{400}},
		{"two different content-lengths", post + h + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", []int{400}},
		{"two equal content-lengths", post + h + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", []int{400}},
		{"content-length list", post + h + "Content-Length: 1, 1\r\n\r\nx", []int{400}},
		{"content-length with a sign", post + h + "Content-Length: +1\r\n\r\nx", []int{400}},
		{"content-length too large to be one", post + h + "Content-Length: 99999999999999999999\r\n\r\nx", []int{400, 413}},
		{"unknown transfer coding", post + h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{400, 501}},
		{"chunked twice", post + h + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", []int{400, 501}},
		{"chunked then identity", post + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", []int{400, 501}},
		{"chunked with a vertical tab", post + h + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"HTTP/1.0 with transfer-encoding", "POST /app/x HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"bare line feeds", "GET /app/x HTTP/1.1\nHost: " + host + "\n\n", []int{400}},
		{"one bare line feed", line + h + "A: b\nC: d\r\n\r\n", []int{400}},
		{"bare carriage return", line + h + "A: b\rC: d\r\n\r\n", []int{400}},
		{"folded header", line + h + "A: b\r\n c\r\n\r\n", []int{400}},
		{"space before the colon", line + h + "A : b\r\n\r\n", []int{400}},
		{"NUL in a header", line + h + "A: b\x00c\r\n\r\n", []int{400}},
		{"control character in a header", line + h + "A: b\x01c\r\n\r\n", []int{400}},
		{"header without a colon", line + h + "nonsense\r\n\r\n", []int{400}},
		{"header without a name", line + h + ": x\r\n\r\n", []int{400}},
		{"no Host", line + "\r\n", []int{400}},
		{"two Hosts", line + h + h + "\r\n", []int{400}},
		{"Host with userinfo", line + "Host: a@" + host + "\r\n\r\n", []int{400, 421}},
		{"foreign Host", line + "Host: other.example\r\n\r\n", []int{421}},
		{"foreign port in Host", line + "Host: " + strings.Split(host, ":")[0] + ":1\r\n\r\n", []int{421}},
		{"absolute target of another host", "GET https://other.example/app/x HTTP/1.1\r\n" + h + "\r\n", []int{400, 421}},
		{"absolute target of another scheme", "GET ftp://" + host + "/app/x HTTP/1.1\r\n" + h + "\r\n", []int{400, 421}},
		{"target without a slash", "GET app/x HTTP/1.1\r\n" + h + "\r\n", []int{400}},
		{"space in the target", "GET /app/x y HTTP/1.1\r\n" + h + "\r\n", []int{400}},
		{"HTTP/9.9", "GET /app/x HTTP/9.9\r\n" + h + "\r\n", []int{505}},
		{"HTTP/2.0 in a start line", "GET /app/x HTTP/2.0\r\n" + h + "\r\n", []int{400, 505}},
		{"HTTP/0.9", "GET /app/x\r\n\r\n", []int{400, 505}},
		{"the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 405, 505}},
		{"CONNECT", "CONNECT " + host + " HTTP/1.1\r\n" + h + "\r\n", []int{400, 405}},
		{"TRACE", "TRACE /app/x HTTP/1.1\r\n" + h + "\r\n", []int{400, 405}},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + h + "\r\n", []int{400, 405}},
		{"method that is no token", "GE/T /app/x HTTP/1.1\r\n" + h + "\r\n", []int{400}},
		{"chunk size with 0x", post + h + "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n", []int{400}},
		{"chunk size too large", post + h + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n", []int{400, 413}},
		{"chunk with a bare line feed", post + h + "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n", []int{400}},
		{"chunk longer than its size", post + h + "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n", []int{400}},
		{"unknown expectation", post + h + "Expect: miracles\r\nContent-Length: 1\r\n\r\nx", []int{417}},
		{"header of 20 KiB", line + h + "A: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", []int{431}},
		{"150 headers", line + h + strings.Repeat("A: b\r\n", 150) + "\r\n", []int{431}},
		{"URI of 9 KiB", "GET /app/" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\n" + h + "\r\n", []int{414}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := s.raw(t, config)
			behind := "/behind/" + strings.ReplaceAll(tt.name, " ", "-")
			c.send(tt.request + "GET /app" + behind + " HTTP/1.1\r\n" + h + "\r\n")
			got, ok := c.answer(t, "GET")
			if !ok {
				t.Fatal("the gateway closed without an answer")
			}
			if !slices.Contains(tt.want, got.StatusCode) {
				t.Errorf("got %d %s, want one of %v", got.StatusCode, got.body, tt.want)
			}
			if code := problem(t, got.body); !strings.Contains(code, "CMGService_") || got.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("the refusal does not name its hop: %s, %s", code, got.Header.Get("Content-Type"))
			}
			if got.StatusCode == 421 || got.StatusCode == 405 {
				return // the form was good, so the connection may go on
			}
			if !c.closed() {
				t.Error("the connection went on")
			}
			for _, target := range o.targets() {
				if target == behind {
					t.Error("the request behind the bad one was served")
				}
				// What a chunked body turns out to be is known only after its head was passed on.
				if target == "/x" && !strings.Contains(tt.request, "chunked\r\n\r\n") {
					t.Error("the bad request reached the server")
				}
			}
		})
	}
}

// TestPathsWithTwoReadingsAreRefused holds every trick against the mapping of paths.
func TestPathsWithTwoReadingsAreRefused(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	config, host := s.tlsConfig(t), s.host(t)
	for _, tt := range []struct {
		path string
		want []int
	}{
		{"/app/../app/x", []int{400}},
		{"/app/..", []int{400}},
		{"/app/%2e%2e/x", []int{400}},
		{"/app/%2E%2e/x", []int{400}},
		{"/app/.%2e/x", []int{400}},
		{"/app/%252e%252e/x", []int{400}},
		{"/app/%2f..%2fx", []int{400}},
		{"/app/a%2f..%2fb", []int{400}},
		{"/app/a%5c..%5cb", []int{400}},
		{`/app/a\..\b`, []int{400}},
		{"/app//x", []int{400}},
		{"//app/x", []int{400}},
		{"/app/a%00b", []int{400}},
		{"/app/a%0d%0ab", []int{400}},
		{"/app/%c0%ae%c0%ae/x", []int{400}},
		{"/app/%ff", []int{400}},
		{"/app/%zz", []int{400}},
		{"/app/%2", []int{400}},
		{"/app/;x=1/y", []int{400, 403, 404}},
		{"/app;x/y", []int{400, 403, 404}},
		{"/App/x", []int{404}},
		{"/appx", []int{404}},
		{"/unknown/x", []int{404}},
		{"/", []int{404}},
		{"/CCM_Proxy_MutualAuth/1/x", []int{404}},
		{"/CCM_Proxy_MutualAuth/72057594037927937/./x", []int{400, 404}},
		{"/downloadrestservice.svc/x", []int{404}},
	} {
		t.Run(tt.path, func(t *testing.T) {
			before := o.requests.Load()
			c := s.raw(t, config)
			c.send("GET " + tt.path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
			got, ok := c.answer(t, "GET")
			if !ok || !slices.Contains(tt.want, got.StatusCode) {
				t.Errorf("got %+v, want one of %v", got, tt.want)
			}
			if n := o.requests.Load() - before; n > 0 {
				t.Errorf("%d requests reached the server", n)
			}
		})
	}
}

// TestLegalPathsAreForwardedAsTheyCame is the other half: what real clients send passes unchanged.
func TestLegalPathsAreForwardedAsTheyCame(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	config, host := s.tlsConfig(t), s.host(t)
	for _, tt := range []struct{ path, want string }{
		{"/app/x", "/x"},
		{"/app/", "/"},
		{"/app/./InRelease", "/./InRelease"},
		{"/app/@scope%2fname", "/@scope%2fname"},
		{"/app/a%2bb%7ec_1.0+x~y.deb", "/a%2bb%7ec_1.0+x~y.deb"},
		{"/app/a/", "/a/"},
		{"/app/%C3%A9", "/%C3%A9"},
		{"/app/x?a=../b&c=%2e%2e;d//", "/x?a=../b&c=%2e%2e;d//"},
		{"https://" + host + "/app/absolute", "/absolute"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			c := s.raw(t, config)
			c.send("GET " + tt.path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
			got, ok := c.answer(t, "GET")
			if !ok || got.StatusCode != 200 {
				t.Fatalf("got %+v", got)
			}
			if e := decode(t, got.body); e.Target != tt.want {
				t.Errorf("the server was asked for %q, want %q", e.Target, tt.want)
			}
		})
	}
}

// TestIdentityHeadersFromOutsideAreDropped sends every spelling of what only the connection point may say.
func TestIdentityHeadersFromOutsideAreDropped(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	config, host := s.tlsConfig(t), s.host(t)
	var head strings.Builder
	for _, name := range []string{
		"X-Causeway-Device-Id", "x-causeway-device-id", "X_Causeway_Device_Id", "X-Causeway_Device-Id", "Client-Cert", "Client_Cert",
		"Client-Cert-Chain", "X-Client-Cert", "X-Client-Verify", "X-Client-DN", "X_Client_DN", "X-SSL-Client-Cert", "X_SSL_Client_S_DN",
		"Forwarded", "X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP",
		"Proxy-Connection", "Keep-Alive", "Named-Hop",
	} {
		fmt.Fprintf(&head, "%s: forged-%s\r\n", name, name)
	}
	c := s.raw(t, config)
	c.send("GET /app/x HTTP/1.1\r\nHost: " + host + "\r\nConnection: Named-Hop, X-Causeway-Device-Id\r\nX_Under_Score: kept\r\nX-Plain: kept\r\n" + head.String() + "\r\n")
	got, ok := c.answer(t, "GET")
	if !ok || got.StatusCode != 200 {
		t.Fatalf("got %+v: such headers are dropped, they are no reason to refuse", got)
	}
	e := decode(t, got.body)
	for name, values := range e.Header {
		if strings.Contains(strings.Join(values, " "), "forged") {
			t.Errorf("%s went through: %v", name, values)
		}
	}
	if len(e.Header.Values("X-Causeway-Device-Id")) != 1 || e.Header.Get("X_Under_Score")+e.Header.Get("X-Plain") == "" {
		t.Errorf("the server got %v", e.Header)
	}
}

// TestSlowDevicesAreCut opens a connection and sends less and less.
func TestSlowDevicesAreCut(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	config, host := s.tlsConfig(t), s.host(t)
	for name, text := range map[string]string{
		"half a start line": "GET /app",
		"half a head":       "GET /app/x HTTP/1.1\r\nHost: " + host + "\r\nA: ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.raw(t, config)
			begin := time.Now()
			c.send(text)
			got, ok := c.answer(t, "GET")
			if took := time.Since(begin); soak && took > 15*time.Second {
				t.Errorf("the gateway waited %s", took)
			}
			if ok && got.StatusCode != 408 {
				t.Errorf("got %d %s, want 408 or the end of the connection", got.StatusCode, got.body)
			}
			if !c.closed() {
				t.Error("the connection went on")
			}
		})
	}
}
