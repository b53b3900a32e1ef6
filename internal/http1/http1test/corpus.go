// Package http1test holds the corpus of requests that every front of the gateway must read in the same way,
// and of answers that must never reach a device as whole ones.
package http1test

import (
	"strings"

	"github.com/causeway-gateway/causeway"
)

// What the corpus takes for granted: requests go to ServiceName, where a server is published as Server with one rule
// for "/" and default methods, and the device has a good certificate.
const (
	ServiceName = "gateway.example"
	Server      = "updates"
)

// A Case is one request and what must become of it.
type Case struct {
	Name string

	// Raw is the request as HTTP/1.1 bytes, body included. What is refused must be refused although the connection
	// stays open behind it: some of these heads never end.
	Raw string

	// H2 is the same request without the syntax of HTTP/1.1; nil where HTTP/2 cannot say it.
	H2 *H2

	// Code is what the gateway answers, CodeNone if the request reaches the server. After a refusal that is not
	// Policy's the HTTP/1.1 connection must be closed.
	Code causeway.Code
	// Policy says that package http1 accepts the request and package policy refuses it.
	Policy bool
	// BodyFails says that the head is good and reading the body fails: the server must not see a complete request.
	BodyFails bool

	// Want is what the server sees, without what gateway and connection point add. Of a refused request it is zero.
	Want Meaning
}

// H2 is a request in the words of HTTP/2.
type H2 struct {
	Method, Authority, Path string
	Fields                  []Field
	Body                    string
}

// A Field is a name and its value.
type Field struct{ Name, Value string }

// Meaning is a request as the server sees it. Target is that of the device, the server's prefix included.
type Meaning struct {
	Method, Target, Host string
	Fields               []Field // in order; Content-Length, Transfer-Encoding and Host are not among them
	Body                 string
	Trailers             []Field
}

// Refused returns the cases with a Code.
func Refused() []Case { return filter(func(c *Case) bool { return c.Code != causeway.CodeNone }) }

// Accepted returns the cases without one, those whose body fails included.
func Accepted() []Case { return filter(func(c *Case) bool { return c.Code == causeway.CodeNone }) }

func filter(keep func(*Case) bool) (cases []Case) {
	for _, c := range Corpus() {
		if keep(&c) {
			cases = append(cases, c)
		}
	}
	return cases
}

// Corpus returns all cases.
func Corpus() []Case {
	var all []Case
	for _, part := range [][]Case{plain(), bodies(), brokenBodies(), framing(), lines(), hosts(), targets(), paths(), limits(), dropped(), methods()} {
		all = append(all, part...)
	}
	return all
}

const host = "Host: " + ServiceName + "\r\n"

// get is a GET of the server's /x with more field lines.
func get(lines string) string { return "GET /updates/x HTTP/1.1\r\n" + host + lines + "\r\n" }

// post is a POST of the server's /x with more field lines and whatever follows the head.
func post(lines, body string) string {
	return "POST /updates/x HTTP/1.1\r\n" + host + lines + "\r\n" + body
}

func getMeaning(fields ...Field) Meaning {
	return Meaning{Method: "GET", Target: "/updates/x", Host: ServiceName, Fields: fields}
}

func postMeaning(body string, fields ...Field) Meaning {
	return Meaning{Method: "POST", Target: "/updates/x", Host: ServiceName, Body: body, Fields: fields}
}

func h2get(path string, fields ...Field) *H2 {
	return &H2{Method: "GET", Authority: ServiceName, Path: path, Fields: fields}
}

func h2post(body string, fields ...Field) *H2 {
	return &H2{Method: "POST", Authority: ServiceName, Path: "/updates/x", Body: body, Fields: fields}
}

func refuse(name, raw string, code causeway.Code) Case { return Case{Name: name, Raw: raw, Code: code} }

const badRequest = causeway.CodeBadRequest

