package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
)

// An exchanger is what the gateway needs of a channel.Pool.
type exchanger interface {
	Exchange(ctx context.Context, req *channel.Request, device channel.DeviceSide) error
	Ready() bool
	MemoryTight() bool
	Status() []channel.SetStatus
}

// A call is one request on its way through the gateway, whichever version of HTTP brought it. It is reused.
type call struct {
	callState

	// What follows keeps its memory from one request to the next.
	req  http1.Request
	head []byte // of out
}

// callState is what a call forgets.
type callState struct {
	s    *Server
	conn *deviceConn

	id      causeway.RequestID
	began   int64 // in ticks
	st      *standing
	verdict policy.Verdict
	target  *target // nil until the verdict passed
	use     *ruleUse
	inGate  bool
	inTotal bool

	out channel.Request
	// Spans of head, which stays when the device's bytes are gone.
	method, host, path []byte

	bytesIn, bytesOut int64
	status            int // that the device got; 0 when it got none
}

// begin starts a call that is new, or forgotten.
func (c *call) begin(s *Server, conn *deviceConn) {
	c.s, c.conn, c.id, c.began = s, conn, causeway.NewRequestID(), s.ticks()
	c.req.Reset() // a refusal before Parse must not log what another device asked
	c.head = c.head[:0]
}

// forget lets go of what the call held, so that its memory can wait for another.
func (c *call) forget() { c.callState = callState{} }

// elapsed is how long the call has been under way.
func (c *call) elapsed() time.Duration { return time.Duration(c.s.ticks() - c.began) }

// judge decides whether the request may pass: configuration, who asks, what is asked, for how much. On success the
// verdict's target is set, or the verdict says what is answered here.
func (c *call) judge() error {
	s := c.s
	snap := s.snapshot.Load()
	now := s.now()
	if snap == nil {
		return &causeway.Refusal{Code: causeway.CodeConfigurationStale, Reason: "no configuration yet", RetryAfter: time.Second}
	}
	if snap.stale(now, s.timeouts.Stale) {
		return &causeway.Refusal{Code: causeway.CodeConfigurationStale, Reason: "configuration was valid until " + snap.header.ValidUntil.UTC().Format(time.RFC3339), RetryAfter: time.Minute}
	}
	c.st = c.conn.stand(snap, now)
	ask := policy.Ask{
		Method: c.req.Method, Authority: c.req.Host, Target: c.req.Target, BodyBytes: c.req.BodyBytes,
		Upgrade: c.req.Upgrade != nil, WebSocket: c.req.WebSocket(),
	}
	if c.st.device != nil {
		ask.Proof = policy.Proof(c.st.device.Kind)
	}
	c.verdict = snap.policy.Decide(&ask)
	if c.st.refusal != nil && c.verdict.Code == causeway.CodeClientCertificateRequired {
		return c.st.refusal // one was presented: say what is wrong with it
	}
	if err := c.verdict.Refusal(); err != nil {
		return err
	}
	if c.verdict.Local == policy.LocalNone {
		c.target = snap.target(&c.verdict)
	}
	return nil
}

// admit makes room for the request within every limit, or says when to come back. release gives the room back.
func (c *call) admit(ctx context.Context) error {
	s := c.s
	if c.st.entry == nil {
		return causeway.Refuse(causeway.CodeClientCertificateRequired, "no device is known")
	}
	if c.req.BodyBytes > c.target.maxBodyBytes {
		return causeway.Refuse(causeway.CodeBodyTooLarge, "Content-Length %d, the rule allows %d", c.req.BodyBytes, c.target.maxBodyBytes)
	}
	if c.req.Upgrade != nil && c.req.BodyBytes != 0 {
		return causeway.Refuse(causeway.CodeUpgradeRefused, "upgrade with a body")
	}
	use, err := c.st.entry.enter(&c.target.quota, c.began)
	if err != nil {
		return err
	}
	c.use = use
	if s.inFlight.Add(1) > int64(c.st.snap.limits.MaxInFlight) {
		s.inFlight.Add(-1)
		c.st.entry.leave(use)
		return overloaded("the instance's requests in flight are at their limit")
	}
	c.inTotal = true
	if err := c.target.gate.enter(ctx, c.st.entry); err != nil {
		return err
	}
	c.inGate = true
	s.metrics.admitted.Inc()
	s.metrics.inFlight.Inc()
	c.target.endpoint.begin()
	return nil
}

// release undoes admit and counts what came of the request. f says who cut it short.
func (c *call) release(f fault) {
	if c.inGate {
		if f == faultNone && c.status >= 500 {
			f = faultServer // it says so itself
		}
		took := c.elapsed()
		c.target.gate.leave()
		c.s.metrics.inFlight.Dec()
		c.s.metrics.carried(c.bytesIn, c.bytesOut, took)
		c.target.endpoint.end(c.bytesIn, c.bytesOut, took, c.status != 0, f)
		c.inGate = false
	}
	if c.inTotal {
		c.s.inFlight.Add(-1)
		c.st.entry.leave(c.use)
		c.inTotal = false
	}
}

