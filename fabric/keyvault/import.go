package keyvault

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// Content types of certificates, and of the secrets that belong to them.
const (
	typePFX = "application/x-pkcs12"
	typePEM = "application/x-pem-file"
)

// mostChain bounds the certificates of an import.
const mostChain = 16

// A policy is what a certificate's policy says of the certificate that was imported.
type policy struct {
	ContentType string `json:"contentType"`
	KeyType     string `json:"kty"`
	KeyBits     int    `json:"key_size,omitempty"`
	Curve       string `json:"crv,omitempty"`
	Subject     string `json:"subject"`
	Exportable  bool   `json:"exportable"`
}

// An imported certificate is what an import holds.
type imported struct {
	leaf  *x509.Certificate
	key   crypto.Signer
	chain []*x509.Certificate
}

var (
	errNoContent  = errors.New("the content is neither a PFX in base64 nor PEM, or its password is wrong")
	errNoKey      = errors.New("there is no private key, or more than one")
	errOtherKey   = errors.New("the private key does not belong to the first certificate")
	errKeyKind    = errors.New("an RSA key of 2048, 3072 or 4096 bits, or an EC key on P-256, P-384 or P-521 is expected")
	errChainLong  = errors.New("there are more certificates than a chain has")
	errSlow       = fmt.Errorf("its key derivation has more than %d iterations", mostIterations)
	errExportable = errors.New("a key that cannot be exported is not supported")
)

// readImport reads a PFX in base64, or PEM with the key before or behind the certificates.
func readImport(value, password string) (i imported, contentType string, err error) {
	if strings.Contains(value, "-----BEGIN") {
		i, err = readPEM([]byte(value))
		contentType = typePEM
	} else {
		i, err = readPFX(value, password)
		contentType = typePFX
	}
	if err == nil {
		err = i.check()
	}
	return i, contentType, err
}

func readPFX(value, password string) (i imported, err error) {
	der, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return i, errNoContent
	}
	if slow(der, 0) {
		return i, errSlow
	}
	key, leaf, chain, err := pkcs12.DecodeChain(der, password)
	if err != nil {
		return i, errNoContent
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return i, errNoKey
	}
	return imported{leaf, signer, chain}, nil
}

// mostIterations bounds the work that a PFX can ask for with every guess of its password, which is all of a processor's
// time for years if whoever made it wants that. What others write has 2,048 to 600,000.
const mostIterations = 1_000_000

// slow looks for a number of iterations: an INTEGER behind the OCTET STRING of a salt (RFC 7292, 4; RFC 8018, A.2).
func slow(der []byte, depth int) bool {
	salted := false
	for len(der) > 0 && depth < 32 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return false
		}
		primitive := v.Class == asn1.ClassUniversal && !v.IsCompound
		if primitive && v.Tag == asn1.TagInteger && salted && new(big.Int).SetBytes(v.Bytes).Cmp(big.NewInt(mostIterations)) > 0 {
			return true
		}
		salted = primitive && v.Tag == asn1.TagOctetString
		if (salted || v.IsCompound) && slow(v.Bytes, depth+1) {
			return true
		}
		der = rest
	}
	return false
}

func readPEM(text []byte) (i imported, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return i, errNoContent
			}
			if i.leaf == nil {
				i.leaf = cert
			} else {
				i.chain = append(i.chain, cert)
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY") && i.key == nil:
			if i.key = readKey(block.Bytes); i.key == nil {
				return i, errNoKey
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return i, errNoKey
		}
	}
	return i, nil
}

func readKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// check holds an import to what a service can be run with.
func (i *imported) check() error {
	switch {
	case i.leaf == nil:
		return errNoContent
	case i.key == nil:
		return errNoKey
	case len(i.chain) >= mostChain:
		return errChainLong
	}
	public, ok := i.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(i.leaf.PublicKey) {
		return errOtherKey
	}
	if i.policy("").KeyType == "" {
		return errKeyKind
	}
	return nil
}

// policy describes the certificate; without a key type when its key is of no kind that is taken.
func (i *imported) policy(contentType string) policy {
	p := policy{ContentType: contentType, Subject: i.leaf.Subject.String(), Exportable: true}
	switch key := i.leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits == 2048 || bits == 3072 || bits == 4096 {
			p.KeyType, p.KeyBits = "RSA", bits
		}
	case *ecdsa.PublicKey:
		if name := key.Curve.Params().Name; name == "P-256" || name == "P-384" || name == "P-521" {
			p.KeyType, p.Curve = "EC", name
		}
	}
	return p
}

// secret returns what the secret of the certificate's name holds: the PFX without a password in base64, or PEM with the
// key first.
func (i *imported) secret(contentType string) (string, error) {
	if contentType == typePFX {
		der, err := pkcs12.Passwordless.Encode(i.key, i.leaf, i.chain, "")
		return base64.StdEncoding.EncodeToString(der), err
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der}) // into memory
	for _, c := range append([]*x509.Certificate{i.leaf}, i.chain...) {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String(), nil
}

// thumbprint is x5t: SHA-1 in URL-safe base64.
func thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
