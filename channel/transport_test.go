package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/begun"
)

func TestSlotsHaveOneSpelling(t *testing.T) {
	for n := range causeway.Slot(causeway.MaxSlots) {
		if got, ok := ParseALPN([]string{"h2", ALPN(n), "http/1.1"}); !ok || got != n {
			t.Errorf("ParseALPN(%q) = %d, %v", ALPN(n), got, ok)
		}
		if got, ok := ParseWebSocketPath(WebSocketPath(n)); !ok || got != n {
			t.Errorf("ParseWebSocketPath(%q) = %d, %v", WebSocketPath(n), got, ok)
		}
	}
	for _, text := range []string{"", "16", "-1", "+1", "01", "1 ", "1/", "x", "1.0", "99999999999999999999"} {
		if n, ok := ParseALPN([]string{alpnPrefix + text}); ok {
			t.Errorf("ALPN with slot %q is taken for %d", text, n)
		}
		if n, ok := ParseWebSocketPath(webSocketPrefix + text); ok {
			t.Errorf("path with slot %q is taken for %d", text, n)
		}
	}
	for _, other := range []string{"", "/", "/causeway-channel", "/causeway-channel/2/1", "/CAUSEWAY-CHANNEL/1/1", "causeway-channel/1/1"} {
		if _, ok := ParseWebSocketPath(other); ok {
			t.Errorf("path %q is taken for a channel's", other)
		}
	}
	if _, ok := ParseALPN([]string{"h2", "http/1.1"}); ok {
		t.Error("a device's protocols are taken for a channel's")
	}
}

// What was read of a connection before comes first, and the rest by the socket in large pieces.
func TestBatchedBeginsWithWhatWasRead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	rest := bytes.Repeat([]byte("rest"), 50_000)
	go func() {
		_, _ = client.Write(rest)
		client.Close()
	}()
	head := bytes.Repeat([]byte("head"), 4000)
	got, err := io.ReadAll(Batched(&begun.Conn{Conn: server, Head: head}))
	if err != nil || !bytes.Equal(got, append(head, rest...)) {
		t.Errorf("%d bytes, %v; want %d of the head and %d of the rest", len(got), err, len(head), len(rest))
	}
}

func TestTransportsAreRead(t *testing.T) {
	for _, list := range [][]string{nil, {"auto"}} {
		if got, err := ParseTransports(list); err != nil || !slices.Equal(got, Transports) {
			t.Errorf("%v: %v, %v", list, got, err)
		}
	}
	if got, err := ParseTransports([]string{"websocket", "slot-port"}); err != nil || !slices.Equal(got, []Transport{WebSocket, SlotPort}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range [][]string{{"tcp"}, {"auto", "websocket"}, {"websocket", "websocket"}, {""}} {
		if _, err := ParseTransports(bad); err == nil || causeway.Hint(err) == "" {
			t.Errorf("%v: error %v without a hint", bad, err)
		}
	}
}

// final ends with the first deadline that passes, as a WebSocket does.
type final struct{ net.Conn }

func (c final) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.end(err)
}

func (c final) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.end(err)
}

func (c final) end(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.Close()
		return context.Canceled
	}
	return err
}

// TestPatienceWithAWebSocketIsWhole has the other side of a WebSocket take, and say, something just before it is dead.
func TestPatienceWithAWebSocketIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		c := Batched(Messages(final{a}, a))
		var late sync.WaitGroup
		late.Go(func() {
			time.Sleep(DefaultDeadAfter - 10*time.Millisecond)
			_, _ = io.ReadFull(b, make([]byte, 5))
			time.Sleep(DefaultDeadAfter - 10*time.Millisecond)
			_, _ = b.Write([]byte("hello"))
		})
		if err := writePatiently(c, []byte("hello"), DefaultDeadAfter); err != nil {
			t.Errorf("write: %v", err)
		}
		bulk := newBulkConn(newLink(c, slog.New(slog.DiscardHandler), newBudget(0), 0, 0), 1)
		if p, err := bulk.br.Peek(5); string(p) != "hello" || err != nil {
			t.Errorf("read %q, %v", p, err)
		}
		late.Wait()
	})
}
