package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/begun"
)

const (
	// maxChannelsPerSource bounds the unfinished handshakes of one address. All connection points of a site may have the
	// same, and come back together; who makes room for whom in a full waiting room does not depend on it.
	maxChannelsPerSource = 256
	// maxStrangers bounds connections whose certificate no CA of the document in force has signed. They are let in
	// as far as the hello, because it may bring the document that names their CA.
	maxStrangers = 16
	// maxJoined bounds the connections that are joined to other instances. They take no room of this one's channels.
	maxJoined = 1024
)

// channelGate bounds who may hold a connection for a channel: unfinished ones, this instance's own that were admitted,
// and those that it only joins to another instance.
type channelGate struct {
	mu        sync.Mutex // guards the fields below, and those of visits
	pending   map[netip.Addr]*int
	waiting   waitingRoom
	admitted  int
	joined    int
	joinedOf  map[netip.Addr]int
	strangers int
}

// A visit is one connection at the gate.
type visit struct {
	ctx   context.Context // of its handshake; ends when the connection is turned out
	stop  context.CancelFunc
	addr  netip.Addr
	place *place
	state visitState
}

type visitState int

const (
	visitPending visitState = iota
	visitAdmitted
	visitJoined
	visitEnded
)

// begin takes a place for a connection whose handshake is still to come, or nil. A connection that has to make room
// for it is closed, and its wait for anything else ends.
// perSource is how many more there may be of the same address.
func (g *channelGate) begin(ctx context.Context, addr netip.Addr, l *Limits, conn net.Conn, perSource int) *visit {
	v, out := g.enter(ctx, addr, l, conn, perSource)
	if out != nil {
		_ = out.Close()
	}
	return v
}

func (g *channelGate) enter(ctx context.Context, addr netip.Addr, l *Limits, conn net.Conn, perSource int) (v *visit, out net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.pending[addr]
	if n == nil {
		n = new(int)
	}
	if *n >= perSource {
		return nil, nil
	}
	if len(g.waiting.places) >= l.MaxChannelHandshakes {
		if out = g.waiting.turnOut(*n); out == nil {
			return nil, nil
		}
	}
	if g.pending == nil {
		g.pending = make(map[netip.Addr]*int)
	}
	g.pending[addr] = n
	v = &visit{addr: addr, place: g.waiting.enter(conn, n)}
	v.ctx, v.stop = context.WithCancel(ctx)
	v.place.out = v.stop
	return v, out
}

// full reports whether no further channel of this instance's own would be admitted.
func (g *channelGate) full(l *Limits) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.admitted >= l.MaxChannelConnections
}

// admit makes a pending connection one of this instance's channels. It reports false when it was turned out in the
// meantime, or is one too many.
func (g *channelGate) admit(v *visit, l *Limits) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.state != visitPending || v.place.index < 0 || g.admitted >= l.MaxChannelConnections {
		return false
	}
	g.leaveLocked(v)
	v.state = visitAdmitted
	g.admitted++
	return true
}

// join makes a pending connection one that is joined to another instance, likewise. One address has half of the room
// at most.
func (g *channelGate) join(v *visit) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.state != visitPending || v.place.index < 0 || g.joined >= maxJoined || g.joinedOf[v.addr] >= maxJoined/2 {
		return false
	}
	if g.joinedOf == nil {
		g.joinedOf = make(map[netip.Addr]int)
	}
	g.leaveLocked(v)
	v.state = visitJoined
	g.joined++
	g.joinedOf[v.addr]++
	return true
}

// end gives back what a connection had. It may be called twice.
func (g *channelGate) end(v *visit) {
	v.stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch v.state {
	case visitPending:
		g.leaveLocked(v)
	case visitAdmitted:
		g.admitted--
	case visitJoined:
		g.joined--
		if g.joinedOf[v.addr]--; g.joinedOf[v.addr] == 0 {
			delete(g.joinedOf, v.addr)
		}
	}
	v.state = visitEnded
}

func (g *channelGate) leaveLocked(v *visit) {
	g.waiting.leave(v.place)
	if n := g.pending[v.addr]; n != nil && *n == 0 {
		delete(g.pending, v.addr)
	}
}

// stranger takes a stranger's place. The release may be called twice.
func (g *channelGate) stranger() (release func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.strangers >= maxStrangers {
		return nil, false
	}
	g.strangers++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.strangers--
		g.mu.Unlock()
	}), true
}

