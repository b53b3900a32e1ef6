package connpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// overWebSocket turns a connection to the devices' port into one whose bytes travel in a WebSocket to the channel of a
// slot. It consumes raw in every case.
func overWebSocket(ctx context.Context, raw net.Conn, outer *tls.Config, name, place string, n causeway.Slot) (net.Conn, error) {
	conn := tls.Client(raw, outer)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("TLS around the WebSocket with %s: %w", place, err)
	}
	_, port, err := net.SplitHostPort(place)
	if err != nil {
		_ = raw.Close() // the reason is known
		return nil, err
	}
	used := false
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxProxyAnswerBytes,
			DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
				if used {
					return nil, errors.New("the connection is used already")
				}
				used = true
				return conn, nil
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, answer, err := websocket.Dial(ctx, "wss://"+net.JoinHostPort(name, port)+channel.WebSocketPath(n), &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{channel.WebSocketProtocol}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if answer != nil && answer.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("the answer is %s", answer.Status)
		}
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("WebSocket with %s: %w", place, err)
	}
	if ws.Subprotocol() != channel.WebSocketProtocol {
		_ = raw.Close() // the reason is known
		return nil, fmt.Errorf("WebSocket with %s: it takes no channels", place)
	}
	// The session ends the connection; the dial's time is over when that matters.
	return channel.Messages(websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), raw), nil
}
