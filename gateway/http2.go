package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
)

// An http2Front lets net/http speak HTTP/2 on the connections that negotiated it, and turns its requests into the
// very heads that the HTTP/1.1 loop reads: one parser and one policy stand behind both. net/http brings its defences
// against rapid resets, CONTINUATION floods and header bombs; a connection's allowance ends what they let go on.
type http2Front struct {
	s      *Server
	server *http.Server
	ln     *handedListener
	calls  tally
}

func newHTTP2Front(s *Server) *http2Front {
	f := &http2Front{s: s, ln: newHandedListener()}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	f.server = &http.Server{
		Handler:   f,
		Protocols: &protocols,
		// "OPTIONS *" is judged like everything else.
		DisableGeneralOptionsHandler: true,
		// Fields beyond the head that HTTP/1.1 allows are refused there; this bounds what HPACK may unfold.
		MaxHeaderBytes: s.limits.MaxHeadBytes + http2FieldOverhead*s.limits.MaxFields,
		IdleTimeout:    s.timeouts.KeepAlive,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          s.limits.MaxStreams,
			MaxReadFrameSize:              64 << 10,
			MaxReceiveBufferPerConnection: http2Window,
			MaxReceiveBufferPerStream:     http2StreamWindow,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				return context.WithValue(ctx, connKey{}, t.NetConn())
			}
			return ctx
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return f
}

// http2FieldOverhead is what RFC 9113 6.5.2 adds to every field when it counts a header list.
const http2FieldOverhead = 32

type connKey struct{}

