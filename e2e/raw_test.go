//go:build linux

package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// A rawConn is a device that writes what it likes. Each comes from an address of its own, so that the gateway's
// limit of refusals per source does not stand in for the refusal that a test is after.
type rawConn struct {
	net.Conn
	r *bufio.Reader
}

// raw connects to the gateway with HTTP/1.1 agreed and the given TLS configuration.
func (s *site) raw(t *testing.T, config *tls.Config) *rawConn {
	t.Helper()
	c, err := s.dialRaw(t, s.host(t), config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) dialRaw(t *testing.T, to string, config *tls.Config) (*rawConn, error) {
	t.Helper()
	dialer := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address())}}
	conn, err := tls.DialWithDialer(dialer, "tcp", to, config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // a conn just opened takes a deadline
	return &rawConn{conn, bufio.NewReader(conn)}, nil
}

// send writes text; a gateway may have closed already, which its answer tells.
func (c *rawConn) send(text string) { _, _ = io.WriteString(c, text) }

// An answer is a response read whole.
type answer struct {
	*http.Response
	body string
}

// answer reads the answer to a request with that method. ok is false when the connection ended without one.
func (c *rawConn) answer(t *testing.T, method string) (a answer, ok bool) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the gateway neither answered nor closed within 30 s")
		}
		return answer{}, false
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("answer %s broke off: %v", resp.Status, err)
	}
	return answer{resp, string(body)}, true
}

// closed reports whether the gateway ends the connection without another byte.
func (c *rawConn) closed() bool {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := c.r.Read(make([]byte, 1))
	return n == 0 && err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
