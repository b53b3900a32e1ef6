package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A leafCheck puts one question to a device's own certificate, beyond what x509.Verify asks.
type leafCheck struct {
	name  string
	timed bool // the answer depends on the clock
	check func(c *x509.Certificate, by basis) (detail string, r *causeway.Refusal)
}

// A basis is what a certificate is judged by beside its own bytes.
type basis struct {
	now   time.Time
	usage x509.ExtKeyUsage
}

// leafChecks are asked in this order by Verify, which stops at the first failure, and by Explain, which does not.
var leafChecks = []leafCheck{
	{"validity", true, leafValidity},
	{"certificate of a device, not of a CA", false, leafNotCA},
	{"key usage", false, leafKeyUsage},
	{"extended key usage", false, leafExtendedKeyUsage},
	{"key", false, leafKey},
	{"signature algorithm", false, leafSignature},
	{"serial number", false, leafSerial},
	{"critical extensions", false, leafExtensions},
	{"encoding", false, leafEncoding},
}

func leafValidity(c *x509.Certificate, by basis) (string, *causeway.Refusal) {
	if r := validAt(c, by.now); r != nil {
		return "", r
	}
	return fmt.Sprintf("%s to %s", stamp(c.NotBefore), stamp(c.NotAfter)), nil
}

// validAt judges time exactly: a certificate carries its own margin, set by whoever issued it.
func validAt(c *x509.Certificate, now time.Time) *causeway.Refusal {
	switch {
	case now.After(c.NotAfter):
		return causeway.Refuse(causeway.CodeClientCertificateExpired, "%s: expired on %s", nameOf(c), stamp(c.NotAfter))
	case now.Before(c.NotBefore):
		return causeway.Refuse(causeway.CodeClientCertificateNotYet, "%s: valid from %s", nameOf(c), stamp(c.NotBefore))
	}
	return nil
}

func leafNotCA(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	if c.IsCA {
		return "", unfit(c, "a CA certificate cannot be a device's")
	}
	if hasExtension(c, oidNameConstraints) {
		return "", unfit(c, "it constrains names, which only a CA certificate may")
	}
	return "basic constraints do not say CA", nil
}

func leafKeyUsage(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	switch {
	case !hasExtension(c, oidKeyUsage):
		return "not restricted", nil
	case c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return "", unfit(c, "its key usage allows to sign certificates or revocation lists, which is a CA's")
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "", unfit(c, "its key usage lacks digital signature, which TLS needs")
	}
	return "digital signature", nil
}

// leafExtendedKeyUsage wants client authentication by name. Any purpose, or no restriction at all, would let
// certificates in that were issued for something else.
func leafExtendedKeyUsage(c *x509.Certificate, by basis) (string, *causeway.Refusal) {
	switch {
	case slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny):
		return "", unfit(c, "its extended key usage allows any purpose, want client authentication by name")
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0:
		return "", unfit(c, "no extended key usage, want client authentication")
	case !slices.Contains(c.ExtKeyUsage, by.usage):
		return "", unfit(c, "its extended key usage lacks client authentication")
	}
	return "client authentication", nil
}

func leafKey(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	return simple(c, keyStrength, c.PublicKeyAlgorithm.String())
}

func leafSignature(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	return simple(c, signatureStrength, c.SignatureAlgorithm.String())
}

func leafSerial(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	return simple(c, serial, c.SerialNumber.Text(16))
}

func leafExtensions(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	return simple(c, noUnknownCritical, "all understood")
}

func leafEncoding(c *x509.Certificate, _ basis) (string, *causeway.Refusal) {
	return simple(c, canonical, "DER")
}

func simple(c *x509.Certificate, check func(*x509.Certificate) error, good string) (string, *causeway.Refusal) {
	if err := check(c); err != nil {
		return "", unfit(c, "%v", err)
	}
	return good, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// nameOf returns a certificate's subject for a log line, quoted and cut: its bytes are the device's.
func nameOf(c *x509.Certificate) string { return quoteName(c.Subject) }

func quoteName(n pkix.Name) string {
	const limit = 200
	s := n.String()
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strconv.QuoteToASCII(s)
}
