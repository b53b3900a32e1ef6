package signed

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
)

// A Key signs documents. Only the site holds one. It does not print itself.
type Key struct {
	private ed25519.PrivateKey
}

// NewKey makes a key.
func NewKey() (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return Key{private}, err
}

// Public returns the half that everybody may know.
func (k Key) Public() PublicKey {
	var p PublicKey
	copy(p[:], k.private.Public().(ed25519.PublicKey))
	return p
}

// MarshalPEM returns the key as PKCS #8 in PEM.
func (k Key) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKeyPEM reads what MarshalPEM wrote.
func ParseKeyPEM(b []byte) (Key, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return Key{}, errors.New("site document key: no PRIVATE KEY in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		// The parser's words can quote nothing of the key, but they help nobody either.
		return Key{}, errors.New("site document key: not PKCS #8")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Key{}, fmt.Errorf("site document key: %T, want Ed25519", parsed)
	}
	return Key{private}, nil
}

// String, GoString and LogValue keep the key out of logs.
func (k Key) String() string       { return "[key]" }
func (k Key) GoString() string     { return "[key]" }
func (k Key) LogValue() slog.Value { return slog.StringValue("[key]") }

// A PublicKey verifies what the Key beside it signed. Its text form is base64.
type PublicKey [ed25519.PublicKeySize]byte

func (p PublicKey) String() string { return base64.StdEncoding.EncodeToString(p[:]) }

// MarshalText writes the form of String.
func (p PublicKey) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the form of String, and nothing else.
func (p *PublicKey) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(b))
	if err != nil || len(raw) != len(p) || base64.StdEncoding.EncodeToString(raw) != string(b) {
		return fmt.Errorf("site public key: want %d bytes in base64", len(p))
	}
	copy(p[:], raw)
	return nil
}

// ParsePublicKey reads the form of String.
func ParsePublicKey(s string) (p PublicKey, err error) {
	err = p.UnmarshalText([]byte(s))
	return p, err
}

// Secret hides itself from fmt and slog; JSON carries it as it is.
func (s Secret) String() string       { return "[secret]" }
func (s Secret) GoString() string     { return "[secret]" }
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }
