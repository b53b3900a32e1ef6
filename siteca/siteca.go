// Package siteca is the site's certificate authority: it signs the certificates of connection points, the service
// certificate of a gateway that has none of its own, and device certificates for trying a site out.
//
//	New ─► Authority (certificate, key) ─► IssueConnectionPoint | IssueService | IssueDevice ─► Issued (PEM)
//
// A site has two authorities that must not be mixed up: what the device authority signs is a device and can never be
// a connection point, and the other way round. All keys are ECDSA P-256.
package siteca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Lifetimes of what the site issues.
const (
	AuthorityLifetime       = 10 * 365 * 24 * time.Hour
	ConnectionPointLifetime = 365 * 24 * time.Hour
	ServiceLifetime         = 397 * 24 * time.Hour // what browsers and the CA/Browser Forum allow
	DeviceLifetime          = 365 * 24 * time.Hour
)

// backdate lets a certificate be used at once by machines whose clock is a little behind.
const backdate = 5 * time.Minute

// An Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Issued is a certificate with its key. It does not print its key.
type Issued struct {
	Certificate *x509.Certificate
	CertPEM     []byte // the certificate, without its issuer
	KeyPEM      []byte // PKCS #8
}

// String, GoString and LogValue keep the key out of logs.
func (i Issued) String() string       { return i.Certificate.Subject.String() }
func (i Issued) GoString() string     { return i.String() }
func (i Issued) LogValue() slog.Value { return slog.StringValue(i.String()) }

// New makes an authority that issues end certificates only.
func New(commonName string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(pkix.Name{CommonName: commonName, Organization: []string{"Causeway"}}, now, AuthorityLifetime)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// Load makes an authority of what Certificate.Raw and MarshalKey gave.
func Load(certDER, keyPEM []byte) (*Authority, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("authority's certificate: %w", err)
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("authority's key: no PRIVATE KEY in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("authority's key does not belong to its certificate")
	}
	return &Authority{cert, key}, nil
}

// MarshalKey returns the authority's key as PKCS #8 PEM.
func (a *Authority) MarshalKey() ([]byte, error) { return keyPEM(a.key) }

// CertPEM returns the authority's certificate.
func (a *Authority) CertPEM() []byte { return certPEM(a.Certificate) }

// ConnectionPointURI is the name in a connection point's certificate that ties it to one site.
func ConnectionPointURI(site causeway.SiteID, id causeway.ConnectionPointID) *url.URL {
	return &url.URL{Scheme: "urn", Opaque: fmt.Sprintf("causeway:connection-point:%s:%s", url.PathEscape(string(site)), url.PathEscape(string(id)))}
}

// Certifies reports whether a certificate names this connection point of this site. Who signed it is another question.
func Certifies(cert *x509.Certificate, site causeway.SiteID, id causeway.ConnectionPointID) bool {
	want := ConnectionPointURI(site, id).String()
	return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == want })
}

// IssueConnectionPoint issues a client certificate for a connection point of a site.
func (a *Authority) IssueConnectionPoint(site causeway.SiteID, id causeway.ConnectionPointID, now time.Time) (Issued, error) {
	return a.issue(now, ConnectionPointLifetime, pkix.Name{CommonName: string(id), Organization: []string{"Causeway connection point"}}, func(t *x509.Certificate) {
		t.URIs = []*url.URL{ConnectionPointURI(site, id)}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
}

// IssueService issues a server certificate for names, each a DNS name or an IP address.
func (a *Authority) IssueService(names []string, now time.Time) (Issued, error) {
	if len(names) == 0 {
		return Issued{}, errors.New("a service certificate needs a name")
	}
	subject := pkix.Name{CommonName: names[0]}
	if len(names[0]) > maxCommonName {
		subject = pkix.Name{Organization: []string{"Causeway"}} // the names stand among the alternative names anyway
	}
	return a.issue(now, ServiceLifetime, subject, func(t *x509.Certificate) {
		for _, n := range names {
			if ip, err := netip.ParseAddr(n); err == nil {
				t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
			} else {
				t.DNSNames = append(t.DNSNames, n)
			}
		}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// IssueDevice issues a client certificate for a device.
func (a *Authority) IssueDevice(id causeway.DeviceID, now time.Time) (Issued, error) {
	if err := checkDeviceID(id); err != nil {
		return Issued{}, err
	}
	return a.issue(now, DeviceLifetime, pkix.Name{CommonName: string(id)}, func(t *x509.Certificate) {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
}

// A usageError is causeway.ErrUsage without repeating the word in its text.
type usageError struct{ error }

func (u usageError) Unwrap() []error { return []error{u.error, causeway.ErrUsage} }

// maxCommonName is ub-common-name of RFC 5280.
const maxCommonName = 64

func checkDeviceID(id causeway.DeviceID) error {
	bad := id == "" || len(id) > maxCommonName || id[0] == '-' || id[0] == '.'
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		bad = bad || !letter && c != '-' && c != '_' && c != '.'
	}
	if bad {
		return causeway.WithHint(usageError{fmt.Errorf("device name %q is not allowed", id)},
			"use 1 to %d letters, digits, '-', '_' and '.', and begin with a letter, a digit or '_'", maxCommonName)
	}
	return nil
}

func (a *Authority) issue(now time.Time, life time.Duration, subject pkix.Name, shape func(*x509.Certificate)) (Issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Issued{}, err
	}
	t, err := template(subject, now, life)
	if err != nil {
		return Issued{}, err
	}
	if !t.NotBefore.Before(a.Certificate.NotAfter) {
		return Issued{}, fmt.Errorf("the authority %q has expired on %s", a.Certificate.Subject, a.Certificate.NotAfter.Format(time.RFC3339))
	}
	if t.NotAfter.After(a.Certificate.NotAfter) {
		t.NotAfter = a.Certificate.NotAfter
	}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	shape(t)
	cert, err := sign(t, a.Certificate, key.Public(), a.key)
	if err != nil {
		return Issued{}, err
	}
	kp, err := keyPEM(key)
	return Issued{Certificate: cert, CertPEM: certPEM(cert), KeyPEM: kp}, err
}

// template fills in what all certificates have.
func template(subject pkix.Name, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	from := now.Add(-backdate).UTC().Truncate(time.Second)
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: from, NotAfter: from.Add(life).Add(-time.Second)}, nil
}

// newSerial returns a positive random number of 127 bits (RFC 5280 4.1.2.2 allows 20 octets).
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always as long
	return new(big.Int).SetBytes(b[:]), nil
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	// The first 160 bits of the SHA-256 of the key with its algorithm: RFC 5280 4.2.1.2 leaves the form to us.
	id := sha256.Sum256(spki)
	t.SubjectKeyId = id[:20]
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
