package channel

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Transport is a way by which a channel reaches its instance. Each carries the same TLS, end to end with the instance.
type Transport string

// The transports, the best first: what comes later costs more on the way, and passes more of what stands there.
const (
	SlotPort   Transport = "slot-port"   // TLS on the slot's own port
	SinglePort Transport = "single-port" // TLS on the devices' port, told apart by its ALPN
	WebSocket  Transport = "websocket"   // TLS in a WebSocket on the devices' port, where only HTTPS passes
)

// Transports are all of them, the best first.
var Transports = []Transport{SlotPort, SinglePort, WebSocket}

// ParseTransports reads a list of transports in the order of preference. "auto" is all of them, the best first.
func ParseTransports(list []string) ([]Transport, error) {
	if len(list) == 0 || len(list) == 1 && list[0] == "auto" {
		return Transports, nil
	}
	var out []Transport
	for _, text := range list {
		switch t := Transport(text); {
		case text == "auto":
			return nil, causeway.WithHint(errors.New("auto is all transports, so it stands alone"), "leave it out, or leave the others out")
		case !slices.Contains(Transports, t):
			return nil, causeway.WithHint(fmt.Errorf("transport %q does not exist", text), "choose auto, or of slot-port, single-port and websocket in the order of your preference")
		case slices.Contains(out, t):
			return nil, causeway.WithHint(fmt.Errorf("transport %s is named twice", text), "name each once")
		default:
			out = append(out, t)
		}
	}
	return out, nil
}

// How a connection to the channel of a slot says so on the port that devices use. Inside is the same TLS, end to end
// with the instance of the slot, as on the slot's own port:
//
//	by ALPN         the ClientHello offers the one protocol that ALPN names
//	by WebSocket    GET WebSocketPath with WebSocketProtocol; the TLS bytes are the payload of binary messages
const (
	alpnPrefix      = "causeway-channel/1/"
	webSocketPrefix = "/" + WebSocketName + "/1/"

	// WebSocketName is the first segment of WebSocketPath. No server can be published under it.
	WebSocketName = "causeway-channel"
	// WebSocketProtocol is the WebSocket's subprotocol.
	WebSocketProtocol = "causeway-channel.1"
)

// ALPN returns the protocol id of a slot's channel.
func ALPN(n causeway.Slot) string { return alpnPrefix + strconv.Itoa(int(n)) }

// ParseALPN finds the slot whose channel is meant among the protocols that a client offers.
func ParseALPN(offered []string) (causeway.Slot, bool) {
	for _, p := range offered {
		if text, ok := strings.CutPrefix(p, alpnPrefix); ok {
			return parseSlot(text)
		}
	}
	return 0, false
}

// WebSocketPath returns the path under which a slot's channel is reached by WebSocket.
func WebSocketPath(n causeway.Slot) string { return webSocketPrefix + strconv.Itoa(int(n)) }

// ParseWebSocketPath is the reverse of WebSocketPath.
func ParseWebSocketPath(path string) (causeway.Slot, bool) {
	text, ok := strings.CutPrefix(path, webSocketPrefix)
	if !ok {
		return 0, false
	}
	return parseSlot(text)
}

// parseSlot reads the one spelling that a slot has.
func parseSlot(text string) (causeway.Slot, bool) {
	n, err := strconv.Atoi(text)
	slot := causeway.Slot(n)
	return slot, err == nil && slot.Valid() && strconv.Itoa(n) == text
}

// maxMessageBytes bounds the messages of a channel within a WebSocket. Their library knows no deadline for a part of a
// message, so a line is dead for it that does not take this much in the time in which another must take a byte.
const maxMessageBytes = 16 << 10

// Messages makes a connection over a WebSocket (websocket.NetConn) out of one that the channel can use: whatever is
// written travels in messages that a slow line can take. raw is the connection below, which lends its addresses and is
// closed with it, at once: a goodbye to a peer that is gone would keep the caller waiting.
func Messages(c, raw net.Conn) net.Conn { return &messages{Conn: c, raw: raw} }

type messages struct {
	net.Conn
	raw      net.Conn
	patience atomic.Int64 // that a write deadline left, for each message anew; 0: none was set
}

// NetConn returns what is below.
func (m *messages) NetConn() net.Conn { return m.raw }

func (m *messages) SetDeadline(t time.Time) error {
	return errors.Join(m.SetReadDeadline(t), m.SetWriteDeadline(t))
}

func (m *messages) SetWriteDeadline(t time.Time) error {
	patience := time.Duration(0)
	if !t.IsZero() {
		patience = max(0, time.Until(t))
	}
	m.patience.Store(int64(patience))
	return m.Conn.SetWriteDeadline(t)
}

func (m *messages) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		if d := time.Duration(m.patience.Load()); n > 0 && d > 0 {
			if err := m.Conn.SetWriteDeadline(time.Now().Add(d)); err != nil {
				return n, err
			}
		}
		var k int
		k, err = m.Conn.Write(p[:min(len(p), maxMessageBytes)])
		n, p = n+k, p[k:]
	}
	return n, err
}

func (m *messages) Close() error {
	err := m.raw.Close()
	_ = m.Conn.Close() // with nobody below it, it says nothing and waits for nothing
	return err
}

func (m *messages) LocalAddr() net.Addr  { return m.raw.LocalAddr() }
func (m *messages) RemoteAddr() net.Addr { return m.raw.RemoteAddr() }
