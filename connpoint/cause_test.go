package connpoint

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway/channel"
)

// A gateway that is away for an hour gets a line a minute, and one more when there is another reason.
func TestCauseThatChangesIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards the fields below
		var log strings.Builder
		var reason error
		because := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			reason = errors.New(text)
		}
		because("read tcp 10.0.0.1:1234: connection reset")
		s := raceSet(t, func(context.Context, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			return nil, reason
		})
		s.log = slog.New(slog.NewTextHandler(writer(func(p []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(p)
		}), &slog.HandlerOptions{Level: slog.LevelWarn}))
		s.owner.agent.Transports = []channel.Transport{channel.SlotPort}
		ctx, cancel := context.WithCancel(t.Context())
		s.owner.work.Go(func() { s.keep(ctx, 0) })
		lines := func(what string) int {
			mu.Lock()
			defer mu.Unlock()
			return strings.Count(log.String(), what)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := lines("channel down"); n != 1 {
			t.Errorf("%d lines in half a minute, want 1", n)
		}
		because("read tcp 10.0.0.1:5678: connection reset") // by another port of ours
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := lines("channel down"); n != 1 {
			t.Errorf("%d lines for the same reason, want 1", n)
		}
		because("proxy says 407")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := lines("proxy says 407"); n != 1 {
			t.Errorf("%d lines for another reason, want 1", n)
		}
		cancel()
		s.owner.work.Wait()
	})
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }
