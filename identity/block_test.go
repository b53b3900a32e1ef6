package identity

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"testing"
)

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func TestBlocks(t *testing.T) {
	root := newRoot(t, "root", nil)
	issuing := root.ca(t, "issuing CA", nil)
	leaf, other := issuing.device(t, "PC-17", nil), issuing.device(t, "pc-18", nil)
	for _, tt := range []struct {
		name  string
		block Block
		all   bool // the other device is blocked too
	}{
		{"by thumbprint", Block{Thumbprint: thumbprint(leaf)}, false},
		{"by issuer and serial", Block{Issuer: leaf.RawIssuer, Serial: leaf.SerialNumber.Text(16)}, false},
		{"by device id", Block{DeviceID: "PC-17"}, false},
		{"by device id in another case", Block{DeviceID: "pc-17"}, false},
		{"CA by thumbprint", Block{Thumbprint: thumbprint(issuing.cert)}, true},
		{"CA by issuer and serial", Block{Issuer: issuing.cert.RawIssuer, Serial: issuing.cert.SerialNumber.Text(16)}, true},
		{"root by thumbprint", Block{Thumbprint: thumbprint(root.cert)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := verifier(t, Trust{CAs: cas(root), Blocked: []Block{tt.block}})
			wantRefused(t, v, chainOf(leaf, issuing.cert), noon, blocked)
			if tt.all {
				wantRefused(t, v, chainOf(other, issuing.cert), noon, blocked)
			} else {
				wantAdmitted(t, v, chainOf(other, issuing.cert), noon)
			}
		})
	}
}

func TestSerialIsBlockedForItsIssuerOnly(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "pc", nil)
	v := verifier(t, Trust{CAs: cas(root), Blocked: []Block{{Issuer: newRoot(t, "other", nil).cert.RawSubject, Serial: leaf.SerialNumber.Text(16)}}})
	wantAdmitted(t, v, chainOf(leaf), noon)
}

func TestForgedCertificateIsUntrustedRatherThanBlocked(t *testing.T) {
	root := newRoot(t, "root", nil)
	forged := newRoot(t, "root", nil).device(t, "pc", nil)
	v := verifier(t, Trust{CAs: cas(root), Blocked: []Block{{DeviceID: "pc"}}})
	wantRefused(t, v, chainOf(forged), noon, untrusted)
}

func TestABlockedIntermediateLeavesOtherPaths(t *testing.T) {
	root := newRoot(t, "root", nil)
	issuing := root.ca(t, "issuing CA", nil)
	again := sign(t, caTemplate("issuing CA", nil), root.cert, issuing.key.Public(), root.key)
	v := verifier(t, Trust{CAs: cas(root), Blocked: []Block{{Thumbprint: thumbprint(issuing.cert)}}})
	wantAdmitted(t, v, chainOf(issuing.device(t, "pc", nil), issuing.cert, again), noon)
}

// TestThumbprintBlockHoldsForTheTwinSignature changes a blocked certificate's bytes without its signature becoming
// invalid, as its holder can.
func TestThumbprintBlockHoldsForTheTwinSignature(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "pc", nil)
	der := twin(leaf, root.cert)
	changed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := changed.CheckSignatureFrom(root.cert); err != nil {
		t.Fatalf("the twin is not valid, so this test shows nothing: %v", err)
	}
	if thumbprint(changed) == thumbprint(leaf) {
		t.Fatal("the twin has the same thumbprint")
	}
	v := verifier(t, Trust{CAs: cas(root), Blocked: []Block{{Thumbprint: thumbprint(leaf)}}})
	wantRefused(t, v, chainOf(changed), noon, blocked)
	wantRefused(t, v, chainOf(leaf), noon, blocked)
}

// TestShiftedSignatureIsRefused encodes a signature as a bit string with unused bits, which Go's parser shifts back.
func TestShiftedSignatureIsRefused(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "pc", nil)
	o, err := parseOuter(leaf)
	if err != nil {
		t.Fatal(err)
	}
	shifted := new(big.Int).Lsh(new(big.Int).SetBytes(o.Signature.Bytes), 1).Bytes() // begins with 0x30: one bit fits
	o.Signature = asn1.BitString{Bytes: shifted, BitLength: 8*len(shifted) - 1}
	der, err := asn1.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := x509.ParseCertificate(der)
	if err != nil {
		return // the parser refuses it by itself
	}
	if err := changed.CheckSignatureFrom(root.cert); err != nil {
		t.Fatalf("not valid to x509, so this test shows nothing: %v", err)
	}
	wantRefused(t, trusting(t, root), chainOf(changed), noon, unfitCode)
}

func TestTwinOfATwinIsTheCertificate(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "pc", nil)
	other, err := x509.ParseCertificate(twin(leaf, root.cert))
	if err != nil {
		t.Fatal(err)
	}
	if got := twin(other, root.cert); string(got) != string(leaf.Raw) {
		t.Error("twin is not its own inverse")
	}
	if _, ok := root.key.Public().(*ecdsa.PublicKey); !ok {
		t.Error("the test CA is not ECDSA")
	}
}

func TestBadBlocks(t *testing.T) {
	for name, b := range map[string]Block{
		"nothing":               {},
		"two forms":             {Thumbprint: hex.EncodeToString(make([]byte, 32)), DeviceID: "pc"},
		"short thumbprint":      {Thumbprint: "ab"},
		"upper case thumbprint": {Thumbprint: "AB" + hex.EncodeToString(make([]byte, 31))},
		"serial alone":          {Serial: "1f"},
		"issuer alone":          {Issuer: []byte{0x30, 0}},
		"serial with zero":      {Serial: "01", Issuer: []byte{0x30, 0}},
		"negative serial":       {Serial: "-1", Issuer: []byte{0x30, 0}},
		"bad device id":         {DeviceID: "a\nb"},
	} {
		if err := b.Check(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := NewVerifier(Trust{Blocked: []Block{b}}); err == nil {
			t.Errorf("%s: NewVerifier accepts it", name)
		}
	}
}
