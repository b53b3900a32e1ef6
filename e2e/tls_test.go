//go:build linux

package e2e

import (
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestOnlyGoodTLSIsSpoken offers the gateway what it must not accept.
func TestOnlyGoodTLSIsSpoken(t *testing.T) {
	s := up(t)
	for _, tt := range []struct {
		name string
		max  uint16
		old  []uint16
	}{
		{"TLS 1.1", tls.VersionTLS11, nil},
		{"TLS 1.0", tls.VersionTLS10, nil},
		{"RSA key exchange", tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
		{"CBC", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := s.tlsConfig(t)
			config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS10, tt.max, tt.old
			if c, err := s.dialRaw(t, s.host(t), config); err == nil {
				t.Errorf("the handshake went through with version %x", c.Conn.(*tls.Conn).ConnectionState().Version)
			}
		})
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := s.tlsConfig(t)
		config.MinVersion, config.MaxVersion = version, version
		c := s.raw(t, config)
		c.send("GET /sample/ HTTP/1.1\r\nHost: " + s.host(t) + "\r\n\r\n")
		if got, ok := c.answer(t, "GET"); !ok || got.StatusCode != 200 {
			t.Errorf("version %x: got %+v", version, got)
		}
	}
}

// TestJunkInPlaceOfTLSIsCut sends what scanners send. Others must not notice.
func TestJunkInPlaceOfTLSIsCut(t *testing.T) {
	s := up(t)
	for name, junk := range map[string]string{
		"plain HTTP":       "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"three bytes":      "\x00\x01\x02",
		"nothing":          "",
		"a huge record":    "\x16\x03\x01\xff\xff" + strings.Repeat("a", 70000),
		"half a handshake": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address())}}
			conn, err := dialer.Dial("tcp", s.host(t))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = conn.Write([]byte(junk)) // it may have closed already
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			for buffer := make([]byte, 4096); ; {
				if _, err := conn.Read(buffer); os.IsTimeout(err) {
					t.Fatal("the gateway still waits after 30 s")
				} else if err != nil {
					return
				}
			}
		})
	}
	if got := s.curl(t, "--output", "/dev/null", "--write-out", "%{http_code}", s.publishedURL(t, "sample")+"/"); got != "200" {
		t.Errorf("a device beside the junk got %s", got)
	}
}
