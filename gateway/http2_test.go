package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestHTTP2OfALibraryClient(t *testing.T) {
	in := run(t)
	cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
	cfg.NextProtos = []string{"h2"}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", in.devices.Addr().String())
	}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	resp, err := client.Get("https://" + testName + "/app/x")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || string(b) != "hello " || len(resp.Header.Get("X-Request-Id")) != 32 {
		t.Errorf("got %v %q", resp, b)
	}
	req, _ := http.NewRequest("POST", "https://"+testName+"/app/x", io.MultiReader(strings.NewReader("wor"), strings.NewReader("ld")))
	req.Header.Set("Expect", "100-continue")
	if resp, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	b, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "hello world" {
		t.Errorf("got %q", b)
	}
}

func TestHTTP2AnswersKeepFramingAndTrailers(t *testing.T) {
	in := run(t)
	in.backend.serve(func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		switch string(r.head.Target) {
		case "/app/stream":
			return errors.Join(d.Informational(head("103 Early Hints", "Link: </a>")), d.Answer(head("200 OK"), []byte("ab"), false), d.Data([]byte("cd"), false), d.Data(nil, true))
		case "/app/trailers":
			return errors.Join(d.Answer(head("200 OK"), []byte("x"), false), d.Trailers([]byte("X-Sum: 1\r\nConnection: close\r\n")))
		case "/app/many":
			fields := []string{"Set-Cookie: a=1", "x-Lower: l", "ETag: \"e\"", "Set-Cookie: b=2", "Empty:", "Set-Cookie: c=3"}
			for i := range 40 {
				fields = append(fields, fmt.Sprintf("X-F%d: %d", i, i))
			}
			return d.Answer(head("200 OK", fields...), []byte("x"), true)
		case "/app/hop":
			return d.Answer(head("200 OK", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "X-Request-Id: theirs", "Alt-Svc: x"), nil, true)
		}
		return d.Answer(head("304 Not Modified", "Content-Length: 9"), nil, true)
	})
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	ask := func(path string) h2Reply { return d.receive(d.open(true, h2request("GET", testName, path)...)) }
	if r := ask("/app/stream"); r.status != "200" || r.body != "abcd" || r.informed["link"] != "</a>" || r.fields["link"] != "" {
		t.Errorf("stream: %+v", r)
	}
	if r := ask("/app/trailers"); r.body != "x" || r.trailers["x-sum"] != "1" || len(r.trailers) != 1 {
		t.Errorf("trailers: %+v", r)
	}
	if r := ask("/app/hop"); r.status != "200" || r.fields["x-hop"] != "" || r.fields["keep-alive"] != "" || r.fields["alt-svc"] != "" || len(r.fields["x-request-id"]) != 32 || r.fields["content-type"] != "" {
		t.Errorf("hop-by-hop: %+v", r)
	}
	many := ask("/app/many")
	if r := many.fields; len(r) != 4+40+3 || r["set-cookie"] != "a=1\nb=2\nc=3" || r["x-lower"] != "l" || r["etag"] != `"e"` || r["x-f39"] != "39" {
		t.Errorf("many fields: %+v", many)
	}
	if _, ok := many.fields["empty"]; !ok {
		t.Error("a field without a value is lost")
	}
	if r := ask("/app/304"); r.status != "304" || r.fields["content-length"] != "9" || r.body != "" {
		t.Errorf("304: %+v", r)
	}
}

func TestHTTP2AnswerThatEndsEarlyIsReset(t *testing.T) {
	in := run(t)
	in.backend.serve(func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		length := []string{"Content-Length: 9"}
		if string(r.head.Target) == "/app/chunked" {
			length = nil
		}
		return errors.Join(d.Answer(head("200 OK", length...), []byte("abc"), false), causeway.Refuse(causeway.CodeChannelLost, "cp-1"))
	})
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	for _, path := range []string{"/app/length", "/app/chunked"} {
		if r := d.receive(d.open(true, h2request("GET", testName, path)...)); !r.reset {
			t.Errorf("%s: %+v", path, r)
		}
	}
	in.backend.serve(answerOK)
	if r := d.receive(d.open(true, h2request("GET", testName, "/app/")...)); r.status != "200" {
		t.Errorf("the connection did not survive: %+v", r)
	}
}

func TestHTTP2MalformedRequestsAreRefused(t *testing.T) {
	in := run(t)
	cert := in.deviceCA.issue("pc-1")
	good := h2request("GET", testName, "/app/")
	for name, fields := range map[string][]h2Field{
		"Connection":                append(good, h2Field{"connection", "close"}),
		"Transfer-Encoding":         append(good, h2Field{"transfer-encoding", "chunked"}),
		"Keep-Alive":                append(good, h2Field{"keep-alive", "x"}),
		"Upgrade":                   append(good, h2Field{"upgrade", "websocket"}),
		"TE not trailers":           append(good, h2Field{"te", "gzip"}),
		"pseudo field twice":        append([]h2Field{{":method", "GET"}}, good...),
		"pseudo field late":         append([]h2Field{{"x", "y"}}, good...),
		"unknown pseudo field":      append([]h2Field{{":protocol", "websocket"}}, good...),
		"upper case":                append(good, h2Field{"X-Upper", "y"}),
		"empty path":                h2request("GET", testName, ""),
		"path with a space":         h2request("GET", testName, "/app/a b"),
		"path with CR LF":           h2request("GET", testName, "/app/a\r\nX: y"),
		"star":                      h2request("OPTIONS", testName, "*"),
		"absolute path":             h2request("GET", testName, "https://evil.test/app/"),
		"value with LF":             append(good, h2Field{"x", "a\nb: c"}),
		"name with a colon":         append(good, h2Field{"x:y", "a"}),
		"authority beside Host":     append(good, h2Field{"host", "evil.test"}),
		"Host that names a user":    h2request("GET", "a@"+testName, "/app/"),
		"no method":                 {{":scheme", "https"}, {":authority", testName}, {":path", "/app/"}},
		"scheme http":               {{":method", "GET"}, {":scheme", "http"}, {":authority", testName}, {":path", "/app/"}},
		"CONNECT":                   {{":method", "CONNECT"}, {":authority", testName + ":443"}},
		"two lengths":               append(h2request("POST", testName, "/app/"), h2Field{"content-length", "1"}, h2Field{"content-length", "2"}),
		"length of an endless body": append(good, h2Field{"content-length", "9"}),
		"many fields":               append(good, manyFields(101)...),
		"huge field":                append(good, h2Field{"x", strings.Repeat("y", 15<<10)}, h2Field{"y", strings.Repeat("z", 15<<10)}),
	} {
		t.Run(name, func(t *testing.T) {
			d := in.dialHTTP2(t, cert)
			r := d.receive(d.open(true, fields...))
			if !r.reset && (r.status == "" || r.status[0] != '4') {
				t.Errorf("got %+v", r)
			}
			d.c.Close()
		})
	}
	if seen := in.backend.requests(); len(seen) != 0 {
		t.Errorf("forwarded %q", seen[0].Head)
	}
}

