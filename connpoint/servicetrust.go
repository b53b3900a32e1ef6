package connpoint

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/causeway-gateway/causeway/signed"
)

// serviceTrust says which service certificate a gateway must show.
type serviceTrust struct {
	name  string
	roots *x509.CertPool // nil: the pins alone decide
	pins  [][sha256.Size]byte
}

func newServiceTrust(g signed.Gateway) (*serviceTrust, error) {
	t := &serviceTrust{name: g.ServiceName}
	for i, der := range g.ServiceCAs {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("service_cas[%d]: %w", i, err)
		}
		if t.roots == nil {
			t.roots = x509.NewCertPool()
		}
		t.roots.AddCert(c)
	}
	for i, text := range g.ServiceCertificateSHA256 {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("service_certificate_sha256[%d] is not the hexadecimal SHA-256 of a certificate", i)
		}
		t.pins = append(t.pins, [sha256.Size]byte(b))
	}
	if t.roots == nil && t.pins == nil {
		return nil, errors.New("neither CAs nor pins for the service certificate")
	}
	return t, nil
}

// config returns the TLS settings for one dial with our own certificate.
func (t *serviceTrust) config(own *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   t.name,
		RootCAs:      t.roots,
		Certificates: []tls.Certificate{*own},
		// Without roots there is no chain to check; the certificate itself was named by the site.
		InsecureSkipVerify:          t.roots == nil,
		VerifyConnection:            t.verifyPin,
		DynamicRecordSizingDisabled: true,
	}
}

func (t *serviceTrust) verifyPin(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the gateway shows no certificate")
	}
	if t.pins == nil {
		return nil
	}
	if sum := sha256.Sum256(s.PeerCertificates[0].Raw); !slices.Contains(t.pins, sum) {
		return fmt.Errorf("service certificate %x is not one that the site pinned", sum)
	}
	return nil
}
