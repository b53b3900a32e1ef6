package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/begun"
)

// Siblings reaches the channel listeners of a gateway's instances, that of this one among them, where somebody else
// stands between them and judges who may.
type Siblings interface {
	// Pass gives a connection to the instance of a slot. head is what was read of it. It consumes conn in every case.
	Pass(n causeway.Slot, conn net.Conn, head []byte) error
	// Dial makes a connection to the instance of a slot, in the place of from.
	Dial(n causeway.Slot, from net.Conn) (net.Conn, error)
}

// siblingTimeout bounds the dial of another instance.
const siblingTimeout = 5 * time.Second

// routeChannel brings a connection on the devices' port to the instance whose channel it is for: as it is, so that TLS
// ends there and nowhere else.
func (s *Server) routeChannel(ctx context.Context, conn *begun.Conn, n causeway.Slot) {
	switch {
	case s.siblings != nil:
		source := conn.RemoteAddr()
		if err := s.siblings.Pass(n, conn.Conn, conn.Head); err != nil {
			s.notRouted(source, n, err)
			return
		}
		s.metrics.channels.WithLabelValues("passed").Inc()
	case n == s.slot:
		s.takeChannel(ctx, conn, channel.SinglePort)
	default:
		s.spliceChannel(ctx, conn.Conn, conn.Head, n)
	}
}

func (s *Server) notRouted(source net.Addr, n causeway.Slot, err error) {
	s.metrics.channels.WithLabelValues("not_passed").Inc()
	if s.channelEnds.may(sourceAddr(source), causeway.CodeNone) {
		s.log.Warn("channel not passed to its instance", "source", source.String(), "slot", int(n), "err", shown(err.Error()),
			"hint", "this instance must reach the others at the private addresses of the instance list")
	}
}

// spliceChannel joins a connection, of which head was read, to the channel listener of another instance.
func (s *Server) spliceChannel(ctx context.Context, conn net.Conn, head []byte, n causeway.Slot) {
	addr := sourceAddr(conn.RemoteAddr())
	v := s.channelGate.begin(ctx, addr, &s.limits, conn, maxChannelsPerSource)
	if v == nil {
		s.metrics.channels.WithLabelValues("shed").Inc()
		_ = conn.Close()
		return
	}
	s.work.Go(func() {
		defer s.channelGate.end(v)
		s.joinChannel(ctx, conn, head, n, v)
	})
}

// joinChannel joins a connection, of which head was read, to the channel listener of another instance until either ends.
// To that instance all of them come from here, so the limits per source are kept here.
func (s *Server) joinChannel(ctx context.Context, conn net.Conn, head []byte, n causeway.Slot, v *visit) {
	defer conn.Close()
	// So is the pace: a stranger must not fill the one line that all from here have there.
	if s.siblings == nil && s.pacer.wait(v.ctx, v.addr, s.timeouts.Handshake, conn) != nil {
		s.metrics.channels.WithLabelValues("shed").Inc()
		return
	}
	other, err := s.dialSibling(v.ctx, n, conn)
	if err == nil && len(head) > 0 {
		_, err = other.Write(head)
	}
	if err != nil {
		if other != nil {
			_ = other.Close()
		}
		if v.ctx.Err() == nil {
			s.notRouted(conn.RemoteAddr(), n, err)
		}
		return
	}
	s.metrics.channels.WithLabelValues("passed").Inc()
	j := &joint{outer: conn, inner: other, idle: jointIdle}
	// The other instance ends whatever it did not admit in time; what lives longer was, if it looks like it from here.
	judge := time.AfterFunc(2*s.timeouts.Handshake+time.Second, func() {
		if !j.answered.Load() || !s.channelGate.join(v) {
			s.metrics.channels.WithLabelValues("shed").Inc()
			j.shut()
		}
	})
	defer judge.Stop()
	j.run(ctx)
}

// dialSibling dials the channel listener of an instance in the place of from: at the address that the signed document has
// for it and nowhere else.
func (s *Server) dialSibling(ctx context.Context, n causeway.Slot, from net.Conn) (net.Conn, error) {
	if s.siblings != nil {
		return s.siblings.Dial(n, from)
	}
	address, err := s.siblingAddress(n)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: siblingTimeout}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tune(c)
	return c, nil
}

func (s *Server) siblingAddress(n causeway.Slot) (string, error) {
	snap := s.snapshot.Load()
	if snap == nil {
		return "", errors.New("no instance list is in force")
	}
	for _, i := range snap.doc.Instances {
		if i.Slot == n && i.PrivateAddress != "" {
			return withPort(i.PrivateAddress), nil
		}
	}
	return "", fmt.Errorf("the instance list has no private address for slot %d", n)
}

// withPort completes a private address with the port that instances take channels on.
func withPort(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil {
		return net.JoinHostPort(host, port)
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(causeway.ChannelPort))
}

// sibling reports whether addr is the private address of another instance, which keeps the limits per source itself.
// One on the same host dials us from the address that it dials.
func (s *Server) sibling(addr netip.Addr) bool {
	snap := s.snapshot.Load()
	if snap == nil || len(snap.doc.Instances) < 2 {
		return false
	}
	for _, i := range snap.doc.Instances {
		a, err := netip.ParseAddrPort(withPort(i.PrivateAddress))
		if err == nil && sourceAddr(net.TCPAddrFromAddrPort(a)) == addr {
			return true
		}
	}
	return false
}
