//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// long returns the short form of a length of time, or with CAUSEWAY_SOAK=1 the long one.
func long(short, full time.Duration) time.Duration {
	if soak {
		return full
	}
	return short
}

// besides lets the long forms share their ten minutes.
func besides(t *testing.T) {
	if soak {
		t.Parallel()
	}
}

// TestServerSentEventsStreamAsTheyAreSent checks each event's time, so that no hop may collect them.
func TestServerSentEventsStreamAsTheyAreSent(t *testing.T) {
	besides(t)
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	length, interval := long(3*time.Second, 10*time.Minute), 100*time.Millisecond
	n := int(length / interval)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			client := s.client(t)
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = proto == "HTTP/2.0"
			resp, err := client.Get(fmt.Sprintf("%s/events?n=%d&interval=%s", s.publishedURL(t, "app"), n, interval))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.Proto != proto || resp.StatusCode != 200 {
				t.Fatalf("got %s %s", resp.Proto, resp.Status)
			}
			begin, got, late := time.Now(), 0, 0
			for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
				if !strings.HasPrefix(lines.Text(), "data: ") {
					continue
				}
				if want := fmt.Sprintf("data: event %d", got); lines.Text() != want {
					t.Fatalf("got %q, want %q", lines.Text(), want)
				}
				if due := begin.Add(time.Duration(got) * interval); time.Since(due) > 2*time.Second {
					late++
				}
				got++
			}
			if got != n || soak && late > 0 {
				t.Errorf("%d of %d events came, %d of them more than 2 s late", got, n, late)
			}
		})
	}
}

// TestWebSocketStreamsBothWays sends messages of all sizes, then rests, then sends again.
func TestWebSocketStreamsBothWays(t *testing.T) {
	besides(t)
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	s.cli(t, "server", "set", "app", "--websocket")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(s.publishedURL(t, "app"), "https:", "wss:", 1)+"/websocket",
		&websocket.DialOptions{HTTPClient: s.client(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 << 20)
	echo := func(size int) {
		t.Helper()
		message := bytes.Repeat([]byte{byte(size)}, size)
		if err := conn.Write(ctx, websocket.MessageBinary, message); err != nil {
			t.Fatal(err)
		}
		_, got, err := conn.Read(ctx)
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes came back for %d: %v", len(got), size, err)
		}
	}
	for _, size := range []int{0, 1, 125, 126, 1000, 65535, 65536, 1 << 20} {
		echo(size)
	}
	end := time.Now().Add(long(2*time.Second, 10*time.Minute))
	for rest := 250 * time.Millisecond; time.Now().Before(end); rest = min(2*rest, 2*time.Minute) {
		time.Sleep(min(rest, time.Until(end))) // the rest is what is tested
		echo(4000)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("the closing handshake did not go through: %v", err)
	}
}

// TestAWebSocketNeedsARule asks for an upgrade where none is allowed.
func TestAWebSocketNeedsARule(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	for _, protocol := range []string{"websocket", "h2c"} {
		c := s.raw(t, s.tlsConfig(t))
		c.send("GET /app/websocket HTTP/1.1\r\nHost: " + s.host(t) + "\r\nConnection: Upgrade\r\nUpgrade: " + protocol +
			"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if got, ok := c.answer(t, "GET"); !ok || got.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("upgrade to %s: got %+v", protocol, got)
		}
	}
}

// TestALongPollWaitsForItsAnswer is a notification channel: silence, then one line.
func TestALongPollWaitsForItsAnswer(t *testing.T) {
	besides(t)
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	s.cli(t, "server", "set", "app", "--answer-timeout", "15m")
	wait := long(5*time.Second, 10*time.Minute)
	begin := time.Now()
	resp, err := s.client(t).Get(s.publishedURL(t, "app") + "/poll?wait=" + wait.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if took := time.Since(begin); err != nil || string(body) != "news\n" || took < wait {
		t.Errorf("after %s: %s %q %v", took, resp.Status, body, err)
	}
}
