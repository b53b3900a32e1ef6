package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// acceptPause is how long accepting rests when the system is out of something, as a rule file descriptors.
const acceptPause = 50 * time.Millisecond

// acceptLoop calls take for each connection until ctx ends. It returns nil only then: a listener that ends by itself
// leaves an instance that nobody can reach.
func (s *Server) acceptLoop(ctx context.Context, ln net.Listener, take func(net.Conn)) error {
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			take(c)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			if s.refusals.may(netip.Addr{}, causeway.CodeOverloaded) {
				s.log.Warn("accept failed", "err", err, "hint", "raise the limit of open files (LimitNOFILE)")
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(acceptPause):
			}
		}
	}
}

// tune sets what a TCP connection needs to notice a peer that vanished, and to cost little when one does not read.
func tune(c net.Conn) {
	if t, ok := c.(tcpConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
		boundUnsent(t)
	}
}

// tcpConn is a *net.TCPConn, or one that is sock.Shared.
type tcpConn interface {
	syscall.Conn
	SetKeepAliveConfig(net.KeepAliveConfig) error
}

// takeDevice begins one device connection, or closes it when a limit says so: early, before it has cost anything.
func (s *Server) takeDevice(ctx context.Context, raw net.Conn) {
	limits := s.currentLimits()
	src, place, why := s.sources.accept(sourceAddr(raw.RemoteAddr()), limits, raw)
	if why != shedNot {
		s.metrics.shed.WithLabelValues(string(why)).Inc()
		_ = raw.Close()
		return
	}
	tune(raw)
	c := &deviceConn{Conn: raw, socket: sock.New(raw), s: s, source: src, place: place, address: raw.RemoteAddr().String(), handshakeLeft: maxHandshakeBytes}
	c.gone = func() {
		s.conns.remove(c)
		s.sources.closed(src)
	}
	c.state.Store(connBusy) // until it waits for a request
	s.conns.add(c)
	// The handshake needs a large stack, which goes away with its goroutine; the one that serves keeps a small one.
	s.work.Go(func() { s.handshake(ctx, c) })
}

// handshake makes the connection secure and passes it on to its HTTP version.
func (s *Server) handshake(ctx context.Context, c *deviceConn) {
	c.tls = tls.Server(c, s.deviceTLS)
	_ = c.SetDeadline(time.Now().Add(s.timeouts.Handshake))
	c.peek = newPeek()
	err := c.tls.Handshake()
	s.sources.established(c.place)
	c.handshakeLeft = 0
	if c.endPeek(ctx) {
		return
	}
	if err != nil {
		s.metrics.handshakes.WithLabelValues(handshakeResult(err)).Inc()
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	s.metrics.handshakeOK.Inc()
	state := c.tls.ConnectionState()
	c.records.tls13 = state.Version >= tls.VersionTLS13
	if state.DidResume {
		s.metrics.resumed.Inc()
	}
	c.identify()
	if !c.carry() {
		s.metrics.shed.WithLabelValues(string(shedLargeChains)).Inc()
		_ = c.Close()
		return
	}
	if state.NegotiatedProtocol == protocolHTTP2 {
		c.allowance = newAllowance(s.ticks())
		c.patrol()
		s.http2.hand(c.tls)
		return
	}
	s.work.Go(func() { s.serveHTTP1(ctx, c) })
}

// handshakeResult is a label: few values, whatever a stranger sends.
func handshakeResult(err error) string {
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var timeout net.Error
	switch {
	case errors.As(err, &header):
		return "not_tls"
	case errors.As(err, &alert):
		return "alert"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errLargeHandshake):
		return "too_large"
	case errors.Is(err, net.ErrClosed):
		return "stopping"
	}
	return "failed"
}

// currentLimits are those of the document in force, or the instance's own.
func (s *Server) currentLimits() *Limits {
	if snap := s.snapshot.Load(); snap != nil {
		return &snap.limits
	}
	return &s.limits
}