func manyFields(n int) (f []h2Field) {
	for range n {
		f = append(f, h2Field{"x", "y"})
	}
	return f
}

func TestHTTP2BodyLimits(t *testing.T) {
	in := run(t)
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	id := d.open(false, h2request("POST", testName, "/app/small", h2Field{"content-length", "11"})...)
	if r := d.receive(id); r.status != "413" {
		t.Errorf("declared: %+v", r)
	}
	if n := len(in.backend.requests()); n != 0 {
		t.Errorf("%d requests reached a channel", n)
	}
	id = d.open(false, h2request("POST", testName, "/app/small")...)
	_ = d.fr.WriteData(id, true, []byte("hello world"))
	if r := d.receive(id); r.status != "413" {
		t.Errorf("streamed: %+v", r)
	}
	id = d.open(false, h2request("POST", testName, "/app/", h2Field{"content-length", "5"})...)
	_ = d.fr.WriteData(id, true, []byte("abc"))
	if r := d.receive(id); !r.reset && r.status[0] != '4' && r.status[0] != '5' {
		t.Errorf("shorter than declared: %+v", r)
	}
}

func TestHTTP2SlowBodyIsCut(t *testing.T) {
	in := run(t)
	in.apply(func(doc *signed.GatewayDocument) {
		doc.Publications[0].Rules[0].IdleTimeout = policy.Duration(150 * time.Millisecond)
	})
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	id := d.open(false, h2request("POST", testName, "/app/")...)
	_ = d.fr.WriteData(id, false, []byte("ab"))
	if r := d.receive(id); r.status != "408" {
		t.Errorf("got %+v", r)
	}
}

func TestHTTP2CancelledStreamCancelsTheExchange(t *testing.T) {
	in := run(t)
	held, ended := make(chan struct{}), make(chan struct{})
	in.backend.serve(func(ctx context.Context, _ *seenRequest, _ channel.DeviceSide) error {
		close(held)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	id := d.open(true, h2request("GET", testName, "/app/poll")...)
	<-held
	_ = d.fr.WriteRSTStream(id, http2.ErrCodeCancel)
	<-ended
	in.backend.serve(answerOK)
	if r := d.receive(d.open(true, h2request("GET", testName, "/app/")...)); r.status != "200" {
		t.Errorf("got %+v", r)
	}
}

func TestHTTP2FullDuplex(t *testing.T) {
	in := run(t)
	in.backend.serve(func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		if err := d.Answer(head("200 OK"), []byte("ready "), false); err != nil {
			return err
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return d.Data(b, true)
	})
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	id := d.open(false, h2request("POST", testName, "/app/")...)
	_ = d.fr.WriteData(id, true, []byte("later"))
	if r := d.receive(id); r.body != "ready later" {
		t.Errorf("got %+v", r)
	}
}

func TestHTTP2EndlessHeadEndsItsConnectionOnly(t *testing.T) {
	in := run(t)
	d := in.dialHTTP2(t, in.deviceCA.issue("noisy"))
	_ = d.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}, EndStream: true})
	block := []byte(strings.Repeat("\x40\x01x\x7f\x00"+strings.Repeat("y", 127), 100))
	var err error
	for range 2000 {
		if err = d.fr.WriteContinuation(1, false, block); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("an endless head is read for ever")
	}
	in.dial("quiet").ask(get("/app/")).wants(t, 200, 0)
}

func TestHTTP2StreamsAreBounded(t *testing.T) {
	in := run(t, func(c *Config) { c.Limits.MaxStreams = 4 })
	hold := make(chan struct{})
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		<-hold
		return answerOK(ctx, r, d)
	})
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	var last uint32
	for range 6 {
		last = d.open(true, h2request("GET", testName, "/app/")...)
	}
	if r := d.receive(last); !r.reset || r.code != http2.ErrCodeRefusedStream && r.code != http2.ErrCodeProtocol {
		t.Errorf("stream above the limit: %+v", r)
	}
	close(hold)
}

func TestHTTP2PrincipalIsOnePerConnection(t *testing.T) {
	in := run(t)
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	for range 3 {
		d.receive(d.open(true, h2request("GET", testName, "/app/")...))
	}
	seen := in.backend.requests()
	if len(seen) != 3 || seen[0].Principal != seen[2].Principal {
		t.Error("one connection made several principals")
	}
	d.c.Close()
	waitFor(t, func() bool { return in.Status().Connections == 0 })
}
