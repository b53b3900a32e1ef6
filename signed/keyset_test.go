package signed

import (
	"errors"
	"testing"
	"time"
)

// rotation names the next key, signed by the old one.
func rotation(t testing.TB, old, next Key, until time.Time) []byte {
	t.Helper()
	return seal(t, KindSiteKey, 1, SiteKeyDocument{Next: next.Public(), OldValidUntil: until}, old)
}

func follow(t testing.TB, ks *KeySet, raw []byte) *KeySet {
	t.Helper()
	longer, err := ks.Follow(raw)
	if err != nil {
		t.Fatal(err)
	}
	return longer
}

func TestKeySetFollowsTheChain(t *testing.T) {
	a, b, c := newKey(t), newKey(t), newKey(t)
	ks := NewKeySet(a.Public())
	first, second := rotation(t, a, b, issued.Add(time.Hour)), rotation(t, b, c, issued.Add(time.Hour))
	if _, err := ks.Follow(second); !errors.Is(err, ErrSignature) {
		t.Errorf("a link was left out: %v", err)
	}
	longer := follow(t, follow(t, ks, first), second)
	if longer.Root() != a.Public() || longer.Current() != c.Public() || ks.Current() != a.Public() {
		t.Error("wrong keys")
	}
	if again := follow(t, longer, first); again != longer {
		t.Error("a rotation that was followed before changes the set")
	}
	if _, err := Open(seal(t, KindGateway, 1, gatewayDocument(), c), KindGateway, longer, new(GatewayDocument)); err != nil {
		t.Error(err)
	}
}

func TestOldKeyVouchesOnlyForWhatEndsInTime(t *testing.T) {
	old, next := newKey(t), newKey(t)
	doc := seal(t, KindGateway, 1, gatewayDocument(), old) // valid for 72 h
	for _, tt := range []struct {
		name  string
		until time.Time
		want  error
	}{
		{"in time", issued.Add(72 * time.Hour), nil},
		{"too long", issued.Add(72*time.Hour - time.Second), ErrRetired},
		{"retired at once", issued, ErrRetired},
	} {
		ks := follow(t, NewKeySet(old.Public()), rotation(t, old, next, tt.until))
		if _, err := Open(doc, KindGateway, ks, new(GatewayDocument)); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestBadRotations(t *testing.T) {
	a, b, stranger := newKey(t), newKey(t), newKey(t)
	until := issued.Add(time.Hour)
	ks := follow(t, NewKeySet(a.Public()), rotation(t, a, b, until))
	for _, tt := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"by a stranger", rotation(t, stranger, stranger, until), ErrSignature},
		{"by the old key once more", rotation(t, a, stranger, until), ErrRetired},
		{"the old key changes its own end", rotation(t, a, b, until.Add(1000*time.Hour)), ErrRetired},
		{"back to the old key", rotation(t, b, a, until), ErrContent},
		{"to itself", rotation(t, b, b, until), ErrContent},
		{"without an end", rotation(t, b, stranger, time.Time{}), ErrContent},
		{"another kind", seal(t, KindGateway, 1, gatewayDocument(), b), ErrKind},
		{"no document", []byte("x"), ErrFrame},
	} {
		if _, err := ks.Follow(tt.raw); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestKeySetIsBounded(t *testing.T) {
	key := newKey(t)
	ks := NewKeySet(key.Public())
	var err error
	for n := 0; err == nil; n++ {
		if n > maxKeys {
			t.Fatal("no bound")
		}
		next := newKey(t)
		var longer *KeySet
		if longer, err = ks.Follow(rotation(t, key, next, issued)); err == nil {
			ks, key = longer, next
		}
	}
	if len(ks.keys) != maxKeys || !errors.Is(err, ErrContent) {
		t.Errorf("%d keys, %v", len(ks.keys), err)
	}
}
