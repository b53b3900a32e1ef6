package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// webSocket dials the devices' port as a connection point does that only HTTPS gets out for.
func (in *instance) webSocket(t *testing.T, path string) (net.Conn, int) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(in.serverCA.cert)
	raw, err := tls.Dial("tcp", in.devices.Addr().String(), &tls.Config{RootCAs: roots, ServerName: testName, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 2*longWait)
	defer cancel()
	ws, answer, err := websocket.Dial(ctx, "wss://"+testName+path, &websocket.DialOptions{Subprotocols: []string{channel.WebSocketProtocol},
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return raw, nil }}}})
	if err != nil {
		if answer == nil {
			t.Fatal(err)
		}
		return nil, answer.StatusCode
	}
	return channel.Messages(websocket.NetConn(t.Context(), ws, websocket.MessageBinary), raw), http.StatusSwitchingProtocols
}

// channelWithin makes a channel within a WebSocket.
func (in *instance) channelWithin(t *testing.T, front *instance, n causeway.Slot, id causeway.InstanceID) (*channel.Session, channel.Welcome, error) {
	t.Helper()
	conn, status := front.webSocket(t, channel.WebSocketPath(n))
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", status)
	}
	roots := x509.NewCertPool()
	roots.AddCert(in.serverCA.cert)
	ctx, cancel := context.WithTimeout(t.Context(), 2*longWait)
	defer cancel()
	c := tls.Client(channel.Batched(conn), &tls.Config{RootCAs: roots, ServerName: testName, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"))}})
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, channel.Welcome{}, err
	}
	return channel.Connect(ctx, c, channel.Hello{Site: testSite, Gateway: testGateway, ConnectionPoint: "cp-1", ConnectionID: "secret-1", Slot: n, Instance: id,
		Set: "set-1", Count: 1}, channel.SessionConfig{Logger: in.log, HandshakeTimeout: longWait})
}

func TestChannelWithinAWebSocketIsServed(t *testing.T) {
	in := prepareReal(t)
	in.apply(nil)
	in.start()
	s, w, err := in.channelWithin(t, in, 3, testInstance)
	if err != nil || w.Instance != testInstance {
		t.Fatalf("welcome %+v: %v", w, err)
	}
	stop := in.serveOn(s, echo{in.doc.DeviceTrust})
	waitFor(t, in.exchanger.Ready)
	in.wantsChannelBy(t, channel.WebSocket)
	body := strings.Repeat("x", 300_000)
	d := in.dial("pc-1")
	d.send("POST /app/x HTTP/1.1\r\nHost: " + testName + "\r\nContent-Length: 300000\r\n\r\n" + body)
	if r := d.receive("POST"); !strings.HasSuffix(r.body, body) {
		t.Errorf("a body of 300 kB came back as %d bytes", len(r.body))
	}
	if open, _ := in.sources.open(); open != 1 {
		t.Errorf("%d connections count as devices', want the one device", open)
	}
	stop()
	waitFor(t, func() bool { return in.openChannels() == 0 })
}

// A stop does not wait for the WebSocket as it does for a device.
func TestChannelWithinAWebSocketDelaysNoStop(t *testing.T) {
	in := prepareReal(t, func(c *Config) { c.Timeouts.Drain = 5 * time.Minute })
	in.apply(nil)
	in.start()
	s, _, err := in.channelWithin(t, in, 3, testInstance)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), echo{in.doc.DeviceTrust}) }()
	waitFor(t, in.exchanger.Ready)
	began := time.Now()
	in.stop()
	over := false
	select {
	case <-s.Leaving():
	case <-served: // the end came as soon as the word, since nothing was under way
		over = true
	}
	s.Close()
	if !over {
		<-served
	}
	if err := <-in.done; err != nil {
		t.Error(err)
	}
	in.done <- nil
	took := time.Since(began)
	t.Logf("the stop took %s", took)
	if took > 2*time.Minute { // the drain's time is more than twice that
		t.Errorf("the stop took %s, as if it had waited for the drain's end", took)
	}
}

