package sock

import (
	"crypto/tls"
	"net"
	"testing"
)

func TestBelowFindsTheSocket(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if s := Below(tls.Client(near, &tls.Config{})); s != nil {
		t.Errorf("a pipe has the socket %v", s)
	}
	c := New(&net.TCPConn{})
	if s := Below(tls.Client(c, &tls.Config{})); s == nil {
		t.Error("TLS hides the socket")
	}
}
