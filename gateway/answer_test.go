package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/channel"
)

// The last quarter of the memory budget is for small answers. What is large and may be asked for again is refused.
func TestTightMemoryIsForSmallAnswers(t *testing.T) {
	large := strings.Repeat("x", smallAnswerBytes+1)
	in := run(t)
	in.backend.handle = func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		switch target := string(r.head.Target); {
		case strings.Contains(target, "unknown"):
			if err := d.Answer(head("200 OK"), nil, false); err != nil {
				return err
			}
			return d.Data([]byte("piece"), true)
		case strings.Contains(target, "pieces"):
			if err := d.Answer(head("200 OK", "Content-Length: 5"), nil, false); err != nil {
				return err
			}
			return d.Data([]byte("small"), true)
		case strings.Contains(target, "large"):
			if err := d.Answer(head("200 OK", fmt.Sprintf("Content-Length: %d", len(large))), []byte(large[:1000]), false); err != nil {
				return err
			}
			return d.Data([]byte(large[1000:]), true)
		}
		return d.Answer(head("200 OK", "Content-Length: 5"), []byte("small"), true)
	}
	in.backend.tight = true
	cert := in.deviceCA.issue("pc-1")
	for _, c := range []struct {
		method, what string
		status       int
	}{
		{"GET", "whole", 200},
		{"GET", "pieces", 200},
		{"GET", "large", 503},
		{"GET", "unknown", 503},
		{"POST", "large", 200}, // whoever is told to come back would do it twice
	} {
		d := in.dialTLS(in.clientTLS(cert))
		d.send(fmt.Sprintf("%s /app/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", c.method, c.what, testName))
		got := d.receive(c.method)
		if got.StatusCode != c.status || c.status == 503 && got.Header.Get("Retry-After") == "" {
			t.Errorf("%s of an answer that is %s: %d, %v", c.method, c.what, got.StatusCode, got.Header)
		}
	}
	in.backend.mu.Lock()
	in.backend.tight = false
	in.backend.mu.Unlock()
	d := in.dialTLS(in.clientTLS(cert))
	d.send("GET /app/large HTTP/1.1\r\nHost: " + testName + "\r\n\r\n")
	if got := d.receive("GET"); got.StatusCode != 200 || got.body != large {
		t.Errorf("with room again: %d, %d bytes", got.StatusCode, len(got.body))
	}
}
