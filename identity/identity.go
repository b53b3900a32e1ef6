package identity

import (
	"crypto/x509"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Kind says by which proof a device is known. The numbers cross the channel and only ever grow.
type Kind uint8

const (
	KindNone        Kind = 0 // no proof
	KindCertificate Kind = 1 // a client certificate of the TLS connection
)

// String returns the word that logs and explain use.
func (k Kind) String() string {
	switch k {
	case KindNone:
		return "none"
	case KindCertificate:
		return "certificate"
	}
	return "kind-" + strconv.Itoa(int(k))
}

// A Device is a verified principal. It is shared by all who asked for the same chain: do not change it.
type Device struct {
	ID         causeway.DeviceID
	Kind       Kind
	Leaf       *x509.Certificate
	Chain      []*x509.Certificate // leaf first, trusted CA last
	Thumbprint [32]byte            // SHA-256 of the leaf
	CA         string              // name of the trusted CA, from Trust
	NotBefore  time.Time           // the chain as a whole is valid from here …
	NotAfter   time.Time           // … to here, both included
}

// Trust is what the site says about devices. It travels in signed documents.
type Trust struct {
	CAs     []CA    `json:"cas"`
	Blocked []Block `json:"blocked,omitempty"`
}

// A CA is a certificate authority whose device certificates are admitted.
type CA struct {
	Name        string `json:"name"`
	Certificate []byte `json:"certificate"` // DER
	// Intermediate says that the certificate only helps to complete chains for devices that do not send it; it
	// is no trust anchor by itself.
	Intermediate bool `json:"intermediate,omitempty"`
}

// A Block refuses what it names, whatever chain vouches for it. Exactly one of its three forms is set:
// thumbprint, issuer with serial, or device id. The first two also match CA certificates along a chain.
type Block struct {
	Thumbprint string            `json:"thumbprint,omitempty"` // SHA-256 of the certificate, 64 lower-case hexadecimal digits
	Issuer     []byte            `json:"issuer,omitempty"`     // DER of the issuer's name
	Serial     string            `json:"serial,omitempty"`     // lower-case hexadecimal without leading zeros
	DeviceID   causeway.DeviceID `json:"device_id,omitempty"`  // compared without regard to case
}

// Limits of what a device may present. All are applied before any signature is checked.
const (
	MaxChainCertificates = 10       // as presented, leaf included
	MaxEvidenceBytes     = 64 << 10 // the chain in the form of EncodeEvidence
	MaxSignatureChecks   = 20       // over all paths tried for one chain
	MaxDeviceIDBytes     = 128
)
