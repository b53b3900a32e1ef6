package connpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// dialTimeout bounds a try of one transport: name look-up, TCP, proxy and TLS.
const dialTimeout = 10 * time.Second

// place returns where a transport dials.
func (a aim) place(t channel.Transport) string {
	host := strings.Trim(cmp.Or(a.instance.Address, a.gateway.Address), "[]")
	port := a.instance.ChannelPort
	if t != channel.SlotPort {
		port = cmp.Or(a.gateway.ServicePort, causeway.HTTPSPort)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// reach connects to the instance by one transport and makes TLS with it. It calls progress once it is connected.
func (s *slotSet) reach(ctx context.Context, t channel.Transport, own *tls.Certificate, progress func()) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	place, trust := s.aim.place(t), s.trust.Load()
	raw, err := s.owner.agent.dialOut(ctx, place)
	if err != nil {
		return nil, err
	}
	progress()
	config := trust.config(own)
	switch t {
	case channel.SinglePort:
		config.NextProtos = []string{channel.ALPN(s.aim.instance.Slot)}
	case channel.WebSocket:
		outer := trust.outerConfig(s.owner.agent.ExtraCAs)
		if raw, err = overWebSocket(ctx, raw, outer, trust.name, place, s.aim.instance.Slot); err != nil {
			return nil, err
		}
	}
	conn := tls.Client(channel.Batched(raw), config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("TLS with %s: %w", place, innerFault(err))
	}
	if t == channel.SinglePort && conn.ConnectionState().NegotiatedProtocol == "" {
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("%s takes no channels on this port", place)
	}
	return conn, nil
}