// passedOn is the transport of a connection that another instance joined to this one. Two are passed on: which one it
// is, its handshake tells.
const passedOn channel.Transport = ""

// cameBy is the way of a connection that came to the channel listener. It goes by where the connection comes from, not by
// what a connection point says. What begins with a head was on the devices' port before, and what does not know its own
// source besides, in a WebSocket there.
func (s *Server) cameBy(raw net.Conn) channel.Transport {
	if c, ok := raw.(*begun.Conn); ok {
		if c.Source != nil {
			return channel.WebSocket
		}
		return channel.SinglePort
	}
	if s.siblings == nil && s.sibling(sourceAddr(raw.RemoteAddr())) {
		return passedOn
	}
	return channel.SlotPort
}

// takeChannel begins one connection for the channel of this instance, on whichever listener it came.
func (s *Server) takeChannel(ctx context.Context, raw net.Conn, by channel.Transport) {
	addr := sourceAddr(raw.RemoteAddr())
	perSource := maxChannelsPerSource
	if s.sibling(addr) {
		perSource = s.limits.MaxChannelHandshakes
	}
	v := s.beginChannel(ctx, addr, raw, perSource)
	if v == nil {
		s.metrics.channels.WithLabelValues("shed").Inc()
		_ = raw.Close()
		return
	}
	tune(raw)
	s.work.Go(func() {
		defer s.channelGate.end(v)
		s.serveChannel(ctx, raw, v, by)
	})
}

// beginChannel takes a place for a channel of this instance, or nil.
func (s *Server) beginChannel(ctx context.Context, addr netip.Addr, conn net.Conn, perSource int) *visit {
	if s.channelGate.full(&s.limits) {
		return nil
	}
	return s.channelGate.begin(ctx, addr, &s.limits, conn, perSource)
}

func (s *Server) serveChannel(ctx context.Context, raw net.Conn, v *visit, by channel.Transport) {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	t := tls.Server(channel.Batched(raw), s.channelTLS)
	_ = raw.SetDeadline(time.Now().Add(s.timeouts.Handshake))
	if err := t.HandshakeContext(v.ctx); err != nil {
		s.metrics.channels.WithLabelValues("handshake_failed").Inc()
		if s.channelEnds.may(v.addr, causeway.CodeNone) {
			s.log.Info("channel handshake failed", "source", raw.RemoteAddr().String(), "err", shown(err.Error()))
		}
		return
	}
	if !s.channelGate.admit(v, &s.limits) {
		s.metrics.channels.WithLabelValues("shed").Inc()
		return
	}
	_ = raw.SetDeadline(time.Time{})
	if !s.known(t) {
		release, ok := s.channelGate.stranger()
		if !ok {
			s.metrics.channels.WithLabelValues("shed").Inc()
			return
		}
		defer release()
		// Once the hello was judged it is no stranger, or gone.
		late := time.AfterFunc(channel.DefaultHandshakeTimeout+time.Second, release)
		defer late.Stop()
	}
	if by == passedOn {
		by = channel.WebSocket
		if t.ConnectionState().NegotiatedProtocol != "" {
			by = channel.SinglePort
		}
	}
	if err := s.exchanger.Serve(ctx, t, by); err != nil && ctx.Err() == nil {
		s.channelEnded(ctx, raw, v.addr, err)
	}
}

// channelEnded tells why a connection ended. That of a large body ends whenever its device hangs up, which is nobody's fault.
func (s *Server) channelEnded(ctx context.Context, raw net.Conn, from netip.Addr, err error) {
	level, code := slog.LevelInfo, causeway.CodeNone
	if r, ok := errors.AsType[*causeway.Refusal](err); ok {
		code = r.Code
	}
	if errors.Is(err, channel.ErrBulkEnded) {
		if level = slog.LevelDebug; !s.log.Enabled(ctx, level) {
			return // and leaves the lines of this second to others
		}
	}
	if s.channelEnds.may(from, code) {
		s.log.Log(ctx, level, "channel connection ended", "source", raw.RemoteAddr().String(), "err", shown(err.Error()))
	}
}

// known reports whether a CA of the document in force signed the connection point's certificate.
func (s *Server) known(t *tls.Conn) bool {
	snap := s.snapshot.Load()
	if snap == nil {
		return false
	}
	_, err := snap.verifyPeer(t.ConnectionState().PeerCertificates, s.now())
	return err == nil
}
