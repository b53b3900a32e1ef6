package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestValuesStayAndFailuresLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Update(t.Context(), func(tx *Tx) error { return tx.Put("b", "k", map[string]int{"n": 1}) }); err != nil {
		t.Fatal(err)
	}
	why := errors.New("no")
	if err := s.Update(t.Context(), func(tx *Tx) error {
		return errors.Join(tx.Put("b", "k", 2), tx.Put("b", "other", 3), why)
	}); !errors.Is(err, why) {
		t.Errorf("Update = %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), func(tx *Tx) error { _ = tx.Put("b", "panic", 1); panic("x") })
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	err := s.View(t.Context(), func(tx *Tx) error {
		var v map[string]int
		if ok, err := tx.Get("b", "k", &v); !ok || err != nil || v["n"] != 1 {
			t.Errorf("Get = %v, %v, %v", v, ok, err)
		}
		for _, key := range []string{"other", "panic"} {
			if ok, err := tx.Get("b", key, &v); ok || err != nil {
				t.Errorf("%s is there, or fails: %v", key, err)
			}
		}
		return tx.Put("b", "x", 1)
	})
	if err == nil {
		t.Error("a view can write")
	}
}

func TestSecretsAreSealedForTheirPlace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	err := s.Update(t.Context(), func(tx *Tx) error { return tx.PutSealed("b", "k", []byte("very secret")) })
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx *Tx) error {
		raw, _, err := tx.raw("b", "k")
		return errors.Join(err, tx.putRaw("b", "moved", raw))
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.View(t.Context(), func(tx *Tx) error {
		if got, ok, err := tx.GetSealed("b", "k"); !ok || err != nil || string(got) != "very secret" {
			t.Errorf("GetSealed = %q, %v, %v", got, ok, err)
		}
		if _, ok, err := tx.GetSealed("b", "moved"); ok || err == nil {
			t.Error("a secret opens at another place")
		}
		if _, ok, err := tx.GetSealed("b", "none"); ok || err != nil {
			t.Errorf("one that is not there: %v, %v", ok, err)
		}
		return nil
	})
	for _, name := range []string{databaseFile, databaseFile + "-wal"} {
		path := filepath.Join(dir, name)
		if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte("very secret")) {
			t.Errorf("%s: %v, or the secret stands in it", name, err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestScansAreInOrderAndPaged(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 3*pageEntries + 1
	err := s.Update(t.Context(), func(tx *Tx) error {
		for i := range n {
			if err := tx.Put("b", fmt.Sprintf("a/%05d", i), i); err != nil {
				return err
			}
		}
		return errors.Join(tx.Put("b", "a", 0), tx.Put("b", "a0", 0), tx.Put("c", "a/1", 0), tx.Put("b", "a_%", 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	scan := func(tx *Tx, prefix, from string) (keys []string) {
		for e, err := range tx.Scan("b", prefix, from) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, e.Key)
		}
		return keys
	}
	err = s.Update(t.Context(), func(tx *Tx) error {
		if got := scan(tx, "a/", ""); len(got) != n || got[0] != "a/00000" || got[n-1] != fmt.Sprintf("a/%05d", n-1) {
			t.Errorf("%d keys", len(got))
		}
		if got := scan(tx, "a/", fmt.Sprintf("a/%05d", n-2)); len(got) != 2 {
			t.Errorf("from the last but one: %q", got)
		}
		if got := scan(tx, "", "a/00767"); len(got) != 4 || got[3] != "a_%" {
			t.Errorf("the rest of the bucket: %q", got)
		}
		for e := range tx.Scan("b", "a/", "") { // writing meanwhile
			if _, err := tx.Delete("b", e.Key); err != nil {
				return err
			}
			if e.Key == "a/00003" {
				break
			}
		}
		if err := tx.DeletePrefix("b", "a_"); err != nil {
			return err
		}
		if was, err := tx.Delete("b", "a/00000"); was || err != nil {
			t.Errorf("deleted twice: %v, %v", was, err)
		}
		if got := scan(tx, "", ""); len(got) != n-4+2 {
			t.Errorf("%d keys are left", len(got))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestManyMayUseItAtOnce(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				err := s.Update(t.Context(), func(tx *Tx) error {
					var n int
					_, err := tx.Get("b", "n", &n)
					return errors.Join(err, tx.Put("b", "n", n+1))
				})
				if err != nil {
					t.Error(err)
				}
				if err := s.View(t.Context(), func(tx *Tx) error { var n int; _, err := tx.Get("b", "n", &n); return err }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_ = s.View(t.Context(), func(tx *Tx) error {
		var n int
		if _, _ = tx.Get("b", "n", &n); n != 160 {
			t.Errorf("n = %d, want 160", n)
		}
		return nil
	})
}

func TestALaterFormatIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.write.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("Open = %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, databaseFile), bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil {
		t.Error("a file of something else opens")
	}
}
