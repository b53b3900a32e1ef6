package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxCertificateFileBytes bounds what is read of a certificate or key file.
const maxCertificateFileBytes = 1 << 20

// Certificates is the service certificate. It is replaced without a dropped connection: the next handshake uses
// the new one. A replacement that cannot be used leaves the old one in place.
type Certificates struct {
	certFile, keyFile string // "" for a fixed certificate

	current atomic.Pointer[tls.Certificate]

	mu       sync.Mutex // guards the fields below
	lastCert []byte     // the files' contents as last tried, good or bad
	lastKey  []byte
	lastErr  error // what was wrong with them
	warned   int   // the days of the last expiry warning; 0 for none

	misnamed []byte // DER of the last one that was said not to be for the service's name
	named    string // and for what name
}

// LoadCertificates reads a certificate chain and its key from PEM files, and follows the files from then on.
func LoadCertificates(certFile, keyFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// FixedCertificate is a source that never changes.
func FixedCertificate(cert tls.Certificate) *Certificates {
	c := &Certificates{}
	c.current.Store(&cert)
	return c
}

// Leaf returns the certificate in use.
func (c *Certificates) Leaf() *x509.Certificate {
	cert := c.current.Load()
	if cert.Leaf != nil {
		return cert.Leaf
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

func (c *Certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// reload reads the files and takes over what they hold if it is new and usable.
func (c *Certificates) reload() (changed bool, err error) {
	if c.certFile == "" {
		return false, nil
	}
	certPEM, err := readBounded(c.certFile)
	if err != nil {
		return false, err
	}
	keyPEM, err := readBounded(c.keyFile)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes.Equal(certPEM, c.lastCert) && bytes.Equal(keyPEM, c.lastKey) {
		return false, c.lastErr
	}
	c.lastCert, c.lastKey = certPEM, keyPEM
	cert, err := usable(certPEM, keyPEM)
	if err != nil {
		c.lastErr = fmt.Errorf("service certificate %s: %w", c.certFile, err)
		return true, c.lastErr
	}
	c.lastErr, c.warned = nil, 0
	c.current.Store(&cert)
	return true, nil
}

// usable makes a certificate of the two files, if devices could use it now.
func usable(certPEM, keyPEM []byte) (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return cert, err
	}
	return cert, CheckServiceCertificate(cert.Leaf)
}

// CheckServiceCertificate says why devices could not use a certificate as the service's. A self-signed one that says
// it is an authority, as openssl makes them, is fine: devices trust it by itself.
func CheckServiceCertificate(leaf *x509.Certificate) error {
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		return errors.New("it names no host")
	}
	if len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, u := range leaf.ExtKeyUsage {
		if u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny {
			return nil
		}
	}
	return errors.New("its extended key usage does not allow server authentication")
}

func readBounded(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxCertificateFileBytes {
		return nil, fmt.Errorf("%s has %d bytes; a certificate or key file has at most %d", path, fi.Size(), maxCertificateFileBytes)
	}
	return os.ReadFile(path)
}

// follow looks at the files every interval until ctx ends, and warns when the certificate nears its end.
func (c *Certificates) follow(ctx context.Context, every time.Duration, now func() time.Time, log *slog.Logger) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		c.warn(now(), log)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = c.refresh(log) // told
		}
	}
}

// refresh reloads and logs what came of it, once and not at every look.
func (c *Certificates) refresh(log *slog.Logger) error {
	c.mu.Lock()
	before := c.lastErr
	c.mu.Unlock()
	changed, err := c.reload()
	switch {
	case err != nil && (changed || before == nil || before.Error() != err.Error()):
		c.mu.Lock()
		c.lastErr = err
		c.mu.Unlock()
		log.Error("service certificate not replaced", "err", err, "hint", "the old one stays in use; put a matching certificate and key in place")
	case err == nil && changed:
		leaf := c.Leaf()
		log.Info("service certificate replaced", "subject", leaf.Subject.String(), "not_after", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return err
}

// warn says once at 30, 14, 7 and 1 days that the certificate ends, and once that it has.
func (c *Certificates) warn(now time.Time, log *slog.Logger) {
	leaf := c.Leaf()
	if leaf == nil {
		return
	}
	left := leaf.NotAfter.Sub(now)
	for _, days := range []int{-1, 1, 7, 14, 30} {
		if left > time.Duration(max(0, days))*24*time.Hour {
			continue
		}
		c.mu.Lock()
		fresh := c.warned != days
		c.warned = days
		c.mu.Unlock()
		if !fresh {
			return
		}
		attrs := []any{"subject", leaf.Subject.String(), "not_after", leaf.NotAfter.UTC().Format(time.RFC3339), "hint", "replace the certificate and key files; no restart is needed"}
		if days < 0 {
			log.Error("service certificate has expired", attrs...)
		} else {
			log.Warn("service certificate ends soon", attrs...)
		}
		return
	}
}

// warnOfName says once that the certificate is not for the name that the site knows the service by: connection points
// and devices turn away from it.
func (c *Certificates) warnOfName(name string, log *slog.Logger) {
	leaf := c.Leaf()
	if leaf == nil || name == "" || leaf.VerifyHostname(name) == nil {
		return
	}
	c.mu.Lock()
	fresh := !bytes.Equal(c.misnamed, leaf.Raw) || c.named != name
	c.misnamed, c.named = leaf.Raw, name
	c.mu.Unlock()
	if fresh {
		log.Error("service certificate is not for the service's name", "subject", leaf.Subject.String(), "service_name", name,
			"hint", "no connection point and no device accepts it: put the site's certificate and key files in place, or give the site this certificate")
	}
}
