//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestABodyOverTheLimitIsRefused says how long it is, or does not say it.
func TestABodyOverTheLimitIsRefused(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	s.cli(t, "server", "set", "app", "--max-body", "1000")
	config, head := s.tlsConfig(t), "POST /app/x HTTP/1.1\r\nHost: "+s.host(t)+"\r\n"

	t.Run("announced", func(t *testing.T) {
		before := o.requests.Load()
		c := s.raw(t, config)
		c.send(head + "Content-Length: 1001\r\n\r\n" + strings.Repeat("x", 1001))
		if got, ok := c.answer(t, "POST"); !ok || problem(t, got.body) != "413 CMGService_BodyTooLarge" {
			t.Errorf("got %+v, want 413", got)
		}
		if n := o.requests.Load() - before; n > 0 {
			t.Errorf("%d requests reached the server", n)
		}
	})
	t.Run("announced with Expect", func(t *testing.T) {
		c := s.raw(t, config)
		c.send(head + "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
		if got, ok := c.answer(t, "POST"); !ok || got.StatusCode != 413 {
			t.Errorf("got %+v, want 413 in place of 100", got)
		}
	})
	t.Run("of unknown length", func(t *testing.T) {
		o.targets()
		c := s.raw(t, config)
		c.send(head + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + strings.Repeat("x", 1000) + "\r\n1\r\nx\r\n0\r\n\r\n")
		if got, ok := c.answer(t, "POST"); ok && got.StatusCode != 413 {
			t.Errorf("got %d %s, want 413 or the end of the connection", got.StatusCode, got.body)
		}
		if seen := o.targets(); len(seen) > 0 {
			t.Errorf("the server took a body that was cut for a whole one: %q", seen)
		}
	})
	t.Run("just within", func(t *testing.T) {
		c := s.raw(t, config)
		c.send(head + "Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000))
		if got, ok := c.answer(t, "POST"); !ok || got.StatusCode != 200 || decode(t, got.body).Bytes != 1000 {
			t.Errorf("got %+v, want 200", got)
		}
	})
}

// TestADeviceThatStopsInItsBodyIsCut sends half of what it announced.
func TestADeviceThatStopsInItsBodyIsCut(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	s.cli(t, "server", "set", "app", "--idle-timeout", "1s")
	config, head := s.tlsConfig(t), "POST /app/x HTTP/1.1\r\nHost: "+s.host(t)+"\r\n"
	for name, text := range map[string]string{
		"of known length":   "Content-Length: 1000\r\n\r\nhalf",
		"of unknown length": "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			o.targets()
			begin := time.Now()
			c := s.raw(t, config)
			c.send(head + text)
			if got, ok := c.answer(t, "POST"); ok && got.StatusCode != 408 {
				t.Errorf("got %d %s, want 408 or the end of the connection", got.StatusCode, got.body)
			}
			if !c.closed() {
				t.Error("the connection went on")
			}
			if took := time.Since(begin); soak && took > 10*time.Second {
				t.Errorf("the gateway waited %s", took)
			}
			if seen := o.targets(); len(seen) > 0 {
				t.Errorf("the server took half a body for a whole one: %q", seen)
			}
		})
	}
}
