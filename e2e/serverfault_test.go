//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reset ends a connection with RST in place of FIN.
func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

// say writes text; whether the gateway still listens is for the test to find out on the other side.
func say(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// hang answers nothing until the other side gives up.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// TestServersThatMisbehave answers what no server should. The device must learn that something is wrong, in time, and
// never take a part for the whole.
func TestServersThatMisbehave(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	scripts := map[string]func(net.Conn){
		"/reset":             reset,
		"/close":             func(net.Conn) {},
		"/garbage":           say("\x16\x03\x01 this is not HTTP\r\n\r\n"),
		"/status":            say("HTTP/1.1 999999 No\r\nContent-Length: 0\r\n\r\n"),
		"/two-lengths":       say(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
		"/length-chunked":    say(ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"/folded":            say(ok + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
		"/bare-lf":           say("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
		"/nul":               say(ok + "A: b\x00c\r\nContent-Length: 0\r\n\r\n"),
		"/huge-head":         say(ok + "A: " + strings.Repeat("a", 512<<10) + "\r\nContent-Length: 0\r\n\r\n"),
		"/half-head":         say(ok + "Content-Le"),
		"/informational":     say(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000)),
		"/switch-unasked":    say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
		"/short":             say(ok + "Content-Length: 100\r\n\r\nten bytes."),
		"/short-chunked":     say(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
		"/bad-chunk":         say(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n"),
		"/hang":              hang,
		"/hang-after-a-part": func(c net.Conn) { say(ok + "Content-Length: 100\r\n\r\nten bytes.")(c); hang(c) },
	}
	raw := startRawServer(t, scripts)
	s := up(t, "--publish", "bad="+raw.url)
	s.cli(t, "server", "set", "bad", "--answer-timeout", "1s", "--idle-timeout", "1s")
	client, base := s.client(t), s.publishedURL(t, "bad")
	for path := range scripts {
		t.Run(strings.TrimPrefix(path, "/"), func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			resp, err := client.Get(base + path)
			if err != nil {
				t.Fatalf("the device got no answer at all: %v", err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("that took %s", took)
			}
			switch path {
			case "/short", "/short-chunked", "/bad-chunk", "/hang-after-a-part":
				if resp.StatusCode == 200 && err == nil {
					t.Errorf("a broken body came as a complete one: %q", body)
				}
			case "/hang":
				// Both hops have the same deadline; whichever sees it pass first says so.
				if code := problem(t, string(body)); code != "504 CMGConnector_ServerTimeout" && code != "504 CMGService_AnswerTimeout" {
					t.Errorf("got %s %s, want 504 of either hop", resp.Status, body)
				}
			default:
				if resp.StatusCode != http.StatusBadGateway || !strings.Contains(problem(t, string(body)), "CMGConnector_") {
					t.Errorf("got %s %s, want 502 and a code of the connection point's", resp.Status, body)
				}
			}
			if host := strings.TrimPrefix(raw.url, "http://"); strings.Contains(string(body)+fmt.Sprint(resp.Header), host) {
				t.Errorf("the answer names the inside server: %v %s", resp.Header, body)
			}
		})
	}
}

func TestAServerThatIsDownIsNamedAsSuch(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	s.cli(t, "server", "set", "app=http://"+address()+":9")
	resp, err := s.client(t).Get(s.publishedURL(t, "app") + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || problem(t, string(body)) != "502 CMGConnector_ServerUnreachable" {
		t.Errorf("got %s %s %v", resp.Status, body, err)
	}
}

// TestNoConnectionPointIsSaidQuickly stops the only connection point, which then holds its connections but serves
// nothing: the worst way to be gone.
func TestNoConnectionPointIsSaidQuickly(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	client, url := s.client(t), s.publishedURL(t, "app")+"/x"
	get := func() (*http.Response, string, time.Duration) {
		t.Helper()
		begin := time.Now()
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body), time.Since(begin)
	}
	pid := s.ConnectionPoints[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	eventually(t, 30*time.Second, "503 because no connection point is online", func() bool {
		resp, body, _ := get()
		return resp.StatusCode == 503 && problem(t, body) == "503 CMGService_NoConnectionPoint"
	})
	resp, _, took := get()
	if soak && took > time.Second || resp.Header.Get("Retry-After") == "" {
		t.Errorf("503 took %s, with Retry-After %q", took, resp.Header.Get("Retry-After"))
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "requests are served again", func() bool {
		resp, _, _ := get()
		return resp.StatusCode == 200
	})
}

// TestADeviceThatLeavesEndsItsRequest looks from the server's side.
func TestADeviceThatLeavesEndsItsRequest(t *testing.T) {
	gone := make(chan error, 1)
	raw := startRawServer(t, map[string]func(net.Conn){"/wait": func(c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		gone <- err
	}})
	s := up(t, "--publish", "app="+raw.url)
	c := s.raw(t, s.tlsConfig(t))
	before := time.Now()
	c.send("GET /app/wait HTTP/1.1\r\nHost: " + s.host(t) + "\r\n\r\n")
	select {
	case err := <-gone:
		t.Fatalf("the server's request ended before the device left: %v", err)
	case <-time.After(500 * time.Millisecond): // long enough for the request to have arrived
	}
	c.Close()
	select {
	case err := <-gone:
		if err == nil || errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("the server's connection ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("the server still works for a device that left %s ago", time.Since(before))
	}
}
