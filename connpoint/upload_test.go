package connpoint

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// echoServer is Go's own server, which sends every body back and says how it was framed.
func echoServer(t testing.TB) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("X-Framing", r.TransferEncoding[0])
		}
		w.Write(p)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestBodiesArriveWhole(t *testing.T) {
	srv := echoServer(t)
	b := newBench(t, srv.URL, nil)
	for _, n := range []int{0, 1, smallBody - 1, smallBody, smallBody + 1, chunkBytes, 1 << 20} {
		for _, known := range []bool{true, false} {
			body := make([]byte, n)
			rand.Read(body)
			in := b.request("POST", "/app/x")
			in.body, in.bodyBytes = bytes.NewReader(body), -1
			if known {
				in = b.request("POST", "/app/x", "Content-Length: "+string(appendInt(n)))
				in.body, in.bodyBytes = bytes.NewReader(body), int64(n)
			}
			b.serve(in)
			in.wantAnswer(t, 200, string(body))
			if chunked := strings.Contains(in.answer, "X-Framing: chunked"); chunked == known {
				t.Errorf("%d bytes, length known %v: chunked %v", n, known, chunked)
			}
		}
	}
}

func appendInt(n int) []byte {
	if n < 10 {
		return []byte{byte('0' + n)}
	}
	return append(appendInt(n/10), byte('0'+n%10))
}

// slowBody gives what is sent to it; closing it ends it with an error.
type slowBody struct{ *io.PipeReader }

func TestAnswerMayComeBeforeTheBodyWasSent(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		s.readHead(c)
	})
	b := newBench(t, srv.url(), nil)
	pr, pw := io.Pipe()
	in := b.request("POST", "/app/x")
	in.body, in.bodyBytes = slowBody{pr}, -1
	in.onData = func([]byte) { pw.CloseWithError(errors.New("gateway gave up the rest")) } // as a gateway does behind a complete answer
	b.serve(in)
	in.wantAnswer(t, 413, "no")
	if s := b.pool().state(); s.open != 0 {
		t.Errorf("a connection with half a request on it was kept: %d open", s.open)
	}
}

func TestServerThatStopsReadingMayStillAnswer(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		c.(*net.TCPConn).SetLinger(-1)
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		c.(*net.TCPConn).CloseWrite()
		io.CopyN(io.Discard, c, 1<<20)
	})
	b := newBench(t, srv.url(), nil)
	in := b.request("POST", "/app/x")
	in.body, in.bodyBytes = io.LimitReader(endless{}, 64<<20), -1
	b.serve(in)
	in.wantAnswer(t, 413, "no")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A device that goes away in the middle of its body must not leave a request that looks complete.
func TestBrokenBodiesNeverLookComplete(t *testing.T) {
	for _, tt := range []struct {
		name      string
		bodyBytes int64
		body      io.Reader
	}{
		{"device gone, length known", 1 << 20, io.MultiReader(strings.NewReader("half"), failing{})},
		{"device gone, length unknown", -1, io.MultiReader(strings.NewReader("half"), failing{})},
		{"short of its length", 1 << 20, strings.NewReader("half")},
		{"longer than its length", 20 << 10, io.LimitReader(endless{}, 30<<10)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan error, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				got <- err
			}))
			defer srv.Close()
			b := newBench(t, srv.URL, nil)
			in := b.request("POST", "/app/x")
			if tt.bodyBytes > 0 {
				in = b.request("POST", "/app/x", "Content-Length: "+string(appendInt(int(tt.bodyBytes))))
			}
			in.body, in.bodyBytes = tt.body, tt.bodyBytes
			b.serve(in)
			if tt.name == "longer than its length" {
				// The server got all it was promised; what is more never reaches it, and the connection ends.
				if in.refusals == 1 && in.delivery != channel.Final {
					t.Errorf("refused with delivery %d", in.delivery)
				}
			} else {
				if in.answer != "" || in.refusals != 1 || in.delivery != channel.Final {
					t.Errorf("answer %q, refused %v %d; want one final refusal", in.answer, in.refused, in.delivery)
				}
				if err := <-got; err == nil {
					t.Error("the server took the body for complete")
				}
			}
			if s := b.pool().state(); s.idle != 0 {
				t.Error("the connection was kept")
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("device gone") }

func TestSmallBodyThatBreaksIsNotDelivered(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), nil)
	in := b.request("POST", "/app/x", "Content-Length: 100")
	in.body, in.bodyBytes = io.MultiReader(strings.NewReader("half"), failing{}), 100
	b.serve(in)
	in.wantRefused(t, causeway.CodeConnectorBadRequest, channel.NotDelivered)
	if srv.requests() != 0 {
		t.Error("something reached the server")
	}
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
}

