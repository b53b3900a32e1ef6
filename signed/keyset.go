package signed

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// A SiteKeyDocument names the site's next key. It is signed by the one before.
type SiteKeyDocument struct {
	Next PublicKey `json:"next"`
	// OldValidUntil bounds what the old key may still vouch for: documents whose valid_until is not later. The
	// time of the rotation itself retires the old key at once.
	OldValidUntil time.Time `json:"old_valid_until"`
}

// A KeySet holds the site's keys that a role knows: the one it was deployed with and those that followed. It does
// not change; Follow makes a longer one.
type KeySet struct {
	keys []trustedKey // oldest first; the last one signs today
}

type trustedKey struct {
	key   PublicKey
	until time.Time // zero: not replaced yet
}

func (k trustedKey) mayStill(validUntil time.Time) bool {
	return k.until.IsZero() || !validUntil.After(k.until)
}

// NewKeySet returns the set of one key, the one that came with the role's deployment.
func NewKeySet(root PublicKey) *KeySet { return &KeySet{[]trustedKey{{key: root}}} }

// Root returns the key that the set began with, Current the one that signs today.
func (ks *KeySet) Root() PublicKey    { return ks.keys[0].key }
func (ks *KeySet) Current() PublicKey { return ks.keys[len(ks.keys)-1].key }

// maxKeys bounds a set: yearly rotation fills it in a human life.
const maxKeys = 64

// Follow returns the set with the key that a site-key document names. Only the current key may name the next one;
// a document that was followed before changes nothing.
func (ks *KeySet) Follow(raw []byte) (*KeySet, error) {
	doc, signature, err := unframe(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KindSiteKey, err)
	}
	signer := -1
	for i, k := range ks.keys {
		if k.verify(doc, signature) {
			signer = i
		}
	}
	if signer < 0 {
		return nil, fmt.Errorf("%s: %w", KindSiteKey, ErrSignature)
	}
	b, err := parseBody(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KindSiteKey, err)
	}
	if b.Kind != KindSiteKey {
		return nil, fmt.Errorf("%w: %q, want %q", ErrKind, b.Kind, KindSiteKey)
	}
	if b.Format != FormatSiteKey {
		return nil, fmt.Errorf("%s: %w: %d", KindSiteKey, ErrFormat, b.Format)
	}
	var next SiteKeyDocument
	if err := strictJSON(b.Payload, &next); err != nil {
		return nil, fmt.Errorf("%s: %w: payload: %w", KindSiteKey, ErrContent, err)
	}
	return ks.follow(signer, next)
}

func (ks *KeySet) follow(signer int, next SiteKeyDocument) (*KeySet, error) {
	last := len(ks.keys) - 1
	switch {
	case signer < last && ks.keys[signer+1].key == next.Next && ks.keys[signer].until.Equal(next.OldValidUntil):
		return ks, nil
	case signer < last:
		return nil, fmt.Errorf("%s: %w", KindSiteKey, ErrRetired)
	case len(ks.keys) >= maxKeys:
		return nil, fmt.Errorf("%s: %w: more than %d keys", KindSiteKey, ErrContent, maxKeys)
	case next.OldValidUntil.IsZero():
		return nil, fmt.Errorf("%s: %w: no old_valid_until", KindSiteKey, ErrContent)
	}
	for _, k := range ks.keys {
		if k.key == next.Next {
			return nil, fmt.Errorf("%s: %w: a key comes back", KindSiteKey, ErrContent)
		}
	}
	longer := append([]trustedKey(nil), ks.keys...)
	longer[last].until = next.OldValidUntil
	return &KeySet{append(longer, trustedKey{key: next.Next})}, nil
}

// verify returns the key that signed doc, trying today's first.
func (ks *KeySet) verify(doc, signature []byte) (trustedKey, bool) {
	for i := len(ks.keys) - 1; i >= 0; i-- {
		if ks.keys[i].verify(doc, signature) {
			return ks.keys[i], true
		}
	}
	return trustedKey{}, false
}

func (k trustedKey) verify(doc, signature []byte) bool {
	message := make([]byte, 0, len(context)+len(doc))
	message = append(append(message, context...), doc...)
	return ed25519.Verify(k.key[:], message, signature)
}
