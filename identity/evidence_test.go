package identity

import (
	"bytes"
	"errors"
	"testing"
)

func TestEvidence(t *testing.T) {
	chain := [][]byte{[]byte("leaf"), []byte("issuer")}
	b := EncodeEvidence(chain)
	got, err := DecodeEvidence(b)
	if err != nil || len(got) != 2 || string(got[0]) != "leaf" || string(got[1]) != "issuer" {
		t.Fatalf("got %q, %v", got, err)
	}
	for n := range len(b) {
		if _, err := DecodeEvidence(b[:n]); !errors.Is(err, ErrEvidence) {
			t.Errorf("cut to %d bytes: error %v", n, err)
		}
	}
	if _, err := DecodeEvidence(append(b, 0)); !errors.Is(err, ErrEvidence) {
		t.Errorf("a byte too many: error %v", err)
	}
}

func TestEvidenceLimits(t *testing.T) {
	largest := make([]byte, MaxEvidenceBytes-3)
	if b := EncodeEvidence([][]byte{largest}); len(b) != MaxEvidenceBytes {
		t.Errorf("the largest chain gives %d bytes, want %d", len(b), MaxEvidenceBytes)
	} else if _, err := DecodeEvidence(b); err != nil {
		t.Error(err)
	}
	for name, chain := range map[string][][]byte{
		"none":      nil,
		"too many":  make([][]byte, MaxChainCertificates+1),
		"too large": {append(largest, 0)},
		"empty one": {{1}, {}},
	} {
		if b := EncodeEvidence(chain); b != nil {
			t.Errorf("%s: %d bytes of evidence", name, len(b))
		}
	}
}

// FuzzDecodeEvidence: what is accepted is within the limits and is written again byte for byte.
func FuzzDecodeEvidence(f *testing.F) {
	f.Add(EncodeEvidence([][]byte{[]byte("leaf"), []byte("issuer")}))
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{10, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := DecodeEvidence(b)
		if err != nil {
			if !errors.Is(err, ErrEvidence) {
				t.Fatalf("error %v does not wrap ErrEvidence", err)
			}
			return
		}
		if again := EncodeEvidence(chain); !bytes.Equal(again, b) {
			t.Fatalf("%x is written again as %x", b, again)
		}
	})
}

// FuzzVerify: no chain of bytes is admitted that no CA signed, and none makes the verifier panic.
func FuzzVerify(f *testing.F) {
	root := newRoot(f, "root", nil)
	stranger := newRoot(f, "stranger", nil)
	f.Add(EncodeEvidence(chainOf(stranger.device(f, "pc", nil), stranger.cert)))
	f.Add(EncodeEvidence(chainOf(root.ca(f, "sub", nil).cert, root.cert)))
	v := trusting(f, root)
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := DecodeEvidence(b)
		if err != nil {
			return
		}
		if d, err := v.Verify(chain, noon); err == nil {
			t.Fatalf("admitted as %s", d.ID)
		}
		v.Explain(chain, noon)
	})
}
