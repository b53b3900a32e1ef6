package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/causeway-gateway/causeway"
)

// Bounds of one certificate. They keep the work of a verification small whatever a device presents: comparing
// names with name constraints, for one, costs the product of both counts.
const (
	maxNames           = 256 // subject alternative names
	maxNameConstraints = 64
	maxExtensions      = 64
	maxListed          = 64 // extended key usages, policies

	minRSABits = 2048
	maxRSABits = 8192
)

// checkLimits judges what can be judged before anything is parsed.
func checkLimits(chainDER [][]byte) *causeway.Refusal {
	switch {
	case len(chainDER) == 0:
		return causeway.Refuse(causeway.CodeClientCertificateRequired, "no client certificate")
	case len(chainDER) > MaxChainCertificates:
		return causeway.Refuse(causeway.CodeClientCertificateUnfit, "chain of %d certificates, at most %d", len(chainDER), MaxChainCertificates)
	case !withinLimits(chainDER):
		return causeway.Refuse(causeway.CodeClientCertificateUnfit, "chain of %d bytes, at most %d", evidenceBytes(chainDER), MaxEvidenceBytes)
	}
	return nil
}

// parseChain reads every certificate and applies the bounds that hold for all of them, used or not.
func parseChain(chainDER [][]byte) ([]*x509.Certificate, *causeway.Refusal) {
	chain := make([]*x509.Certificate, len(chainDER))
	for i, der := range chainDER {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, causeway.Refuse(causeway.CodeClientCertificateUnfit, "certificate %d of %d: %v", i+1, len(chainDER), err)
		}
		if err := counts(c); err != nil {
			return nil, unfit(c, "%v", err)
		}
		chain[i] = c
	}
	return chain, nil
}

func counts(c *x509.Certificate) error {
	for _, l := range []struct {
		what   string
		n, max int
	}{
		{"subject alternative names", len(c.DNSNames) + len(c.EmailAddresses) + len(c.IPAddresses) + len(c.URIs), maxNames},
		{"name constraints", len(c.PermittedDNSDomains) + len(c.ExcludedDNSDomains) + len(c.PermittedIPRanges) + len(c.ExcludedIPRanges) +
			len(c.PermittedEmailAddresses) + len(c.ExcludedEmailAddresses) + len(c.PermittedURIDomains) + len(c.ExcludedURIDomains), maxNameConstraints},
		{"extensions", len(c.Extensions), maxExtensions},
		{"extended key usages", len(c.ExtKeyUsage) + len(c.UnknownExtKeyUsage), maxListed},
		{"policies", len(c.Policies) + len(c.PolicyMappings), maxListed},
	} {
		if l.n > l.max {
			return fmt.Errorf("%d %s, at most %d", l.n, l.what, l.max)
		}
	}
	return nil
}

// keyStrength admits RSA of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519.
func keyStrength(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		if bits < minRSABits || bits > maxRSABits || bits%8 != 0 {
			return fmt.Errorf("RSA key of %d bits, want %d to %d in whole bytes", bits, minRSABits, maxRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("key on curve %s, want P-256 or more", key.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("%s key, want RSA, ECDSA or Ed25519", c.PublicKeyAlgorithm)
}

// signatureStrength admits SHA-2 signatures. A trust anchor's own signature is not asked for: it proves nothing.
func signatureStrength(c *x509.Certificate) error {
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return nil
	}
	return fmt.Errorf("signed with %s, want SHA-256 or better", c.SignatureAlgorithm)
}

func noUnknownCritical(c *x509.Certificate) error {
	if len(c.UnhandledCriticalExtensions) == 0 {
		return nil
	}
	return fmt.Errorf("unknown critical extension %s", c.UnhandledCriticalExtensions[0])
}

var (
	oidKeyUsage        = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

func hasExtension(c *x509.Certificate, oid asn1.ObjectIdentifier) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(oid) {
			return true
		}
	}
	return false
}

// signerUsage asks a CA certificate whether it may sign certificates. x509 reads a key usage without any bit as
// none at all.
func signerUsage(c *x509.Certificate) error {
	if hasExtension(c, oidKeyUsage) && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("its key usage does not allow to sign certificates")
	}
	return nil
}

// serial demands what RFC 5280 does, because blocks go by issuer and serial.
func serial(c *x509.Certificate) error {
	if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 20*8-1 {
		return errors.New("its serial number is not positive or longer than 20 bytes")
	}
	return nil
}

// outer is a certificate as its signature sees it.
type outer struct {
	TBS       asn1.RawValue
	Algorithm asn1.RawValue
	Signature asn1.BitString
}

var errEncoding = errors.New("its signature is not encoded as DER demands")

// parseOuter takes a certificate apart and insists on the one DER form around its signature. Go's parser shifts a
// signature whose bit string has unused bits, so one signed certificate could have several thumbprints.
func parseOuter(c *x509.Certificate) (outer, error) {
	var o outer
	rest, err := asn1.Unmarshal(c.Raw, &o)
	if err != nil || len(rest) != 0 || o.Signature.BitLength != 8*len(o.Signature.Bytes) {
		return outer{}, errEncoding
	}
	return o, nil
}

func canonical(c *x509.Certificate) error {
	_, err := parseOuter(c)
	return err
}

// unfit refuses a certificate and names it.
func unfit(c *x509.Certificate, format string, args ...any) *causeway.Refusal {
	return causeway.Refuse(causeway.CodeClientCertificateUnfit, "%s: %s", nameOf(c), fmt.Sprintf(format, args...))
}