// compose writes the head that travels inward. The device's own bytes are not needed after it, except for a body.
func (c *call) compose() error {
	r := &c.req
	head, err := http1.AppendRequestHead(c.head[:0], r.Method, r.Target, r.Host)
	c.head = head
	if err != nil {
		return err
	}
	m, t := len(r.Method), len(r.Target)
	if r.BodyBytes > 0 || r.BodyBytes == 0 && r.HasLength {
		head = http1.AppendContentLength(head, r.BodyBytes)
	}
	if r.Upgrade != nil {
		head = append(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...) // policy lets nothing else pass
	}
	head = http1.AppendEnd(appendInward(head, r))
	c.head = head
	hostAt := m + 1 + t + len(" HTTP/1.1\r\nHost: ")
	c.method, c.path, c.host = head[:m], head[m+1:m+1+t], head[hostAt:hostAt+len(r.Host)]
	c.out = channel.Request{
		ID: c.id, Principal: c.st.principal, Head: head, BodyBytes: r.BodyBytes, Upgrade: r.Upgrade != nil,
		Idempotent: idempotent(c.method), AnswerTimeout: c.target.answerTimeout + hopGrace,
	}
	return nil
}

// maxRanges is how many byte ranges one request may ask for. A server may always answer with the whole instead, and
// that is what becomes of a longer list: it is taken off.
const maxRanges = 8

// appendInward copies the fields that travel inward.
func appendInward(dst []byte, r *http1.Request) []byte {
	ranges := 0
	for i := range r.Fields {
		if f := &r.Fields[i]; len(f.Name) == len("Range") && http1.EqualFold(f.Name, "range") {
			ranges += 1 + bytes.Count(f.Value, []byte{','})
		}
	}
	if ranges <= maxRanges {
		return http1.AppendInward(dst, r)
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; r.Inward(f) && !http1.EqualFold(f.Name, "range") && !http1.EqualFold(f.Name, "if-range") {
			dst = append(dst, f.Line...)
		}
	}
	return dst
}

// hopGrace lets the connection point, which waits for the same time and is nearer to the server, say first that no
// answer came.
const hopGrace = 2 * time.Second

// idempotent knows the methods of RFC 9110 9.2.2 and the reading ones of WebDAV. What it does not know is not.
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH":
		return true
	}
	return false
}

// problem turns the error that ended a call before its answer into what the device gets instead, and logs it.
// nil says that nobody is there to be told.
func (c *call) problem(ctx context.Context, err error) *problem {
	if errors.Is(err, errDeviceGone) || errors.Is(err, errIdleAnswer) || errors.Is(err, errStopping) {
		return nil
	}
	p := &problem{id: c.id, code: causeway.CodeOf(err)}
	if r, ok := errors.AsType[*causeway.Refusal](err); ok {
		p.retryAfter = r.RetryAfter
	}
	if snap := c.s.snapshot.Load(); c.st == nil && snap != nil {
		c.st = c.conn.stand(snap, c.s.now()) // a request that nobody could read still came from somebody
	}
	if c.st == nil || c.st.device == nil {
		// Nobody we know. Who goes on and on is told to stop in place of the reason, and the connection ends.
		if wait := c.conn.source.refusals.take(c.s.refusalRate, c.s.ticks()); wait > 0 {
			p.code, p.retryAfter, p.close = causeway.CodeTooManyRequests, wait, true
		}
		p.close = p.close || c.conn.oversized()
	}
	p.status = p.code.Status()
	if p.code == causeway.CodeTooManyRequests || p.status == 503 {
		p.retryAfter = max(p.retryAfter, time.Second)
	}
	if errors.Is(err, channel.ErrNoMemory) {
		c.s.memoryRefused.Store(c.s.now().Unix())
	}
	c.s.metrics.refused(p.code)
	c.s.refusals.write(ctx, c.refused(p, err))
	return p
}

// refused is the log's view of a refusal.
func (c *call) refused(p *problem, err error) *refused {
	r := &refused{id: c.id, address: c.conn.address, err: err, code: p.code, status: p.status, source: c.sourceAddr(),
		method: c.text(c.method, c.req.Method), host: c.text(c.host, c.req.Host), path: withoutQuery(c.text(c.path, c.req.Target))}
	if c.st != nil && c.st.device != nil {
		r.device = c.st.device.ID
	}
	return r
}

func (c *call) sourceAddr() netip.Addr { return c.conn.source.addr }

// text prefers the span of the composed head: the other one may be gone by now.
func (c *call) text(composed, received []byte) string {
	if len(c.head) > 0 {
		return string(composed)
	}
	return string(received)
}

// admitted writes the sampled access log.
func (c *call) admitted(ctx context.Context) {
	every := c.s.accessLogEvery
	if every == 0 || c.s.accessCount.Add(1)%every != 0 {
		return
	}
	c.s.log.InfoContext(ctx, "request", "request_id", c.id.String(), "device_id", shown(string(c.st.device.ID)), "source", c.conn.address,
		"method", shown(string(c.method)), "host", shown(string(c.host)), "path", shown(withoutQuery(string(c.path))), "status", c.status,
		"bytes_in", c.bytesIn, "bytes_out", c.bytesOut, "took_ms", c.elapsed().Milliseconds())
}
