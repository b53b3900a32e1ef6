package connpoint

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/causeway-gateway/causeway"
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

// A wrongCertificate is what somebody showed who has another certificate than he should.
type wrongCertificate struct {
	sum [sha256.Size]byte
	err error
}

func (e *wrongCertificate) Error() string { return e.err.Error() }
func (e *wrongCertificate) Unwrap() error { return e.err }

// innerFault says what to do when TLS with the instance itself failed for its certificate.
func innerFault(err error) error {
	if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(v.UnverifiedCertificates) > 0 {
		err = &wrongCertificate{sha256.Sum256(v.UnverifiedCertificates[0].Raw), err}
	}
	if _, ok := errors.AsType[*wrongCertificate](err); ok {
		return causeway.WithHint(err, "if this is the gateway's own certificate, the site does not know it: export the gateway's folder again, or give the site the new one (--cert) and reload it")
	}
	return err
}

// sameCertificate reports whether two dials failed for one certificate.
func sameCertificate(a, b error) bool {
	x, isX := errors.AsType[*wrongCertificate](a)
	y, isY := errors.AsType[*wrongCertificate](b)
	return isX && isY && x.sum == y.sum
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
		return &wrongCertificate{sum, fmt.Errorf("service certificate %x is not one that the site pinned", sum)}
	}
	return nil
}

// outerConfig is for the TLS around a WebSocket. It protects nothing that the TLS within does not, so whoever the system,
// the site or the administrator trusts may end it.
func (t *serviceTrust) outerConfig(extra *x509.CertPool) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.name, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if t.roots == nil && t.verifyPin(state) == nil {
			return nil // the very certificate that the site pinned
		}
		return verifyAny(state, t.name, t.roots, extra)
	}
	return c
}

// verifyAny checks a certificate for a name against the system's CAs and some others; pools that are nil are none.
func verifyAny(state tls.ConnectionState, name string, others ...*x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate is shown")
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Intermediates: between})
	for _, roots := range others {
		if err == nil {
			return nil
		}
		if roots != nil {
			if _, other := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between}); other == nil {
				return nil
			}
		}
	}
	if err != nil {
		return causeway.WithHint(&wrongCertificate{sha256.Sum256(leaf.Raw), fmt.Errorf("certificate of %q: %w", leaf.Subject.String(), err)}, "if a proxy or middle box ends TLS here, give its CA with extra_ca_file")
	}
	return nil
}
