package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestANewServiceCertificateIsTakenUpWhileServing: same names, no restart, and an unusable one keeps the old.
func TestANewServiceCertificateIsTakenUpWhileServing(t *testing.T) {
	files := t.TempDir()
	ca, err := newTestCA("Org CA")
	if err != nil {
		t.Fatal(err)
	}
	renew := func(notAfter time.Time) *x509.Certificate {
		t.Helper()
		c, err := ca.issue(&x509.Certificate{DNSNames: []string{"gateway.example.com"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true})
		if err == nil {
			err = c.write(files, "service")
		}
		if err != nil {
			t.Fatal(err)
		}
		return c.cert
	}
	shown := func(r *running) *x509.Certificate {
		c, err := tls.Dial("tcp", net.JoinHostPort(r.address, "8443"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return nil
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0]
	}

	first := renew(time.Now().Add(time.Hour))
	r := startUp(t, t.TempDir(), testAddress(), "--service-name", "gateway.example.com", "--look-every", "50ms",
		"--cert", filepath.Join(files, "service.crt"), "--key", filepath.Join(files, "service.key"))
	if got := shown(r); got == nil || !got.Equal(first) {
		t.Fatal("the gateway does not show the certificate that it was given")
	}
	second := renew(time.Now().Add(2 * time.Hour))
	eventually(t, "the gateway shows the new certificate", func() error {
		if got := shown(r); got == nil || !got.Equal(second) {
			return errors.New("it shows another")
		}
		return nil
	})
	renew(time.Now().Add(-time.Hour))
	eventually(t, "the refusal of an expired certificate is logged", func() error {
		text, err := os.ReadFile(r.dir.path("site", "logs", "CloudMgr.json"))
		if err == nil && !strings.Contains(string(text), "expired at") {
			err = errors.New("it is not")
		}
		return err
	})
	if got := shown(r); got == nil || !got.Equal(second) {
		t.Error("an expired certificate took the place of the good one")
	}
}
