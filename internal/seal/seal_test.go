package seal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func TestSealedTextOpensForItsNameAndKeyAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	s, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	sealed := s.Seal("a", []byte("text"))
	if bytes.Contains(sealed, []byte("text")) || bytes.Equal(sealed, s.Seal("a", []byte("text"))) {
		t.Error("it is not encrypted, or always alike")
	}
	again, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := again.Open("a", sealed); err != nil || string(text) != "text" {
		t.Errorf("Open = %q, %v", text, err)
	}
	if _, err := again.Open("b", sealed); err == nil {
		t.Error("it opens for another name")
	}
	if _, err := again.Open("a", sealed[:len(sealed)-1]); err == nil {
		t.Error("a cut one opens")
	}
	other, err := Open(filepath.Join(t.TempDir(), "seal.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open("a", sealed); err == nil || causeway.Hint(err) == "" {
		t.Errorf("with another key: %v", err)
	}
}

func TestKeyFilesThatAreMissingOrCutAreTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	if _, err := Open(path, false); err == nil || causeway.Hint(err) == "" {
		t.Errorf("a missing key: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a key was made for a store that had another")
	}
	if err := os.WriteFile(path, make([]byte, KeyBytes-1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, true); err == nil {
		t.Error("a key that is cut is taken")
	}
}