func plain() []Case {
	return []Case{
		{Name: "GET", Raw: get(""), H2: h2get("/updates/x"), Want: getMeaning()},
		{Name: "GET with a query", Raw: "GET /updates/a/b?c=d&e=%00 HTTP/1.1\r\n" + host + "\r\n", H2: h2get("/updates/a/b?c=d&e=%00"),
			Want: Meaning{Method: "GET", Target: "/updates/a/b?c=d&e=%00", Host: ServiceName}},
		{Name: "field values keep their bytes", Raw: get("X-A: one  two\t three\r\nX-B:x\r\nX-C: \t y \t\r\nX-D:\r\nX-E: \xe4\xff\r\n"),
			Want: getMeaning(Field{"X-A", "one  two\t three"}, Field{"X-B", "x"}, Field{"X-C", "y"}, Field{"X-D", ""}, Field{"X-E", "\xe4\xff"})},
		{Name: "same field twice", Raw: get("X-A: 1\r\nX-A: 2\r\n"), H2: h2get("/updates/x", Field{"x-a", "1"}, Field{"x-a", "2"}),
			Want: getMeaning(Field{"X-A", "1"}, Field{"X-A", "2"})},
		{Name: "ConfigMgr's fields pass", Raw: get("CCMClientID: GUID:1\r\nCCMClientIDSignature: ab\r\nCCMClientTimestamp: 2026-01-01T00:00:00Z\r\nCCMClientTimestampsSignature: cd\r\nRange: bytes=0-1\r\n"),
			H2: h2get("/updates/x", Field{"ccmclientid", "GUID:1"}, Field{"ccmclientidsignature", "ab"}, Field{"ccmclienttimestamp", "2026-01-01T00:00:00Z"},
				Field{"ccmclienttimestampssignature", "cd"}, Field{"range", "bytes=0-1"}),
			Want: getMeaning(Field{"CCMClientID", "GUID:1"}, Field{"CCMClientIDSignature", "ab"}, Field{"CCMClientTimestamp", "2026-01-01T00:00:00Z"},
				Field{"CCMClientTimestampsSignature", "cd"}, Field{"Range", "bytes=0-1"})},
		{Name: "a name with an underscore passes", Raw: get("X_Custom_Name: 1\r\n"), H2: h2get("/updates/x", Field{"x_custom_name", "1"}),
			Want: getMeaning(Field{"X_Custom_Name", "1"})},
		{Name: "HTTP/1.0", Raw: "GET /updates/x HTTP/1.0\r\n" + host + "\r\n", Want: getMeaning()},
	}
}

func bodies() []Case {
	return []Case{
		{Name: "body with a length", Raw: post("Content-Length: 5\r\n", "hello"), H2: h2post("hello"), Want: postMeaning("hello")},
		{Name: "length of zero", Raw: post("Content-Length: 0\r\n", ""), H2: h2post(""), Want: postMeaning("")},
		{Name: "length with zeros in front", Raw: post("Content-Length: 0005\r\n", "hello"), Want: postMeaning("hello")},
		{Name: "bytes behind the body are no part of it", Raw: post("Content-Length: 5\r\n", "helloGET"), Want: postMeaning("hello")},
		{Name: "chunked body", Raw: post("Transfer-Encoding: chunked\r\n", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), H2: h2post("hello"), Want: postMeaning("hello")},
		{Name: "chunked in capitals", Raw: post("Transfer-Encoding: CHUNKED\r\n", "A\r\n0123456789\r\n00\r\n\r\n"), Want: postMeaning("0123456789")},
		{Name: "chunk extensions", Raw: post("Transfer-Encoding: chunked\r\n", "3;a=b;c=\"d\"\r\nhel\r\n2;x\r\nlo\r\n0;y\r\n\r\n"), Want: postMeaning("hello")},
		{Name: "chunk size with zeros in front", Raw: post("Transfer-Encoding: chunked\r\n", "0000000000000005\r\nhello\r\n0\r\n\r\n"), Want: postMeaning("hello")},
		{Name: "empty chunked body", Raw: post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), H2: h2post(""), Want: postMeaning("")},
		{Name: "trailers", Raw: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\nServer-Timing: a\r\n\r\n"),
			Want: Meaning{Method: "POST", Target: "/updates/x", Host: ServiceName, Body: "hello", Trailers: []Field{{"X-Sum", "1"}, {"Server-Timing", "a"}}}},
		{Name: "trailers that frame, route or identify are dropped",
			Raw: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n"+
				"Client-Cert: :x:\r\nX_Causeway_Device_Id: admin\r\nX-Forwarded-For: 1.1.1.1\r\nAuthorization: Basic x\r\nCookie: a=b\r\nCCMClientID: x\r\nX-Ok: 1\r\n\r\n"),
			Want: Meaning{Method: "POST", Target: "/updates/x", Host: ServiceName, Body: "hello", Trailers: []Field{{"X-Ok", "1"}}}},
	}
}

