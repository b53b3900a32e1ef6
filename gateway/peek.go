package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/begun"
)

// Channels may come on the devices' port, marked by their ALPN (channel.ALPN). TLS reads the ClientHello as that of any
// device; when it turns out to be a channel's, nothing was answered yet and what came is kept, so that whoever the
// channel is for can begin from the first byte. This instance ends no TLS that is meant for another.

const (
	// maxPeekBytes bounds the ClientHello of a channel. Who sends more is served as a device.
	maxPeekBytes = 16 << 10
	// peekTimeout likewise bounds the time that a channel's ClientHello may take.
	peekTimeout = 5 * time.Second
	// peekBuffer is what an ordinary ClientHello fits in.
	peekBuffer = 2 << 10
)

// A peek is what came of a handshake so far, as long as it may be a channel's.
type peek struct {
	began   time.Time
	bytes   []byte
	over    bool // nothing is kept any more: it was decided, or is too much
	channel bool // it is one: what TLS has to say is kept back
	slot    causeway.Slot
}

var peeks = sync.Pool{New: func() any { return &peek{bytes: make([]byte, 0, peekBuffer)} }}

func newPeek() *peek {
	p := peeks.Get().(*peek)
	*p = peek{began: time.Now(), bytes: p.bytes[:0]}
	return p
}

// note keeps what was read.
func (p *peek) note(b []byte) {
	switch {
	case p.over:
	case len(p.bytes)+len(b) > maxPeekBytes:
		p.over = true
	default:
		p.bytes = append(p.bytes, b...)
	}
}

// errChannel ends a device's handshake that is none.
var errChannel = errors.New("a channel on the devices' port")

// peekHello looks at a ClientHello. It is GetConfigForClient of the devices' TLS.
func (s *Server) peekHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := hello.Conn.(*deviceConn)
	if !ok || c.peek == nil || c.peek.over {
		return nil, nil
	}
	c.peek.over = true
	slot, ok := channel.ParseALPN(hello.SupportedProtos)
	if !ok || time.Since(c.peek.began) > peekTimeout {
		return nil, nil
	}
	c.peek.channel, c.peek.slot = true, slot
	return nil, errChannel
}

// channelHello has a channel's handshake wait for its turn, now that it has begun: who says nothing takes none away. The
// ALPN of a channel is answered with what it asked for, and that of anybody else as if we had none.
func (s *Server) channelHello() func(*tls.ClientHelloInfo) (*tls.Config, error) {
	named := s.channelTLS.Clone()
	named.NextProtos = []string{channel.ALPN(s.slot)}
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if err := s.pacer.wait(hello.Context(), sourceAddr(hello.Conn.RemoteAddr()), s.timeouts.Handshake, hello.Conn); err != nil {
			return nil, err
		}
		if _, ok := channel.ParseALPN(hello.SupportedProtos); ok {
			return named, nil
		}
		return nil, nil
	}
}

// endPeek is called when the handshake is over. It reports whether the connection was a channel's, which is on its way
// to its instance then.
func (c *deviceConn) endPeek(ctx context.Context) bool {
	p := c.peek
	c.peek = nil
	if !p.channel {
		if cap(p.bytes) == peekBuffer {
			peeks.Put(p)
		}
		return false
	}
	// From here on it is no device's, and under the limits of channels.
	c.closing.Do(c.gone)
	_ = c.SetDeadline(time.Time{})
	c.s.routeChannel(ctx, &begun.Conn{Conn: c.Conn, Head: p.bytes}, p.slot)
	return true
}