// serve runs until stop. ctx is what requests live in.
func (f *http2Front) serve(ctx context.Context) error {
	f.server.BaseContext = func(net.Listener) context.Context {
		f.take() // net/http has configured the server by now and accepts nothing yet
		return ctx
	}
	if err := f.server.Serve(f.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// take takes the place of the handlers that net/http puts in front of ours. They give every request the state of its
// TLS connection, and it is by its absence alone that a request with the scheme http can be known.
func (f *http2Front) take() {
	next := f.server.TLSNextProto[protocolHTTP2]
	if next == nil {
		return // GODEBUG=http2server=0
	}
	f.server.TLSNextProto[protocolHTTP2] = func(hs *http.Server, c *tls.Conn, h http.Handler) {
		next(hs, c, http2Handler{f, h.(baseContexter)})
	}
}

// http2Handler is f with what net/http asks of the handler of a connection.
type http2Handler struct {
	*http2Front
	baseContexter
}

type baseContexter interface{ BaseContext() context.Context }

// hand passes on a connection whose handshake ended in HTTP/2.
func (f *http2Front) hand(c *tls.Conn) {
	if !f.ln.hand(c) {
		_ = c.NetConn().Close()
	}
}

// stop lets requests in flight finish until ctx ends, then cuts them and waits for their handlers.
func (f *http2Front) stop(ctx context.Context) {
	if f.server.Shutdown(ctx) != nil {
		_ = f.server.Close()
	}
	f.ln.Close()
}

// ServeHTTP answers one HTTP/2 request.
func (f *http2Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	growStack()
	f.serveCall(w.(http2Writer), r)
}

func (f *http2Front) serveCall(w http2Writer, r *http.Request) {
	conn, ok := r.Context().Value(connKey{}).(*deviceConn)
	if !ok || !f.calls.begin() {
		panic(http.ErrAbortHandler)
	}
	defer f.calls.end()
	conn.allowance.begin()
	x := http2Calls.Get().(*http2Call)
	x.call.begin(f.s, conn)
	x.w, x.r = w, r
	x.wrote = false
	x.answer.forget()
	x.body = http2Body{}
	done := false
	defer func() {
		x.release(faultGateway) // of what a panic left
		conn.settle(x.outcome(), x.body.unread(x.r.ContentLength, x.bytesIn))
		if !done {
			return
		}
		x.forget()
		x.w, x.r, x.body = nil, nil, http2Body{}
		http2Calls.Put(x)
	}()
	x.run(r.Context())
	done = true
}

// An http2Call is one HTTP/2 request, and the device's side of its exchange.
type http2Call struct {
	call
	w      http2Writer
	r      *http.Request
	answer answer
	fields http2Fields
	body   http2Body
	raw    []byte // the request's head in the form of HTTP/1.1
	wrote  bool
}

// An http2Writer is what net/http gives a handler for HTTP/2. The methods are those of http.ResponseController.
type http2Writer interface {
	http.ResponseWriter
	SetReadDeadline(deadline time.Time) error
	SetWriteDeadline(deadline time.Time) error
	FlushError() error
}

// growStack makes the goroutine's stack as large as an exchange needs it, while nearly nothing is on it. net/http
// begins a goroutine for each request, and a stack that grows in the midst of it is copied frame by frame: that was
// a tenth of the processor time of a small request.
//
//go:noinline
func growStack() {
	var room [6 << 10]byte
	room[0] = 1
	runtime.KeepAlive(&room)
}

// outcome says what the request was worth, for the connection's allowance.
func (x *http2Call) outcome() outcome {
	switch {
	case x.wrote && x.st != nil && x.st.device != nil:
		return outcomeAnswered
	case !x.wrote && x.r.Context().Err() != nil && x.elapsed() < rapidReset:
		return outcomeReset
	}
	return outcomeRefused
}

var http2Calls = sync.Pool{New: func() any { return new(http2Call) }}

func (x *http2Call) run(ctx context.Context) {
	if err := x.parse(); err != nil {
		x.refuse(ctx, err)
		return
	}
	err := x.judge()
	x.conn.patrol()
	if err != nil {
		x.refuse(ctx, err)
		return
	}
	if x.verdict.Local != policy.LocalNone {
		x.answerLocal(ctx)
		return
	}
	if err = x.admit(ctx); err == nil {
		err = x.compose()
	}
	if err != nil {
		x.release(faultOf(ctx, err))
		x.refuse(ctx, err)
		return
	}
	x.exchange(ctx)
}

// parse writes the request as an HTTP/1.1 head and reads it as strictly as any other.
func (x *http2Call) parse() error {
	r := x.r
	if r.TLS == nil {
		return causeway.Refuse(causeway.CodeBadRequest, ":scheme is not https")
	}
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && hosts[0] != r.Host {
		return causeway.Refuse(causeway.CodeBadRequest, "Host beside another :authority")
	}
	// net/http lets the end of the stream overrule what was declared.
	if lengths := r.Header["Content-Length"]; len(lengths) > 1 || len(lengths) == 1 && lengths[0] != strconv.FormatInt(r.ContentLength, 10) {
		return causeway.Refuse(causeway.CodeBadRequest, "Content-Length is not the body's")
	}
	b, err := http1.AppendRequestHead(x.raw[:0], r.Method, r.RequestURI, r.Host)
	if err != nil {
		x.raw = b
		return err
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding":
			continue // generated
		}
		for _, v := range values {
			b = http1.AppendField(b, name, v)
		}
	}
	switch {
	case r.ContentLength > 0 || r.ContentLength == 0 && r.Header["Content-Length"] != nil:
		b = http1.AppendContentLength(b, r.ContentLength)
	case r.ContentLength < 0:
		b = http1.AppendChunkedEncoding(b)
	}
	b = http1.AppendEnd(b)
	x.raw = b
	return x.req.Parse(b, x.s.requestLimits)
}

func (x *http2Call) exchange(ctx context.Context) {
	if x.req.BodyBytes != 0 {
		x.body.x = x
		x.body.left = x.target.maxBodyBytes
		x.body.patience.idle = x.target.idle
		x.out.Body = &x.body
		if x.out.BodyBytes < 0 {
			x.out.Trailers = x.takeTrailers
		}
	}
	err := x.s.exchanger.Exchange(ctx, &x.out, x)
	if x.out.Body != nil {
		_ = x.out.Body.Close()
	}
	if err == nil && !x.answer.ended {
		err = errors.New("exchange ended without the end of an answer")
	}
	if failure := x.body.failed(); failure != nil {
		err = failure
	}
	x.release(faultOf(ctx, err))
	switch {
	case err == nil:
		x.admitted(ctx)
	case x.wrote:
		x.abort(ctx, err)
	case ctx.Err() != nil:
		panic(http.ErrAbortHandler) // the device is gone, or we stop
	default:
		x.refuse(ctx, err)
	}
}

// abort resets the stream, so that the device cannot mistake what it got for the whole answer.
func (x *http2Call) abort(ctx context.Context, err error) {
	x.s.metrics.aborted[faultOf(ctx, err)].Inc()
	if ctx.Err() == nil && !errors.Is(err, errDeviceGone) {
		r := x.refused(&problem{id: x.id, code: causeway.CodeOf(err), status: x.answer.head.Status}, err)
		r.message = "answer aborted"
		x.s.refusals.write(ctx, r)
	}
	panic(http.ErrAbortHandler)
}

func (x *http2Call) refuse(ctx context.Context, err error) {
	p := x.problem(ctx, err)
	x.conn.patrol()
	if p == nil {
		panic(http.ErrAbortHandler)
	}
	h := x.w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-Id", x.id.String())
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(p.retryAfterSeconds(), 10))
	}
	if p.status == 401 {
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	if allow := x.allow(p); allow != "" {
		h.Set("Allow", allow)
	}
	if p.close || x.s.draining.Load() {
		h.Set("Connection", "close") // net/http makes a GOAWAY of it
	}
	x.status = p.status
	x.s.metrics.answered(p.status)
	_ = x.w.SetWriteDeadline(time.Now().Add(policy.DefaultIdleTimeout))
	x.w.WriteHeader(p.status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(p.appendBody(nil)) // nobody is left to be told
	}
}

func (x *http2Call) answerLocal(ctx context.Context) {
	contentType, body, err := x.local()
	if err != nil {
		x.refuse(ctx, err)
		return
	}
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-Id", x.id.String())
	x.wrote = true
	x.s.metrics.answered(200)
	_, _ = x.w.Write(body)
}
