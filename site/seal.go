package site

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// sealKeyBytes is an AES-256 key.
const sealKeyBytes = 32

// A sealer encrypts what must not be readable in the store's file.
type sealer struct{ aead cipher.AEAD }

// openSealer reads the sealing key, or makes it when fresh says that there is no store yet that would need another.
func openSealer(path string, fresh bool) (*sealer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !fresh {
			return nil, causeway.WithHint(fmt.Errorf("the sealing key %s is missing, and the store's secrets cannot be read without it", path),
				"restore the file from a backup")
		}
		key = make([]byte, sealKeyBytes)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		err = signed.WriteFile(path, key)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != sealKeyBytes {
		return nil, fmt.Errorf("the sealing key %s has %d bytes, want %d", path, len(key), sealKeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sealer{aead}, err
}

// seal encrypts text for the row that name stands for; it opens for no other.
func (s *sealer) seal(name string, text []byte) []byte {
	return s.aead.Seal(nil, nil, text, []byte(name))
}

func (s *sealer) open(name string, sealed []byte) ([]byte, error) {
	text, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("the secret %q does not open with this sealing key", name),
			"restore seal.key and site.db together, from the same backup")
	}
	return text, nil
}
