// Package seal encrypts what must not be readable in a store's file, with a key that lies in a file beside it.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/durable"
)

// KeyBytes is the length of a key, for AES-256.
const KeyBytes = 32

// A Sealer encrypts and decrypts with one key.
type Sealer struct{ aead cipher.AEAD }

// Open reads the key in a file, or makes it when fresh says that there is no store yet that would need another.
func Open(path string, fresh bool) (*Sealer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !fresh {
			return nil, causeway.WithHint(fmt.Errorf("the sealing key %s is missing, and the store's secrets cannot be read without it", path),
				"restore the file from a backup")
		}
		key = make([]byte, KeyBytes)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		err = durable.WriteFile(path, key)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("the sealing key %s has %d bytes, want %d", path, len(key), KeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Sealer{aead}, err
}

// Seal encrypts text for the row that name stands for; it opens for no other.
func (s *Sealer) Seal(name string, text []byte) []byte {
	return s.aead.Seal(nil, nil, text, []byte(name))
}

// Open decrypts what Seal made for name.
func (s *Sealer) Open(name string, sealed []byte) ([]byte, error) {
	text, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("the secret %q does not open with this sealing key", name),
			"restore the store and its sealing key together, from the same backup")
	}
	return text, nil
}
