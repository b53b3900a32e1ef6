package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

const (
	// maxChannelsPerSource bounds the unfinished handshakes of one address. All connection points of a site may have the
	// same, and come back together; who makes room for whom in a full waiting room does not depend on it.
	maxChannelsPerSource = 256
	// maxStrangers bounds connections whose certificate no CA of the document in force has signed. They are let in
	// as far as the hello, because it may bring the document that names their CA.
	maxStrangers = 16
)

// channelGate bounds who may hold a connection on the channel listener without having been admitted.
type channelGate struct {
	mu        sync.Mutex // guards the fields below
	pending   map[netip.Addr]*int
	waiting   waitingRoom
	open      int // those in waiting included
	strangers int
}

// begin takes a place for a connection whose handshake is still to come, or nil. A connection that has to make room
// for it is closed.
// perSource is how many more there may be of the same address.
func (g *channelGate) begin(addr netip.Addr, l *Limits, conn net.Conn, perSource int) *place {
	p, out := g.admit(addr, l, conn, perSource)
	if out != nil {
		_ = out.Close()
	}
	return p
}

func (g *channelGate) admit(addr netip.Addr, l *Limits, conn net.Conn, perSource int) (p *place, out net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.pending[addr]
	if n == nil {
		n = new(int)
	}
	if g.open-len(g.waiting.places) >= l.MaxChannelConnections || *n >= perSource {
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
	g.open++
	return g.waiting.enter(conn, n), out
}

func (g *channelGate) handshaken(addr netip.Addr, p *place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting.leave(p)
	if n := g.pending[addr]; n != nil && *n == 0 {
		delete(g.pending, addr)
	}
}

func (g *channelGate) end() {
	g.mu.Lock()
	g.open--
	g.mu.Unlock()
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

// takeChannel begins one connection for the channel of this instance, on whichever listener it came.
func (s *Server) takeChannel(ctx context.Context, raw net.Conn) {
	addr := sourceAddr(raw.RemoteAddr())
	perSource := maxChannelsPerSource
	if s.sibling(addr) {
		perSource = s.limits.MaxChannelHandshakes
	}
	place := s.channelGate.begin(addr, &s.limits, raw, perSource)
	if place == nil {
		s.metrics.channels.WithLabelValues("shed").Inc()
		_ = raw.Close()
		return
	}
	tune(raw)
	s.work.Go(func() {
		defer s.channelGate.end()
		s.serveChannel(ctx, raw, addr, place)
	})
}

func (s *Server) serveChannel(ctx context.Context, raw net.Conn, addr netip.Addr, p *place) {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	t := tls.Server(channel.Batched(raw), s.channelTLS)
	_ = raw.SetDeadline(time.Now().Add(s.timeouts.Handshake))
	err := t.Handshake()
	s.channelGate.handshaken(addr, p)
	if err != nil {
		s.metrics.channels.WithLabelValues("handshake_failed").Inc()
		if s.refusals.may(addr, causeway.CodeForbidden) {
			s.log.Info("channel handshake failed", "source", raw.RemoteAddr().String(), "err", shown(err.Error()))
		}
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
	err = s.exchanger.Serve(ctx, t)
	if err != nil && ctx.Err() == nil && s.refusals.may(addr, causeway.CodeOf(err)) {
		s.log.Info("channel connection ended", "source", raw.RemoteAddr().String(), "err", shown(err.Error()))
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
