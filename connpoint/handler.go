package connpoint

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
)

// inbound is what the handler needs of a channel.Inbound.
type inbound interface {
	ID() causeway.RequestID
	Attempt() int
	Principal() *channel.InboundPrincipal
	Head() []byte
	BodyBytes() int64
	Whole() (body []byte, ok bool)
	Body() io.Reader
	Trailers() []byte
	Upgrade() bool
	Context() context.Context
	OnGone(x channel.Interrupter) (gone bool)
	Gone() bool
	Inform(head []byte) error
	Answer(head, body []byte, last bool) error
	Data(p []byte, last bool) error
	Bulk() bool
	AnswerTrailers(fields []byte) error
	Refuse(code causeway.Code, d channel.Delivery)
	End()
}

// inside is what all handlers of an agent share.
type inside struct {
	config atomic.Pointer[config]
	log    *slog.Logger
	debug  bool // a line for each request is wanted; fixed when the agent starts
	now    func() time.Time
	by     string // our obfuscated name in Forwarded
	counts trafficBook
	warn   warnings
}

// A handler serves the requests of one gateway.
type handler struct {
	*inside
	gateway causeway.GatewayName
}

// Handle carries one request to its server and the answer back.
func (h *handler) Handle(in *channel.Inbound) { h.serve(in) }

func (h *handler) serve(in inbound) {
	x := exchanges.Get().(*exchange)
	x.handler, x.in, x.start = h, in, time.Now()
	defer func() {
		if r := recover(); r != nil {
			x.fault(r)
			return // x may be in any state: leave it to the collector
		}
		x.release()
	}()
	if err := x.decide(); err != nil {
		x.refuse(err, channel.Final)
		return
	}
	x.carry()
	x.logEnd()
}

