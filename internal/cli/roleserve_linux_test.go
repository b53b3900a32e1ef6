package cli

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/causeway-gateway/causeway/internal/unixsock"
)

// While a role drains, systemd knows that it stops, and an operator can ask it how far it is.
func TestARoleAnswersUntilItHasDrained(t *testing.T) {
	dir := t.TempDir()
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	said := func() string {
		b := make([]byte, 100)
		n, err := systemd.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	r := &roleProcess{name: "test", app: &app{getenv: func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return filepath.Join(dir, "notify")
		}
		return ""
	}}}
	drained := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	socket := filepath.Join(dir, "run.sock")
	over := make(chan error, 1)
	go func() {
		over <- r.serve(ctx, roleConfig{AdminSocket: socket}, service{
			run:    func(ctx context.Context) error { <-ctx.Done(); <-drained; return nil },
			admin:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "draining") }),
			logger: slog.New(slog.DiscardHandler),
		})
	}()
	if got := said(); got != "READY=1" {
		t.Fatalf("systemd heard %q first, want READY=1", got)
	}
	cancel()
	if got := said(); got != "STOPPING=1" {
		t.Errorf("systemd heard %q before the drain is over, want STOPPING=1", got)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return unixsock.Dial(ctx, socket)
	}}}
	resp, err := client.Get("http://role/metrics")
	if err != nil {
		t.Fatalf("the admin surface is gone while the role drains: %v", err)
	}
	resp.Body.Close()
	close(drained)
	if err := <-over; err != nil {
		t.Errorf("serve = %v", err)
	}
	if _, err := unixsock.Dial(t.Context(), socket); err == nil {
		t.Error("the admin surface is still there after the end")
	}
}