// A broken gateway announces a body and sends nothing: the server's connection does not wait for it for good, but long
// enough that a gateway that works is first to say that its device stopped.
func TestStalledBodyIsCut(t *testing.T) {
	const idle = 50 * time.Millisecond
	for name, n := range map[string]int64{"of unknown length": -1, "of known length": 1 << 20, "small": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
				s.readHead(c)
				s.readHead(c)
			})
			b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
				d.Publications[0].Rules = []policy.Rule{{Path: "/", IdleTimeout: policy.Duration(idle)}}
			})
			pr, pw := io.Pipe()
			in := b.request("POST", "/app/x")
			if n > 0 {
				in = b.request("POST", "/app/x", "Content-Length: "+string(appendInt(int(n))))
			}
			in.body, in.bodyBytes = pr, n
			defer pw.Close() // never before it was served
			began := time.Now()
			b.serve(in)
			if took := time.Since(began); took < idle+deviceGrace {
				t.Errorf("cut after %s, before the gateway could say that the device stopped", took)
			}
			delivery := channel.Final
			if n == 1000 {
				delivery = channel.NotDelivered
			}
			in.wantRefused(t, causeway.CodeConnectorRequestTimeout, delivery)
			if !strings.Contains(b.log.String(), errStalled.Error()) {
				t.Errorf("the log does not say why:\n%s", b.log)
			}
			if status := in.refused.Status(); status != 408 {
				t.Errorf("status %d, want 408", status)
			}
		})
	}
}

// A broken gateway does not give up the rest of a body whose answer is complete.
func TestBodyBehindACompleteAnswerIsNotWaitedFor(t *testing.T) {
	for name, answer := range map[string]string{
		"upload":  "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno",
		"upgrade": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nno",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, answeringOnce(t, answer).url(), func(d *signed.ConnectionPointDocument) {
				d.Publications[0].Rules = []policy.Rule{{Path: "/", WebSocket: true, IdleTimeout: policy.Duration(50 * time.Millisecond)}}
			})
			pr, pw := io.Pipe()
			defer pw.Close()
			in, status := b.request("POST", "/app/x"), 413
			in.bodyBytes = -1
			if name == "upgrade" {
				in, status = b.request("GET", "/app/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Version: 13"), 101
				in.upgrade = true
			}
			in.body = pr
			b.serve(in)
			in.wantAnswer(t, status, "no")
		})
	}
}

func TestWebSocketPassesBothWays(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello ")
		io.Copy(c, c)
	})
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", WebSocket: true}}
	})
	pr, pw := io.Pipe()
	in := b.request("GET", "/app/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Version: 13")
	in.upgrade, in.body = true, pr
	in.onData = func(p []byte) {
		if bytes.HasSuffix(in.data.Bytes(), []byte("there")) {
			pw.Close()
		}
	}
	go io.WriteString(pw, "there")
	b.serve(in)
	in.wantAnswer(t, 101, "hello there")
	for _, want := range []string{"Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-WebSocket-Key: k\r\n"} {
		if strings.Count(srv.lastHead(), want) != 1 {
			t.Errorf("server's head lacks one %q:\n%s", want, srv.lastHead())
		}
	}
	for _, want := range []string{"Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-WebSocket-Accept: x\r\n"} {
		if strings.Count(in.answer, want) != 1 {
			t.Errorf("answer lacks one %q:\n%s", want, in.answer)
		}
	}
	if s := b.pool().state(); s.open != 0 {
		t.Errorf("%d connections are open after an upgrade", s.open)
	}
}

func TestUpgradeToSomethingElseIsRefused(t *testing.T) {
	b := newBench(t, answeringOnce(t, "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", WebSocket: true}}
	})
	in := b.request("GET", "/app/ws", "Connection: Upgrade", "Upgrade: websocket")
	in.upgrade = true
	b.serve(in)
	in.wantRefused(t, causeway.CodeConnectorBadAnswer, channel.Final)
}

func TestUpgradeThatTheServerDeclines(t *testing.T) {
	b := newBench(t, answering(t, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno").url(), func(d *signed.ConnectionPointDocument) {
		d.Publications[0].Rules = []policy.Rule{{Path: "/", WebSocket: true}}
	})
	in := b.request("GET", "/app/ws", "Connection: Upgrade", "Upgrade: websocket")
	in.upgrade = true
	b.serve(in)
	in.wantAnswer(t, 426, "no")
}

// An event stream's pieces go out as they come, the head before the first of them.
func TestEventsAreNotHeldBack(t *testing.T) {
	next := make(chan struct{})
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
		for range 3 {
			<-next
			io.WriteString(c, "3\r\na\n\n\r\n")
		}
		<-next
		io.WriteString(c, "0\r\n\r\n")
	})
	b := newBench(t, srv.url(), nil)
	in := b.request("GET", "/app/events")
	in.onData = func([]byte) { // each piece, the empty first one with the head included, lets the next one come
		if !in.last {
			next <- struct{}{}
		}
	}
	b.serve(in)
	in.wantAnswer(t, 200, "a\n\na\n\na\n\n")
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("a fault of ours") }

func TestPanicEndsOneRequest(t *testing.T) {
	b := newBench(t, echoServer(t).URL, nil)
	for _, where := range []string{"answer", "body"} {
		in := b.request("POST", "/app/x")
		if where == "answer" {
			in.onAnswer = func() { panic("a fault of ours") }
		} else {
			in.body, in.bodyBytes = panicking{}, -1
		}
		b.log.Reset()
		b.serve(in)
		if in.refusals != 1 || !strings.Contains(b.log.String(), "a fault of ours") {
			t.Errorf("%s: refused %d times, log:\n%s", where, in.refusals, b.log)
		}
	}
	if s := b.pool().state(); s.open != 0 {
		t.Errorf("%d connections are still open", s.open)
	}
	b.do("GET", "/app/x").wantAnswer(t, 200, "")
}

// TestPanicLeavesNoTimer holds that the time of a body that a panic ended hits no other request.
func TestPanicLeavesNoTimer(t *testing.T) {
	for name, send := range map[string]func(x *exchange) error{
		"small": func(x *exchange) error { return x.appendBody(1) },
		"large": func(x *exchange) error { return x.sendBody(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				defer far.Close()
				conn := newServerConn(newServerPool("server", nil, 1), near)
				conn.pool.open = 1
				x := &exchange{in: &fakeInbound{t: t, body: panicking{}}, body: panicking{}, conn: conn,
					verdict: policy.Verdict{Rule: &policy.Rule{IdleTimeout: policy.Duration(time.Second), MaxBodyBytes: 10}}}
				func() {
					defer func() { _ = recover() }()
					_ = send(x)
				}()
				time.Sleep(time.Hour)
				if conn.ended.Load() || x.stalled.Load() {
					t.Error("the next request was hit")
				}
			})
		})
	}
}

// lateBody brings one byte in the very moment in which the device's time is up, and then its end.
type lateBody struct{ after time.Duration }

func (b *lateBody) Read(p []byte) (int, error) {
	if b.after == 0 {
		return 0, io.EOF
	}
	time.Sleep(b.after)
	b.after = 0
	p[0] = 'x'
	return 1, nil
}

// TestTimeThatIsUpInTheLastMomentHitsNoOtherRequest holds that an upload either is too late, or leaves a connection behind that
// nothing closes any more: it is the next request's.
func TestTimeThatIsUpInTheLastMomentHitsNoOtherRequest(t *testing.T) {
	const idle = 10 * time.Second
	for name, send := range map[string]func(x *exchange) error{
		"small": func(x *exchange) error { return x.appendBody(1) },
		"large": func(x *exchange) error { return x.sendBody(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, early := range []time.Duration{0, time.Nanosecond} {
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					defer near.Close()
					go func() { _, _ = io.Copy(io.Discard, far) }()
					body := &lateBody{idle + deviceGrace - early}
					conn := newServerConn(newServerPool("server", nil, 1), near)
					conn.pool.open = 1
					x := &exchange{in: &fakeInbound{t: t, body: body}, body: body, conn: conn,
						verdict: policy.Verdict{Rule: &policy.Rule{IdleTimeout: policy.Duration(idle), MaxBodyBytes: 10}}}
					err := send(x)
					late := conn.ended.Load()
					if late != errors.Is(err, errStalled) || late != x.stalled.Load() {
						t.Errorf("%v, with the connection closed: %v", err, late)
					}
					if early > 0 && err != nil {
						t.Errorf("in time, and %v", err)
					}
					x.stalled.Store(false) // another request's by now
					time.Sleep(time.Hour)
					if conn.ended.Load() != late || x.stalled.Load() {
						t.Error("the next request was hit")
					}
				})
			}
		})
	}
}