// fault ends one request that met a mistake of ours; the others go on.
func (x *exchange) fault(r any) {
	x.handler.log.Error("panic while serving a request", "request_id", x.in.ID().String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	x.in.Refuse(causeway.CodeConnectorInternalError, channel.Final)
	if x.conn != nil {
		x.conn.close()
	}
	x.waitUpload()
}

// An exchange is one request on its way through the connection point.
type exchange struct {
	handler *handler
	in      inbound
	start   time.Time

	req     http1.Request
	resp    http1.Response
	cfg     *config
	route   *route
	device  *verdict
	verdict policy.Verdict
	target  *target
	body    io.Reader
	head    []byte // the request head, later the answer's
	path    []byte // the target inside
	carried bool   // it may pass, and goes to a server
	failed  bool
	status  int
	replied int64 // bytes of answer body

	conn  *serverConn
	again bool // conn turned out dead before a byte went over it: take another
	upload
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (x *exchange) release() {
	// Slices of the request must not outlive it, and large heads must not stay.
	head := x.head[:0]
	if cap(head) > 16<<10 {
		head = nil
	}
	fields, answered := x.req.Fields[:0], x.resp.Fields[:0]
	clear(fields[:cap(fields)])
	clear(answered[:cap(answered)])
	*x = exchange{head: head, path: x.path[:0]}
	x.req.Fields, x.resp.Fields = fields, answered
	exchanges.Put(x)
}

// decide judges the request as if no gateway had: it is parsed, its device verified and its URL decided upon here,
// with our own documents.
func (x *exchange) decide() error {
	now := x.handler.now()
	if x.cfg = x.handler.config.Load(); x.cfg == nil || x.cfg.routes[x.handler.gateway] == nil {
		return causeway.Refuse(causeway.CodeConnectorNotPublished, "no document publishes anything for gateway %q", x.handler.gateway)
	}
	x.route = x.cfg.routes[x.handler.gateway]
	if now.After(x.cfg.header.ValidUntil.Add(causeway.DocumentGrace)) {
		return causeway.Refuse(causeway.CodeConnectorForbidden, "the signed document ended on %s", stamp(x.cfg.header.ValidUntil))
	}
	if err := x.req.Parse(x.in.Head(), requestLimits); err != nil {
		return &causeway.Refusal{Code: causeway.CodeConnectorBadRequest, Reason: "head", Err: err}
	}
	if err := x.checkFrame(); err != nil {
		return err
	}
	if x.device = x.cfg.trust.judge(x.in.Principal(), now); x.device.err != nil {
		return &causeway.Refusal{Code: causeway.CodeConnectorForbidden, Reason: "device", Err: x.device.err}
	}
	x.verdict = x.route.set.Decide(&policy.Ask{
		Method: x.req.Method, Authority: x.req.Host, Target: x.req.Target, BodyBytes: x.in.BodyBytes(),
		Upgrade: x.in.Upgrade(), WebSocket: x.in.Upgrade(), Proof: policy.Proof(x.device.device.Kind),
	})
	switch {
	case !x.verdict.Allowed():
		return &causeway.Refusal{Code: connectorCode(x.verdict.Code), Reason: "policy", Err: x.verdict.Refusal()}
	case x.verdict.Local != policy.LocalNone || x.verdict.Publication == nil:
		return causeway.Refuse(causeway.CodeConnectorNotPublished, "this URL is answered at the gateway")
	}
	x.target = x.route.targets[x.verdict.Index]
	return nil
}

// checkFrame compares what the head says about body and upgrade with what the channel says: where the two differ,
// one of them would be believed by the server.
func (x *exchange) checkFrame() error {
	declared := x.in.BodyBytes()
	switch {
	case x.req.Chunked, declared < 0 && x.req.HasLength, declared >= 0 && x.req.BodyBytes != declared:
		return causeway.Refuse(causeway.CodeConnectorBadRequest, "head and channel disagree on the length of the body")
	case x.req.Upgrade != nil && (!x.in.Upgrade() || !x.req.WebSocket()):
		return causeway.Refuse(causeway.CodeConnectorBadRequest, "head and channel disagree on an upgrade")
	case x.in.Upgrade() && declared != 0:
		return causeway.Refuse(causeway.CodeConnectorBadRequest, "upgrade with a body")
	}
	return nil
}

// connectorCode says a refusal of policy in the words of this hop.
func connectorCode(c causeway.Code) causeway.Code {
	switch c {
	case causeway.CodeBadRequest, causeway.CodeURITooLong:
		return causeway.CodeConnectorBadRequest
	case causeway.CodeURLNotPublished, causeway.CodeMisdirected:
		return causeway.CodeConnectorNotPublished
	}
	return causeway.CodeConnectorForbidden
}

// refuse ends the exchange and leaves a line in our log; the device gets nothing but the code.
func (x *exchange) refuse(err error, d channel.Delivery) {
	code := causeway.CodeOf(err)
	if code == causeway.CodeInternalError {
		code = causeway.CodeConnectorInternalError
	}
	x.failed, x.status = true, code.Status()
	gone := x.deviceGone() // asked first: the refusal itself ends the request, and with it the wait for its device
	x.in.Refuse(code, d)
	if !gone {
		x.warnOf(code, err)
	}
}

func (x *exchange) warnOf(code causeway.Code, err error) {
	ok, suppressed := x.handler.warn.allow()
	if !ok {
		return
	}
	attrs := []any{"request_id", x.in.ID().String(), "gateway", string(x.handler.gateway), "code", code.String(), "err", err}
	if x.target != nil {
		attrs = append(attrs, "server", string(x.target.server.Name))
	}
	if x.device != nil && x.device.device != nil {
		attrs = append(attrs, "device_id", string(x.device.device.ID))
	}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	x.handler.log.Warn("request refused", attrs...)
}

// carry brings a request that may pass to its server.
func (x *exchange) carry() {
	counts := x.route.traffic[x.verdict.Index]
	counts.begin()
	x.handler.counts.all.begin()
	defer func() {
		counts.in.Add(uint64(x.sentBytes))
		counts.out.Add(uint64(x.replied))
		counts.end(x.failed)
		x.handler.counts.all.end(x.failed)
	}()
	m := inward{
		req: &x.req, id: x.in.ID(), source: x.in.Principal().Source, body: x.in.BodyBytes(), upgrade: x.in.Upgrade(),
		route: x.route, target: x.target, verdict: &x.verdict, device: x.device, by: x.handler.by,
		path: x.path[:0],
	}
	var err error
	x.head, err = m.appendHead(x.head[:0])
	x.path = m.path
	if err != nil {
		x.refuse(err, channel.Final)
		return
	}
	x.carried = true
	for fresh := x.in.Attempt() > 1; ; fresh = true {
		if x.conn = x.target.pool.takeIdle(fresh); x.conn == nil {
			x.conn, err = x.target.pool.get(x.in.Context(), fresh)
		}
		if err != nil {
			x.refuse(err, channel.NotDelivered)
			return
		}
		x.over()
		if !x.again {
			return
		}
	}
}

// over runs the exchange over x.conn and gives the connection back.
func (x *exchange) over() {
	conn := x.conn
	x.again = false
	x.in.OnGone(conn)
	good := x.run()
	if !good {
		conn.close()
	}
	x.waitUpload()
	// Once the device is gone, the connection is closed, or about to be.
	if gone := x.in.OnGone(nil); !gone && good && conn.clean() {
		conn.put(x.idleFor())
		return
	}
	conn.close()
}

// deviceGone reports whether a request on its way ended because nobody waits for its answer any more, and not by us.
func (x *exchange) deviceGone() bool { return x.carried && !x.stalled.Load() && x.in.Gone() }

// idleFor is how long the server's connection may stay: a second less than the server promised.
func (x *exchange) idleFor() time.Duration {
	if x.resp.KeepAliveTimeout > 0 {
		return max(x.resp.KeepAliveTimeout-time.Second, time.Millisecond)
	}
	return serverIdle
}