func TestChannelWithinAWebSocketReachesASibling(t *testing.T) {
	other := prepareReal(t, func(c *Config) { c.Slot, c.Instance = 5, "inst-b" })
	other.apply(func(d *signed.GatewayDocument) { d.Instances = besideTestInstance })
	other.start()
	for name, s := range map[string]Siblings{
		"by its private address": nil,
		"by somebody between": siblings{dial: func(n causeway.Slot, from net.Conn) (net.Conn, error) {
			if n != 5 || from.RemoteAddr() == nil {
				return nil, errors.New("not asked for that")
			}
			return net.Dial("tcp", other.channels.Addr().String())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			front := prepareReal(t, func(c *Config) { c.Siblings = s })
			front.apply(func(d *signed.GatewayDocument) {
				d.Instances = []signed.Instance{{Slot: 5, ID: "inst-b", PrivateAddress: other.channels.Addr().String()}}
			})
			front.start()
			there := *front
			there.serverCA = front.serverCA
			conn, w, err := other.channelWithin(t, &there, 5, "inst-b")
			if err != nil || w.Instance != "inst-b" {
				t.Fatalf("welcome %+v: %v", w, err)
			}
			stop := other.serveOn(conn, echo{other.doc.DeviceTrust})
			waitFor(t, other.exchanger.Ready)
			other.wantsChannelBy(t, channel.WebSocket)
			other.dial("pc-1").ask(get("/app/x")).wants(t, 200, 0)
			stop()
			waitFor(t, func() bool { return front.openChannels() == 0 && other.openChannels() == 0 })
		})
	}
}

// Whoever is no connection point learns nothing by the reserved path, and gets no further.
func TestStrangersGetNothingOutOfTheChannelsPath(t *testing.T) {
	in := prepareReal(t, func(c *Config) { c.Timeouts.Handshake = time.Minute })
	in.apply(nil)
	in.start()
	ask := func(path string, fields ...string) *reply {
		return in.dialTLS(in.clientTLS()).ask(get(path, fields...))
	}
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"}
	key, proto := "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: "+channel.WebSocketProtocol
	unpublished := ask("/no-such-name/1/3").StatusCode
	for name, r := range map[string]*reply{
		"no upgrade":       ask(channel.WebSocketPath(3)),
		"no slot":          ask("/causeway-channel/1/16", append(upgrade, key, proto)...),
		"another protocol": ask(channel.WebSocketPath(3), append(upgrade, key, "Sec-WebSocket-Protocol: chat")...),
		"no protocol":      ask(channel.WebSocketPath(3), append(upgrade, key)...),
	} {
		if r.StatusCode != unpublished {
			t.Errorf("%s: status %d, want %d as for any name that is not published", name, r.StatusCode, unpublished)
		}
	}
	for name, fields := range map[string][]string{
		"no key":      append(upgrade, proto),
		"a bad key":   append(upgrade, proto, "Sec-WebSocket-Key: x"),
		"old version": {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", key, proto},
		"a body":      append(upgrade, key, proto, "Content-Length: 3"),
		"many keys":   append(upgrade, key, key, proto),
	} {
		r := ask(channel.WebSocketPath(3), fields...)
		r.wants(t, 400, causeway.CodeBadRequest)
		if strings.Contains(r.body, "WebSocket") {
			t.Errorf("%s: the answer explains itself: %s", name, r.body)
		}
	}
	if in.exchanger.Ready() {
		t.Error("a stranger's channel takes requests")
	}
}

// Who switches to a WebSocket and then says nothing, or no TLS, is cut when a handshake's time is over.
func TestWebSocketsWithoutAChannelAreCut(t *testing.T) {
	in := prepareReal(t, func(c *Config) { c.Timeouts.Handshake = 5 * time.Second }) // which the test's own must keep
	in.apply(nil)
	in.start()
	conns := map[string]net.Conn{}
	for name, say := range map[string]string{"silence": "", "no TLS": "GET / HTTP/1.1\r\n\r\n"} {
		conn, status := in.webSocket(t, channel.WebSocketPath(3))
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", status)
		}
		if say != "" {
			if _, err := io.WriteString(conn, say); err != nil {
				t.Fatal(err)
			}
		}
		conns[name] = conn
	}
	for name, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(longWait))
		if _, err := io.Copy(io.Discard, conn); timedOut(err) {
			t.Errorf("%s: the connection is kept", name)
		}
	}
	waitFor(t, func() bool { return in.openChannels() == 0 })
	if in.exchanger.Ready() {
		t.Error("a stranger's channel takes requests")
	}
}

// A device that was let in is no connection point, whatever it asks for.
func TestDeviceDoesNotBecomeAChannel(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	d.ask(get("/app/")).wants(t, 200, 0)
	r := d.ask(get(channel.WebSocketPath(3), "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: "+channel.WebSocketProtocol))
	if r.StatusCode/100 != 4 {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestTooManyWebSocketsAreTurnedAway(t *testing.T) {
	in := prepareReal(t, func(c *Config) { c.Limits.MaxChannelConnections = 2 })
	in.apply(nil)
	in.start()
	for range 2 {
		s, _, err := in.channelWithin(t, in, 3, testInstance)
		if err != nil {
			t.Fatal(err)
		}
		in.serveOn(s, echo{in.doc.DeviceTrust})
	}
	if _, status := in.webSocket(t, channel.WebSocketPath(3)); status != http.StatusServiceUnavailable {
		t.Errorf("one too many: status %d", status)
	}
}
