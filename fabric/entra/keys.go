package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/causeway-gateway/causeway/fabric/state"
)

const (
	signingKeyBits = 2048
	// keyLife is how long a key signs; after that it verifies until its last token has ended.
	keyLife = 30 * 24 * time.Hour
	// keysKept bounds the keys that verify, whatever the clock says.
	keysKept = 16
)

// A signingKey signs tokens.
type signingKey struct {
	id      string // of the public key
	key     *rsa.PrivateKey
	created time.Time
}

// loadKeys reads the signing keys, and makes one when there is none.
func (d *Directory) loadKeys(ctx context.Context) error {
	err := d.cfg.State.View(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(keyBucket, "", "") {
			if err != nil {
				return err
			}
			der, _, err := tx.GetSealed(keyBucket, e.Key)
			if err != nil {
				return err
			}
			created, err := time.Parse(time.RFC3339, e.Key)
			if err != nil {
				return fmt.Errorf("signing key %s: %w", e.Key, err)
			}
			parsed, err := x509.ParsePKCS8PrivateKey(der)
			key, ok := parsed.(*rsa.PrivateKey)
			if err != nil || !ok {
				return fmt.Errorf("signing key %s is none", e.Key)
			}
			d.keys = append(d.keys, &signingKey{keyID(&key.PublicKey), key, created})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Reverse(d.keys)
	if len(d.keys) == 0 {
		return d.RotateKeys(ctx)
	}
	return nil
}

// keyID names a public key by itself.
func keyID(key *rsa.PublicKey) string {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
	return base64.RawURLEncoding.EncodeToString(sum[:20])
}

// RotateKeys makes a new key, which signs from now on. Those before it verify what they have signed.
func (d *Directory) RotateKeys(ctx context.Context) error {
	key, err := rsa.GenerateKey(rand.Reader, signingKeyBits)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now().UTC().Truncate(time.Second)
	if len(d.keys) > 0 && !now.After(d.keys[0].created) {
		now = d.keys[0].created.Add(time.Second) // their names are their order
	}
	keys := append([]*signingKey{{keyID(&key.PublicKey), key, now}}, d.keys...)
	var ended []*signingKey
	for len(keys) > keysKept || len(keys) > 1 && now.Sub(keys[len(keys)-2].created) > identityTokenLife+2*clockSkew {
		ended = append(ended, keys[len(keys)-1])
		keys = keys[:len(keys)-1]
	}
	err = d.cfg.State.Update(ctx, func(tx *state.Tx) error {
		for _, k := range ended {
			if _, err := tx.Delete(keyBucket, k.created.Format(time.RFC3339)); err != nil {
				return err
			}
		}
		return tx.PutSealed(keyBucket, now.Format(time.RFC3339), der)
	})
	if err == nil {
		d.keys = keys
	}
	return err
}

// Maintain rotates the key when it is due. It is to be called now and then.
func (d *Directory) Maintain(ctx context.Context) error {
	d.mu.RLock()
	due := d.cfg.Now().Sub(d.keys[0].created) > keyLife
	d.mu.RUnlock()
	if !due {
		return nil
	}
	return d.RotateKeys(ctx)
}

func (d *Directory) signer() *signingKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.keys[0]
}

var errNoKey = errors.New("no key of the directory has this id")

// publicKey returns the key that a token names.
func (d *Directory) publicKey(id string) (*rsa.PublicKey, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range d.keys {
		if k.id == id {
			return &k.key.PublicKey, nil
		}
	}
	return nil, errNoKey
}

// keySet is the public keys as a JWKS.
func (d *Directory) keySet() jose.JSONWebKeySet {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var set jose.JSONWebKeySet
	for _, k := range d.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &k.key.PublicKey, KeyID: k.id, Algorithm: string(jose.RS256), Use: "sig"})
	}
	return set
}

func strongRSA(cert *x509.Certificate) bool {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192
}

// thumbprint is the SHA-1 of a certificate, as Graph shows it.
func thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
