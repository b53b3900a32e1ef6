package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
)

// Channels may come in a WebSocket on the devices' port, where a middle box lets nothing else through. The WebSocket
// proves nothing and is worth nothing: within it the same TLS begins as on the channel listener, under the same limits,
// and ends at the instance that it is for.

// channelAsked returns the slot whose channel a request wants to become. Nothing was said on the connection before it:
// a device is no connection point.
func (x *http1Call) channelAsked() (causeway.Slot, bool) {
	if x.req.Upgrade == nil || !x.req.WebSocket() || string(x.req.Method) != http.MethodGet || x.h.standing.Load() != nil {
		return 0, false
	}
	if !http1.EqualFold(x.req.Get("Sec-WebSocket-Protocol"), channel.WebSocketProtocol) {
		return 0, false
	}
	return channel.ParseWebSocketPath(string(x.req.Target))
}

// tunnel makes the connection a channel's. The answer is the connection's last.
func (x *http1Call) tunnel(ctx context.Context, n causeway.Slot) (more bool) {
	s, c := x.s, x.h.deviceConn
	if x.req.BodyBytes != 0 || x.h.rd.Buffered() > 0 {
		x.closing = true
		return x.refuse(ctx, causeway.Refuse(causeway.CodeBadRequest, "a channel that does not wait for its answer"))
	}
	addr := sourceAddr(c.RemoteAddr())
	here := n == s.slot && s.siblings == nil
	var v *visit
	if here {
		v = s.beginChannel(ctx, addr, c, maxChannelsPerSource)
	} else {
		v = s.channelGate.begin(ctx, addr, &s.limits, c, maxChannelsPerSource)
	}
	if v == nil {
		s.metrics.channels.WithLabelValues("shed").Inc()
		return x.refuse(ctx, overloaded("too many channels are being made"))
	}
	defer s.channelGate.end(v)
	ws, err := x.acceptWebSocket()
	if err != nil {
		s.channelGate.end(v)
		return x.refuse(ctx, causeway.Refuse(causeway.CodeBadRequest, "%v", err))
	}
	// From here on it is no device's.
	c.closing.Do(c.gone)
	_ = c.SetDeadline(time.Time{})
	conn := channel.Messages(websocket.NetConn(ctx, ws, websocket.MessageBinary), c)
	defer conn.Close()
	if here {
		s.serveChannel(ctx, conn, v, channel.WebSocket)
	} else {
		s.joinChannel(ctx, conn, nil, n, v)
	}
	return false
}

// acceptWebSocket answers the request with a WebSocket.
func (x *http1Call) acceptWebSocket() (*websocket.Conn, error) {
	r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: x.req.Minor, Host: string(x.req.Host), Header: http.Header{}}
	for _, f := range x.req.Fields {
		name := http.CanonicalHeaderKey(string(f.Name))
		if name == "Connection" || name == "Upgrade" || strings.HasPrefix(name, "Sec-Websocket-") {
			r.Header.Add(name, string(f.Value))
		}
	}
	_ = x.h.SetWriteDeadline(time.Now().Add(x.s.timeouts.Head))
	return websocket.Accept(&upgradeAnswer{header: http.Header{}, conn: x.h.tls}, r,
		&websocket.AcceptOptions{Subprotocols: []string{channel.WebSocketProtocol}, CompressionMode: websocket.CompressionDisabled})
}

// An upgradeAnswer is what the WebSocket library writes its answer to. Only the switch is written; a refusal is ours to
// say, in our words.
type upgradeAnswer struct {
	header http.Header
	conn   net.Conn
	err    error
}

var errNoSwitch = errors.New("no WebSocket")

func (a *upgradeAnswer) Header() http.Header { return a.header }

func (a *upgradeAnswer) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols {
		a.err = errNoSwitch
		return
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = a.header.Write(&b) // into memory
	b.WriteString("\r\n")
	_, a.err = a.conn.Write(b.Bytes())
}

func (a *upgradeAnswer) Write(p []byte) (int, error) { return len(p), nil }

// webSocketBuffer is what the library reads and writes at a time: a message of a channel.
const webSocketBuffer = 16<<10 + 64

func (a *upgradeAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return a.conn, bufio.NewReadWriter(bufio.NewReaderSize(a.conn, webSocketBuffer), bufio.NewWriterSize(a.conn, webSocketBuffer)), a.err
}