// brokenBodies have a good head.
func brokenBodies() []Case {
	var cases []Case
	for _, c := range []struct{ name, body string }{
		{"chunk size in C's form", "0x3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size with a plus", "+3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size with a minus", "-3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size with an underscore", "0_3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size that overflows", "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"},
		{"chunk size beyond 63 bits", "8000000000000000\r\nabc\r\n0\r\n\r\n"},
		{"chunk size of 17 digits", "00000000000000003\r\nabc\r\n0\r\n\r\n"},
		{"no chunk size", "\r\nabc\r\n0\r\n\r\n"},
		{"chunk size is an extension alone", ";a\r\nabc\r\n0\r\n\r\n"},
		{"space before the chunk size", " 3\r\nabc\r\n0\r\n\r\n"},
		{"space behind the chunk size", "3 \r\nabc\r\n0\r\n\r\n"},
		{"space before an extension", "3 ;a\r\nabc\r\n0\r\n\r\n"},
		{"bare LF behind the chunk size", "3\nabc\r\n0\r\n\r\n"},
		{"bare LF behind an extension", "3;a\nabc\r\n0\r\n\r\n"},
		{"bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"},
		{"bare CR behind the chunk size", "3\rabc\r\n0\r\n\r\n"},
		{"NUL in an extension", "3;\x00\r\nabc\r\n0\r\n\r\n"},
		{"bare LF behind a chunk", "3\r\nabc\n0\r\n\r\n"},
		{"no line end behind a chunk", "3\r\nabc0\r\n\r\n"},
		{"chunk longer than its size", "3\r\nabcd\r\n0\r\n\r\n"},
		{"chunk shorter than its size", "5\r\nabc\r\n0\r\n\r\n"},
		{"bare LF ends the body", "3\r\nabc\r\n0\r\n\n"},
		{"bare LF behind the last chunk", "3\r\nabc\r\n0\n\r\n"},
		{"bare LF behind a trailer", "3\r\nabc\r\n0\r\nA: b\n\r\n"},
		{"folded trailer", "3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n"},
		{"trailer without a colon", "3\r\nabc\r\n0\r\nGET / HTTP/1.1\r\n\r\n"},
		{"trailer with a space before the colon", "3\r\nabc\r\n0\r\nA : b\r\n\r\n"},
		{"endless extension", "3;" + strings.Repeat("a", 5000) + "\r\nabc\r\n0\r\n\r\n"},
		{"many extensions", strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\na\r\n", 100) + "0\r\n\r\n"},
		{"too many trailers", "0\r\n" + strings.Repeat("A: b\r\n", 100) + "\r\n"},
		{"endless trailer", "0\r\nA: " + strings.Repeat("b", 20000) + "\r\n\r\n"},
	} {
		cases = append(cases, Case{Name: c.name, Raw: post("Transfer-Encoding: chunked\r\n", c.body), BodyFails: true})
	}
	return cases
}

func framing() []Case {
	const chunks = "5\r\nhello\r\n0\r\n\r\n"
	return []Case{
		refuse("length beside chunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks), badRequest),
		refuse("chunked beside length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks), badRequest),
		refuse("length beside a broken transfer coding", post("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", "hello"), badRequest),
		refuse("two lengths", post("Content-Length: 3\r\nContent-Length: 5\r\n", "hello"), badRequest),
		refuse("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), badRequest),
		refuse("two lengths of zero", post("Content-Length: 0\r\ncontent-length: 0\r\n", ""), badRequest),
		refuse("list of equal lengths", post("Content-Length: 5, 5\r\n", "hello"), badRequest),
		refuse("length with a plus", post("Content-Length: +5\r\n", "hello"), badRequest),
		refuse("length with a minus", post("Content-Length: -5\r\n", "hello"), badRequest),
		refuse("length in hexadecimal", post("Content-Length: 0x5\r\n", "hello"), badRequest),
		refuse("length with an underscore", post("Content-Length: 1_0\r\n", "hello"), badRequest),
		refuse("length with a space inside", post("Content-Length: 1 0\r\n", "hello"), badRequest),
		refuse("empty length", post("Content-Length:\r\n", "hello"), badRequest),
		refuse("length that overflows", post("Content-Length: 9223372036854775808\r\n", "hello"), badRequest),
		refuse("length that overflows to a small number", post("Content-Length: 18446744073709551621\r\n", "hello"), badRequest),
		refuse("length in other digits", post("Content-Length: \xd9\xa5\r\n", "hello"), badRequest),
		refuse("chunked with a control character in front", post("Transfer-Encoding: \x0bchunked\r\n", chunks), badRequest),
		refuse("space before the colon of Transfer-Encoding", post("Transfer-Encoding : chunked\r\n", chunks), badRequest),
		refuse("space before the colon of Content-Length", post("Content-Length : 5\r\n", "hello"), badRequest),
		refuse("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks), badRequest),
		refuse("chunked and identity in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunks), badRequest),
		refuse("chunked is not last", post("Transfer-Encoding: chunked, gzip\r\n", chunks), badRequest),
		refuse("chunked twice in one field", post("Transfer-Encoding: chunked, chunked\r\n", chunks), badRequest),
		refuse("empty transfer coding", post("Transfer-Encoding:\r\n", chunks), badRequest),
		refuse("transfer coding with a comma", post("Transfer-Encoding: chunked,\r\n", chunks), badRequest),
		refuse("transfer coding in quotes", post("Transfer-Encoding: \"chunked\"\r\n", chunks), badRequest),
		refuse("transfer coding with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", chunks), badRequest),
		refuse("xchunked", post("Transfer-Encoding: xchunked\r\n", chunks), causeway.CodeNotImplemented),
		refuse("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", chunks), causeway.CodeNotImplemented),
		refuse("identity", post("Transfer-Encoding: identity\r\n", "hello"), causeway.CodeNotImplemented),
		refuse("HTTP/1.0 with chunked", "POST /updates/x HTTP/1.0\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n"+chunks, badRequest),
		refuse("HTTP/1.0 with another transfer coding", "POST /updates/x HTTP/1.0\r\n"+host+"Transfer-Encoding: identity\r\n\r\n", badRequest),
		{Name: "a twin of Content-Length frames nothing and is dropped", Raw: get("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n"),
			H2: h2get("/updates/x", Field{"content_length", "5"}, Field{"transfer_encoding", "chunked"}), Want: getMeaning()},
		refuse("an expectation we do not know", post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"), causeway.CodeExpectationFailed),
		refuse("two expectations", post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "hello"), causeway.CodeExpectationFailed),
		{Name: "the expectation we know", Raw: post("Expect: 100-Continue\r\nContent-Length: 5\r\n", "hello"), Want: postMeaning("hello")},
		refuse("Connection names Upgrade and there is none", get("Connection: upgrade\r\n"), badRequest),
		refuse("two upgrades", get("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"), badRequest),
		refuse("Connection is no list of tokens", get("Connection: a b\r\n"), badRequest),
	}
}

func lines() []Case {
	return []Case{
		refuse("bare LF behind the request line", "GET /updates/x HTTP/1.1\n"+host+"\r\n", badRequest),
		refuse("bare LF behind a field", "GET /updates/x HTTP/1.1\r\nHost: "+ServiceName+"\nX: y\r\n\r\n", badRequest),
		refuse("bare LF throughout", "GET /updates/x HTTP/1.1\nHost: "+ServiceName+"\n\n", badRequest),
		refuse("bare LF ends the head", "GET /updates/x HTTP/1.1\r\n"+host+"\n", badRequest),
		refuse("bare CR in a value", get("X: a\rb\r\n"), badRequest),
		refuse("bare CR hides a field", get("X: a\rTransfer-Encoding: chunked\r\n"), badRequest),
		refuse("bare CR in a name", get("X\rY: a\r\n"), badRequest),
		refuse("CR CR LF", get("X: a\r\r\n"), badRequest),
		refuse("bare CR in the request line", "GET /updates/x\rHTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("folded field with a space", get("X: a\r\n b\r\n"), badRequest),
		refuse("folded field with a tab", get("X: a\r\n\tb\r\n"), badRequest),
		refuse("folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), badRequest),
		refuse("space before the first field", "GET /updates/x HTTP/1.1\r\n "+host+"\r\n", badRequest),
		refuse("line of spaces", get(" \r\n"), badRequest),
		refuse("space before the colon", get("X : a\r\n"), badRequest),
		refuse("tab before the colon", get("X\t: a\r\n"), badRequest),
		refuse("space in a name", get("X Y: a\r\n"), badRequest),
		refuse("no name", get(": a\r\n"), badRequest),
		refuse("no colon", get("X\r\n"), badRequest),
		refuse("NUL in a value", get("X: a\x00b\r\n"), badRequest),
		refuse("NUL in a name", get("X\x00: a\r\n"), badRequest),
		refuse("control character in a value", get("X: a\x01\r\n"), badRequest),
		refuse("escape sequence in a value", get("X: \x1b[2J\r\n"), badRequest),
		refuse("DEL in a value", get("X: \x7f\r\n"), badRequest),
		refuse("raw byte in a name", get("X\xe4: a\r\n"), badRequest),
		refuse("parenthesis in a name", get("X(: a\r\n"), badRequest),
		refuse("HTTP/0.9", "GET /updates/x\r\n\r\n", badRequest),
		refuse("HTTP/0.9 with a version", "GET /updates/x HTTP/0.9\r\n"+host+"\r\n", causeway.CodeVersionNotSupported),
		refuse("HTTP/1.2", "GET /updates/x HTTP/1.2\r\n"+host+"\r\n", causeway.CodeVersionNotSupported),
		refuse("HTTP/9.9", "GET /updates/x HTTP/9.9\r\n"+host+"\r\n", causeway.CodeVersionNotSupported),
		refuse("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", causeway.CodeVersionNotSupported),
		refuse("version in small letters", "GET /updates/x http/1.1\r\n"+host+"\r\n", badRequest),
		refuse("version with more digits", "GET /updates/x HTTP/1.10\r\n"+host+"\r\n", badRequest),
		refuse("version of another protocol", "GET /updates/x RTSP/1.0\r\n"+host+"\r\n", badRequest),
		refuse("space behind the version", "GET /updates/x HTTP/1.1 \r\n"+host+"\r\n", badRequest),
		refuse("two spaces before the target", "GET  /updates/x HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("two spaces before the version", "GET /updates/x  HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("tab in the request line", "GET\t/updates/x HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("space in the target", "GET /updates/a b HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("space before the method", " GET /updates/x HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("empty line in front", "\r\nGET /updates/x HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("method with a colon", "GE:T /updates/x HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("bytes of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", badRequest),
	}
}

func hosts() []Case {
	with := func(h string) string { return "GET /updates/x HTTP/1.1\r\n" + h + "\r\n" }
	foreign := func(name, authority string) Case {
		return Case{Name: name, Raw: with("Host: " + authority + "\r\n"), Code: causeway.CodeMisdirected, Policy: true,
			H2: &H2{Method: "GET", Authority: authority, Path: "/updates/x"}}
	}
	return []Case{
		refuse("no Host", with(""), badRequest),
		refuse("no Host in HTTP/1.0", "GET /updates/x HTTP/1.0\r\n\r\n", badRequest),
		refuse("empty Host", with("Host:\r\n"), badRequest),
		refuse("two Hosts", with(host+"Host: evil.example\r\n"), badRequest),
		refuse("two equal Hosts", with(host+host), badRequest),
		refuse("two Hosts in HTTP/1.0", "GET /updates/x HTTP/1.0\r\n"+host+host+"\r\n", badRequest),
		refuse("Host with user information", with("Host: a@"+ServiceName+"\r\n"), badRequest),
		refuse("Host with a path", with("Host: "+ServiceName+"/a\r\n"), badRequest),
		refuse("Host with a query", with("Host: "+ServiceName+"?a\r\n"), badRequest),
		refuse("Host with a space", with("Host: a "+ServiceName+"\r\n"), badRequest),
		refuse("Host with a comma", with("Host: "+ServiceName+",evil.example\r\n"), badRequest),
		refuse("Host with an escape", with("Host: gateway%2eexample\r\n"), badRequest),
		refuse("Host with an empty port", with("Host: "+ServiceName+":\r\n"), badRequest),
		refuse("Host with a port that is none", with("Host: "+ServiceName+":https\r\n"), badRequest),
		refuse("Host with a port above all", with("Host: "+ServiceName+":65536\r\n"), badRequest),
		refuse("Host with two ports", with("Host: "+ServiceName+":443:443\r\n"), badRequest),
		refuse("Host with a raw byte", with("Host: \xe4.example\r\n"), badRequest),
		refuse("Host that is half an address", with("Host: [::1\r\n"), badRequest),
		refuse("Host with an address in brackets that is none", with("Host: [gateway.example]\r\n"), badRequest),
		{Name: "Host in capitals", Raw: with("hOST: GATEWAY.example\r\n"), H2: &H2{Method: "GET", Authority: "GATEWAY.example", Path: "/updates/x"},
			Want: Meaning{Method: "GET", Target: "/updates/x", Host: "GATEWAY.example"}},
		{Name: "Host with the port", Raw: with("Host: " + ServiceName + ":443\r\n"), H2: &H2{Method: "GET", Authority: ServiceName + ":443", Path: "/updates/x"},
			Want: Meaning{Method: "GET", Target: "/updates/x", Host: ServiceName + ":443"}},
		foreign("foreign Host", "evil.example"),
		foreign("Host with another port", ServiceName+":1"),
		foreign("Host with a trailing dot", ServiceName+"."),
		foreign("Host of the metadata service", "169.254.169.254"),
		foreign("Host of the loopback", "[::1]"),
		{Name: "X-Forwarded-Host changes nothing", Raw: get("X-Forwarded-Host: evil.example\r\n"),
			H2: h2get("/updates/x", Field{"x-forwarded-host", "evil.example"}), Want: getMeaning()},
	}
}

func targets() []Case {
	line := func(target string) string { return "GET " + target + " HTTP/1.1\r\n" + host + "\r\n" }
	return []Case{
		{Name: "absolute form", Raw: line("https://" + ServiceName + "/updates/x"), Want: getMeaning()},
		{Name: "absolute form of http", Raw: line("HTTP://GATEWAY.example/updates/x?y"),
			Want: Meaning{Method: "GET", Target: "/updates/x?y", Host: ServiceName}},
		{Name: "absolute form without a path", Raw: line("https://" + ServiceName), Code: causeway.CodeURLNotPublished, Policy: true},
		refuse("absolute form of another host", line("http://evil.example/updates/x"), badRequest),
		refuse("absolute form with user information", line("http://a@"+ServiceName+"/updates/x"), badRequest),
		refuse("absolute form with a port that Host lacks", line("http://"+ServiceName+":443/updates/x"), badRequest),
		refuse("absolute form without a host", line("http:///updates/x"), badRequest),
		refuse("absolute form with a query alone", line("http://"+ServiceName+"?x"), badRequest),
		refuse("absolute form of another scheme", line("ftp://"+ServiceName+"/updates/x"), badRequest),
		refuse("absolute form of a file", line("file:///etc/passwd"), badRequest),
		{Name: "absolute form of a foreign host that Host names too", Raw: "GET http://evil.example/updates/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
			Code: causeway.CodeMisdirected, Policy: true},
		refuse("asterisk form", "OPTIONS * HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("authority form", "CONNECT "+ServiceName+":443 HTTP/1.1\r\n"+host+"\r\n", badRequest),
		refuse("relative target", line("updates/x"), badRequest),
		refuse("backslash in front", line("\\updates/x"), badRequest),
		refuse("fragment", line("/updates/x#y"), badRequest),
		refuse("control character in the target", line("/updates/\x01"), badRequest),
		refuse("NUL in the target", line("/updates/\x00"), badRequest),
		refuse("DEL in the query", line("/updates/x?\x7f"), badRequest),
		refuse("escape without digits", line("/updates/%"), badRequest),
		refuse("escape of IIS", line("/updates/%u002e"), badRequest),
	}
}

// paths are refused by policy, so both fronts must hand them on unchanged.
func paths() []Case {
	var cases []Case
	for _, c := range []struct{ name, path string }{
		{"parent segment", "/updates/a/../b"},
		{"encoded parent", "/updates/a/%2e%2e/b"},
		{"twice encoded parent", "/updates/%252e%252e/b"},
		{"encoded slashes around parent", "/updates/a%2f..%2fb"},
		{"encoded backslash", "/updates/a%5cb"},
		{"backslash", "/updates/a\\..\\b"},
		{"two slashes", "/updates//e/x"},
		{"two slashes in front", "//updates/x"},
		{"encoded NUL", "/updates/a%00b"},
		{"overlong UTF-8", "/updates/%c0%ae%c0%ae/"},
		{"semicolon parent", "/updates/..;x=1/"},
		{"semicolon", "/updates/;x=1/a"},
		{"encoded newline", "/updates/a%0d%0aX:%20y"},
	} {
		cases = append(cases, Case{Name: c.name, Raw: "GET " + c.path + " HTTP/1.1\r\n" + host + "\r\n", Code: badRequest, Policy: true, H2: h2get(c.path)})
	}
	for _, c := range []struct{ name, path string }{
		{"flat apt repository", "/updates/./InRelease"},
		{"scoped npm package", "/updates/@scope%2fname"},
		{"escapes that apt sends", "/updates/lib%2bx_1%7e1.deb"},
		{"trailing slash", "/updates/a/"},
		{"raw UTF-8", "/updates/gr\xc3\xbc\xc3\x9fe"},
	} {
		cases = append(cases, Case{Name: c.name, Raw: "GET " + c.path + " HTTP/1.1\r\n" + host + "\r\n", H2: h2get(c.path),
			Want: Meaning{Method: "GET", Target: c.path, Host: ServiceName}})
	}
	return append(cases, Case{Name: "not published", Raw: "GET /nothing HTTP/1.1\r\n" + host + "\r\n", H2: h2get("/nothing"),
		Code: causeway.CodeURLNotPublished, Policy: true})
}

func limits() []Case {
	long := func(n int) string { return "/updates/" + strings.Repeat("a", n-len("/updates/")) }
	return []Case{
		{Name: "longest target", Raw: "GET " + long(8<<10) + " HTTP/1.1\r\n" + host + "\r\n", H2: h2get(long(8 << 10)),
			Want: Meaning{Method: "GET", Target: long(8 << 10), Host: ServiceName}},
		{Name: "target above the limit", Raw: "GET " + long(8<<10+1) + " HTTP/1.1\r\n" + host + "\r\n", H2: h2get(long(8<<10 + 1)), Code: causeway.CodeURITooLong},
		{Name: "request line without end", Raw: "GET /" + strings.Repeat("a", 64<<10), Code: causeway.CodeURITooLong},
		{Name: "field above the limit", Raw: get("X: " + strings.Repeat("a", 16<<10) + "\r\n"), Code: causeway.CodeHeadersTooLarge,
			H2: h2get("/updates/x", Field{"x", strings.Repeat("a", 16<<10)})},
		{Name: "field without end", Raw: "GET /updates/x HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 64<<10), Code: causeway.CodeHeadersTooLarge},
		{Name: "many small fields", Raw: get(strings.Repeat("X: a\r\n", 100)), Code: causeway.CodeHeadersTooLarge},
		{Name: "99 fields and Host", Raw: get(strings.Repeat("X: a\r\n", 99)), H2: h2get("/updates/x", many(Field{"x", "a"}, 99)...),
			Want: getMeaning(many(Field{"X", "a"}, 99)...)},
	}
}

func many(f Field, n int) (fields []Field) {
	for range n {
		fields = append(fields, f)
	}
	return fields
}

// dropped are fields that never reach the server, in every spelling.
func dropped() []Case {
	var cases []Case
	for _, f := range []Field{
		{"Client-Cert", ":MII:"}, {"Client_Cert", ":MII:"}, {"CLIENT-CERT", ":MII:"}, {"client_cert-chain", ":MII:"},
		{"X-Causeway-Device-Id", "admin"}, {"X_Causeway_Device_Id", "admin"}, {"x-causeway_anything", "1"},
		{"X-Client-Verify", "SUCCESS"}, {"X_Client_Verify", "SUCCESS"}, {"X-Client-DN", "CN=admin"}, {"X-Client_DN", "CN=admin"},
		{"X-Client-Cert", "x"}, {"X-SSL-Client-Cert", "x"}, {"X_SSL_Client_Verify", "SUCCESS"}, {"X-SSL-Client-S-DN", "CN=admin"},
		{"SSL-Client-Cert", "x"}, {"SSL_CLIENT_S_DN", "CN=admin"}, {"SSL_CLIENT_VERIFY", "SUCCESS"},
		{"X-Forwarded-Client-Cert", "x"}, {"X-Forwarded_Client-Cert", "x"}, {"X-ARR-ClientCert", "x"},
		{"X-Forwarded-For", "1.1.1.1"}, {"X_Forwarded_For", "1.1.1.1"}, {"X-Forwarded-Proto", "http"}, {"Forwarded", "for=1.1.1.1"},
		{"X-Real-IP", "1.1.1.1"}, {"X_Real_IP", "1.1.1.1"}, {"True-Client-IP", "1.1.1.1"}, {"X-Original-URL", "/admin"}, {"X-Rewrite-URL", "/admin"},
		{"Proxy", "http://evil.example"}, {"Proxy-Authorization", "Basic x"}, {"X-Request-Id", "x"}, {"traceparent", "00-x"},
	} {
		cases = append(cases, Case{Name: "dropped: " + f.Name, Raw: get(f.Name + ": " + f.Value + "\r\nX-Ok: 1\r\n"),
			H2: h2get("/updates/x", Field{strings.ToLower(f.Name), f.Value}, Field{"x-ok", "1"}), Want: getMeaning(Field{"X-Ok", "1"})})
	}
	return append(cases,
		Case{Name: "hop-by-hop fields", Raw: get("Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Ok: 1\r\n"),
			Want: getMeaning(Field{"X-Ok", "1"})},
		Case{Name: "named in Connection", Raw: get("Connection: X-A, , x_b\r\nConnection: close\r\nX-A: 1\r\nX_B: 1\r\nX-B: 2\r\n"),
			Want: getMeaning(Field{"X-B", "2"})},
		Case{Name: "Connection names what we add", Raw: get("Connection: X-Causeway-Device-Id, Client-Cert, Host, Content-Length, Forwarded\r\nX-Ok: 1\r\n"),
			Want: getMeaning(Field{"X-Ok", "1"})},
		Case{Name: "Connection names Transfer-Encoding", Raw: post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
			Want: postMeaning("hello")},
	)
}

func methods() []Case {
	method := func(m string, code causeway.Code) Case {
		c := Case{Name: m, Raw: m + " /updates/x HTTP/1.1\r\n" + host + "\r\n", H2: &H2{Method: m, Authority: ServiceName, Path: "/updates/x"},
			Code: code, Policy: code != causeway.CodeNone}
		if code == causeway.CodeNone {
			c.Want = Meaning{Method: m, Target: "/updates/x", Host: ServiceName}
		}
		return c
	}
	var cases []Case
	for _, m := range []string{"HEAD", "DELETE", "OPTIONS", "PROPFIND", "CCM_POST", "BITS_POST"} {
		cases = append(cases, method(m, causeway.CodeNone))
	}
	for _, m := range []string{"TRACE", "get", "MOVE", "PURGE"} {
		cases = append(cases, method(m, causeway.CodeMethodNotAllowed))
	}
	return append(cases,
		Case{Name: "CONNECT with a path", Raw: "CONNECT /updates/x HTTP/1.1\r\n" + host + "\r\n", Code: causeway.CodeMethodNotAllowed, Policy: true},
		Case{Name: "upgrade to h2c", Raw: get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
			Code: causeway.CodeUpgradeRefused, Policy: true},
		Case{Name: "upgrade to WebSocket where none is allowed", Raw: get("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
			Code: causeway.CodeUpgradeRefused, Policy: true},
	)
}
