package fabric

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/internal/durable"
	"github.com/causeway-gateway/causeway/siteca"
)

const (
	caFile    = "ca.crt"
	caKeyFile = "ca.key"
)

// certificates is the fabric's own authority, with the certificate that the planes show.
type certificates struct {
	authority *siteca.Authority
	names     []string
	now       func() time.Time

	mu    sync.Mutex       // guards the field below
	shown *tls.Certificate // nil before the first
}

// openCertificates reads the authority, or makes one.
func openCertificates(dir string, names []string, now func() time.Time) (*certificates, error) {
	c := &certificates{names: names, now: now}
	text, err := os.ReadFile(filepath.Join(dir, caFile))
	if errors.Is(err, fs.ErrNotExist) {
		c.authority, err = makeAuthority(dir, now())
		return c, err
	}
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, caFile))
	}
	c.authority, err = siteca.Load(block.Bytes, key)
	return c, err
}

// makeAuthority writes the key first: a certificate says that its key is there.
func makeAuthority(dir string, now time.Time) (*siteca.Authority, error) {
	a, err := siteca.New("Causeway fabric CA", now)
	if err != nil {
		return nil, err
	}
	key, err := a.MarshalKey()
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, caKeyFile), key); err != nil {
		return nil, err
	}
	return a, durable.WriteFile(filepath.Join(dir, caFile), a.CertPEM())
}

// get shows a certificate that is good for at least a tenth of its life.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown != nil && fresh(c.shown.Leaf, c.now()) {
		return c.shown, nil
	}
	issued, err := c.authority.IssueService(c.names, c.now())
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
	if err != nil {
		return nil, err
	}
	c.shown = &pair
	return c.shown, nil
}

func fresh(leaf *x509.Certificate, now time.Time) bool {
	return now.Before(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 10))
}
