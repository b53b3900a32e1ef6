package signed

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/internal/durable"
)

func openStore(t testing.TB, dir string, root PublicKey) (*Store, []error) {
	t.Helper()
	s, problems, err := OpenStore(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	return s, problems
}

func put(t testing.TB, s *Store, raw []byte) {
	t.Helper()
	if _, err := s.Put(raw); err != nil {
		t.Fatal(err)
	}
}

func TestStoreKeepsTheLastGoodDocument(t *testing.T) {
	for name, dir := range map[string]string{"in a folder": t.TempDir(), "in memory": ""} {
		t.Run(name, func(t *testing.T) {
			key := newKey(t)
			s, _ := openStore(t, dir, key.Public())
			if _, err := s.Open(KindGateway, new(GatewayDocument)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("empty store: %v", err)
			}
			third := seal(t, KindGateway, 3, gatewayDocument(), key)
			put(t, s, third)
			for _, tt := range []struct {
				name string
				raw  []byte
				want error
			}{
				{"older", seal(t, KindGateway, 2, gatewayDocument(), key), ErrOlder},
				{"same generation, other content", seal(t, KindGateway, 3, GatewayDocument{}, key), ErrOlder},
				{"forged", seal(t, KindGateway, 4, gatewayDocument(), newKey(t)), ErrSignature},
				{"same", third, nil},
			} {
				if _, err := s.Put(tt.raw); !errors.Is(err, tt.want) {
					t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
				}
				if !bytes.Equal(s.Raw(KindGateway), third) || s.Header(KindGateway).Generation != 3 {
					t.Errorf("%s: generation %d is held", tt.name, s.Header(KindGateway).Generation)
				}
			}
			var doc GatewayDocument
			if h, err := s.Open(KindGateway, &doc); err != nil || h.Generation != 3 || doc.Site != "s" {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
}

func TestStoreSurvivesDamagedFiles(t *testing.T) {
	key := newKey(t)
	second, third := seal(t, KindGateway, 2, gatewayDocument(), key), seal(t, KindGateway, 3, gatewayDocument(), key)
	for name, damage := range map[string]func(path string) error{
		"half written": func(path string) error { return os.WriteFile(path, third[:len(third)/2], 0o600) },
		"empty":        func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"zeros":        func(path string) error { return os.WriteFile(path, make([]byte, len(third)), 0o600) },
		"gone":         os.Remove,
		"a folder": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
		"huge": func(path string) error { return os.Truncate(path, MaxBytes+1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := openStore(t, dir, key.Public())
			put(t, s, second)
			put(t, s, third)
			if err := damage(filepath.Join(dir, "gateway.json")); err != nil {
				t.Fatal(err)
			}
			if changed, _ := s.Reload(); len(changed) != 0 || s.Header(KindGateway).Generation != 3 {
				t.Errorf("a running store went to generation %d", s.Header(KindGateway).Generation)
			}
			again, problems := openStore(t, dir, key.Public())
			if again.Header(KindGateway).Generation != 2 {
				t.Errorf("generation %d, want the previous one (%v)", again.Header(KindGateway).Generation, problems)
			}
			if name != "gone" && len(problems) == 0 {
				t.Error("nobody hears of it")
			}
			if name != "a folder" {
				put(t, again, third) // and it heals
				if healed, _ := openStore(t, dir, key.Public()); healed.Header(KindGateway).Generation != 3 {
					t.Error("the store did not heal")
				}
			}
		})
	}
}

func TestStoreRemovesWhatDeadWritersLeft(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".causeway-123.tmp")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, newKey(t).Public())
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestStoreReloadsWhatItsSiteWrites(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	s, _ := openStore(t, dir, key.Public())
	path := filepath.Join(dir, "connection-point.json")
	write := func(raw []byte) {
		t.Helper()
		if err := durable.WriteFile(path, raw); err != nil {
			t.Fatal(err)
		}
	}
	write(seal(t, KindConnectionPoint, 1, connectionPointDocument(), key))
	if changed, problems := s.Reload(); len(changed) != 1 || changed[0] != KindConnectionPoint || len(problems) != 0 {
		t.Errorf("changed %v, problems %v", changed, problems)
	}
	if changed, problems := s.Reload(); len(changed) != 0 || len(problems) != 0 {
		t.Errorf("nothing changed, but: %v, %v", changed, problems)
	}
	write(seal(t, KindGateway, 9, gatewayDocument(), key)) // a kind in another kind's file
	if changed, problems := s.Reload(); len(changed) != 0 || len(problems) != 1 || !errors.Is(problems[0], ErrKind) {
		t.Errorf("changed %v, problems %v", changed, problems)
	}
}

func TestStoreFollowsKeysAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	a, b, c := newKey(t), newKey(t), newKey(t)
	s, _ := openStore(t, dir, a.Public())
	put(t, s, seal(t, KindGateway, 1, gatewayDocument(), a))
	put(t, s, rotation(t, a, b, issued.Add(100*time.Hour)))
	put(t, s, rotation(t, a, b, issued.Add(100*time.Hour))) // pushed again
	put(t, s, rotation(t, b, c, issued.Add(100*time.Hour)))
	again, problems := openStore(t, dir, a.Public())
	if len(problems) != 0 || again.Keys().Current() != c.Public() {
		t.Fatalf("problems %v", problems)
	}
	if again.Header(KindGateway).Generation != 1 {
		t.Error("the document that the first key signed is gone, although it is in time")
	}
	put(t, again, seal(t, KindGateway, 2, gatewayDocument(), c))
	if _, err := again.Put(rotation(t, a, newKey(t), issued)); !errors.Is(err, ErrRetired) {
		t.Errorf("a retired key rotates: %v", err)
	}
	// A folder of another site has nothing to say.
	if other, problems := openStore(t, dir, newKey(t).Public()); other.Raw(KindGateway) != nil || len(problems) == 0 {
		t.Errorf("foreign documents are held, problems %v", problems)
	}
}

func TestStoreIsConcurrent(t *testing.T) {
	key := newKey(t)
	s, _ := openStore(t, t.TempDir(), key.Public())
	var docs [][]byte
	for n := range 20 {
		docs = append(docs, seal(t, KindGateway, uint64(n+1), gatewayDocument(), key))
	}
	var wg sync.WaitGroup
	for _, raw := range docs {
		wg.Go(func() {
			if _, err := s.Put(raw); err != nil && !errors.Is(err, ErrOlder) {
				t.Error(err)
			}
			s.Reload()
			if _, err := s.Open(KindGateway, new(GatewayDocument)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if g := s.Header(KindGateway).Generation; g != 20 {
		t.Errorf("generation %d, want the highest", g)
	}
}
