package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
)

func TestErrorsAreLinesWithHints(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	a.printError(errors.Join(
		causeway.WithHint(errors.New("first\nwith a break and \x1b[31mcolour"), "do this"),
		fmt.Errorf("outer: %w", errors.Join(errors.New("second"))),
		errSilent,
		fmt.Errorf("waiting: %w", context.Canceled),
	))
	want := "causeway: error: first with a break and ?[31mcolour\ncauseway: hint: do this\ncauseway: error: outer: second\ncauseway: error: interrupted\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestExitStatuses(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), 1},
		{errSilent, 1},
		{causeway.ErrNotRunning, 1},
		{fmt.Errorf("server x: %w", causeway.ErrNotFound), 3},
		{badFlag("hint", "bad"), 2},
		{errors.Join(errors.New("x"), badFlag("hint", "bad")), 2},
	} {
		if got := statusOf(tt.err); got != tt.want {
			t.Errorf("statusOf(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestProgressInLinesAndOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{w: &out, now: time.Now, start: time.Now()}
		p.step("think", func() error { time.Sleep(1500 * time.Millisecond); return nil })
		p.note("a\nnote")
		if err := p.step("fail", func() error { return errors.New("no") }); err == nil {
			t.Error("step swallowed its error")
		}
		want := "[  1.50s] think: ok in 1.50s\n[  1.50s] a note\n[  1.50s] fail: failed in 0.00s\n"
		if out.String() != want {
			t.Errorf("lines = %q, want %q", out.String(), want)
		}

		out.Reset()
		p.tty = true
		p.step("think", func() error { time.Sleep(250 * time.Millisecond); return nil })
		if got := out.String(); strings.Count(got, "think") != 4 || !strings.HasSuffix(got, "✓\x1b[0m think  0.25s\n") {
			t.Errorf("terminal = %q, want three frames and a result", got)
		}
	})
}

func TestShellLineSurvivesAShell(t *testing.T) {
	args := []string{"plain", "with space", "it's", `"$HOME"`, "`id`", "a;b", "*", "", "--x=[1]", "ü\tx"}
	out, err := exec.Command("sh", "-c", shellLine(append([]string{"printf", "%s\n"}, args...)...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), strings.Join(args, "\n")+"\n"; got != want {
		t.Errorf("the shell made %q of it, want %q", got, want)
	}
}

func TestReadyBlockNamesWhatDNSDoesNotKnow(t *testing.T) {
	var out bytes.Buffer
	b := readyBlock{ready: &ready{GatewayURL: "https://gateway.example.com/", CAFile: "/s/ca.crt", Published: []readyPublished{
		{Name: "apt", URL: "https://apt.example.com/"}}}, state: "/s", dial: netip.MustParseAddrPort("127.0.0.1:443")}
	if err := b.print(&out); err != nil {
		t.Fatal(err)
	}
	if want := "--resolve apt.example.com:443:127.0.0.1 https://apt.example.com/"; !strings.Contains(out.String(), want) {
		t.Errorf("ready block lacks %q:\n%s", want, out.String())
	}
}

func TestTargetIsWhatTheDeviceWouldSend(t *testing.T) {
	for _, tt := range []struct{ url, authority, target string }{
		{"https://g:8443", "g:8443", "/"},
		{"https://g/a%2fb/../c;x?y=%zz#z", "g", ""}, // net/url does not take %zz in a path, but does in a query
		{"https://g?x", "g", "/?x"},
		{"https://g/a//b", "g", "/a//b"},
		{"https://[::1]:8443/a", "[::1]:8443", "/a"},
	} {
		ask, err := askOf(console.Question{Method: "GET", URL: tt.url})
		if tt.target == "" {
			tt.target = "/a%2fb/../c;x?y=%zz"
		}
		if err != nil || string(ask.Authority) != tt.authority || string(ask.Target) != tt.target {
			t.Errorf("askOf(%q) = %q %q, %v; want %q %q", tt.url, ask.Authority, ask.Target, err, tt.authority, tt.target)
		}
	}
	for _, url := range []string{"http://g/", "https://", "https://user@g/", "g/x", "https://g/%zz", "https://%67/"} {
		if _, err := askOf(console.Question{Method: "GET", URL: url}); !errors.Is(err, causeway.ErrUsage) {
			t.Errorf("askOf(%q) = %v, want a usage error", url, err)
		}
	}
}

func TestActivationTakesSocketsMeantForUs(t *testing.T) {
	env := map[string]string{"LISTEN_PID": "1", "LISTEN_FDS": "2"}
	if got, err := activated(func(k string) string { return env[k] }); err != nil || got != nil {
		t.Errorf("sockets of another process: %v, %v; want none", got, err)
	}
	if got, err := activated(func(string) string { return "" }); err != nil || got != nil {
		t.Errorf("no sockets: %v, %v; want none", got, err)
	}
}
