package connpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// A Transport is a way by which a channel reaches its instance. Each carries the same TLS, end to end with the instance.
type Transport string

// The transports, the best first: what comes later costs more on the way, and passes more of what stands there.
const (
	SlotPort   Transport = "slot-port"   // TLS on the slot's own port
	SinglePort Transport = "single-port" // TLS on the devices' port, told apart by its ALPN
	WebSocket  Transport = "websocket"   // TLS in a WebSocket on the devices' port, where only HTTPS passes
)

var everyTransport = []Transport{SlotPort, SinglePort, WebSocket}

// ParseTransports reads a list of transports in the order of preference. "auto" is all of them, the best first.
func ParseTransports(list []string) ([]Transport, error) {
	if len(list) == 0 || len(list) == 1 && list[0] == "auto" {
		return everyTransport, nil
	}
	var out []Transport
	for _, text := range list {
		switch t := Transport(text); {
		case !slices.Contains(everyTransport, t):
			return nil, causeway.WithHint(fmt.Errorf("transport %q does not exist", text), "choose auto, or of slot-port, single-port and websocket in the order of your preference")
		case slices.Contains(out, t):
			return nil, causeway.WithHint(fmt.Errorf("transport %s is named twice", text), "name each once")
		default:
			out = append(out, t)
		}
	}
	return out, nil
}

// dialTimeout bounds a try of one transport: name look-up, TCP, proxy and TLS.
const dialTimeout = 10 * time.Second

// place returns where a transport dials.
func (a aim) place(t Transport) string {
	host := strings.Trim(cmp.Or(a.instance.Address, a.gateway.Address), "[]")
	port := a.instance.ChannelPort
	if t != SlotPort {
		port = cmp.Or(a.gateway.ServicePort, causeway.HTTPSPort)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// reach connects to the instance by one transport and makes TLS with it. It calls progress once it is connected.
func (s *slotSet) reach(ctx context.Context, t Transport, own *tls.Certificate, progress func()) (*tls.Conn, error) {
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
	case SinglePort:
		config.NextProtos = []string{channel.ALPN(s.aim.instance.Slot)}
	case WebSocket:
		outer := trust.outerConfig(s.owner.agent.ExtraCAs)
		if raw, err = overWebSocket(ctx, raw, outer, trust.name, place, s.aim.instance.Slot); err != nil {
			return nil, err
		}
	}
	conn := tls.Client(channel.Batched(raw), config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("TLS with %s: %w", place, err)
	}
	if t == SinglePort && conn.ConnectionState().NegotiatedProtocol == "" {
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("%s takes no channels on this port", place)
	}
	return conn, nil
}
