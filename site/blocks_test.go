package site

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/signed"
)

// deviceTrust is what the site's documents say about devices.
func deviceTrust(t *testing.T, s *Store) identity.Trust {
	t.Helper()
	d, err := s.Documents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var c signed.ConnectionPointDocument
	if _, err := signed.Open(d.ConnectionPoint, signed.KindConnectionPoint, signed.NewKeySet(s.PublicKey()), &c); err != nil {
		t.Fatal(err)
	}
	return c.DeviceTrust
}

func TestBlockedDeviceIsRefusedByTheDocuments(t *testing.T) {
	s := open(t, t.TempDir())
	device, err := s.IssueDevice(t.Context(), "me", "pc-17")
	if err != nil {
		t.Fatal(err)
	}
	verify := func() error {
		t.Helper()
		v, err := identity.NewVerifier(deviceTrust(t, s))
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify([][]byte{device.Certificate.Raw}, time.Now())
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	for _, b := range []identity.Block{
		{DeviceID: "pc-17"},
		{Thumbprint: Thumbprint(device.Certificate)},
		{Issuer: device.Certificate.RawIssuer, Serial: device.Certificate.SerialNumber.Text(16)},
	} {
		for range 2 { // the second time changes nothing
			if err := s.Block(t.Context(), "me", b, "stolen"); err != nil {
				t.Fatal(err)
			}
		}
		if err := verify(); causeway.CodeOf(err) != causeway.CodeClientCertificateBlocked {
			t.Errorf("%+v: %v", b, err)
		}
		list, err := s.Blocks(t.Context())
		if err != nil || len(list) != 1 || list[0].Reason != "stolen" {
			t.Errorf("list %+v, %v", list, err)
		}
		if err := s.Unblock(t.Context(), "me", b); err != nil {
			t.Fatal(err)
		}
		if err := verify(); err != nil {
			t.Errorf("unblocked: %v", err)
		}
		if err := s.Unblock(t.Context(), "me", b); !errors.Is(err, causeway.ErrNotFound) {
			t.Errorf("unblock twice: %v", err)
		}
	}
	if err := s.Block(t.Context(), "me", identity.Block{}, ""); !errors.Is(err, causeway.ErrUsage) {
		t.Errorf("an empty block: %v", err)
	}
	log, err := s.Audit(t.Context(), 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 1 + 3*2; len(log) != want { // site, certificate, each block and unblock
		t.Errorf("%d audit records, want %d", len(log), want)
	}
}

// TestDeviceCAThatGatewaysWouldRefuseIsRefused: one unfit CA makes a whole document unfit, so it must not get in.
func TestDeviceCAThatGatewaysWouldRefuseIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.ReplaceDeviceCAs(t.Context(), "me", []*x509.Certificate{weakCA(t)}); !errors.Is(err, causeway.ErrUsage) {
		t.Errorf("a CA with a weak key: %v", err)
	}
	if err := s.ReplaceDeviceCAs(t.Context(), "me", []*x509.Certificate{mustIssue(t, s)}); !errors.Is(err, causeway.ErrUsage) {
		t.Errorf("a device as CA: %v", err)
	}
	if n := len(deviceTrust(t, s).CAs); n != 1 {
		t.Errorf("%d CAs, want the site's own", n)
	}
}

func TestConnectionPointNamesAreFolderNames(t *testing.T) {
	s := open(t, t.TempDir())
	for _, bad := range []causeway.ConnectionPointID{"", "..", "a/b", `a\b`, "a:b", "CON ", "-a", "a\n", "ä"} {
		if _, err := s.AddConnectionPoint(t.Context(), "me", bad); !errors.Is(err, causeway.ErrUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestStoreInAFolderWithMarksOfURIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%41&e=f")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	id := open(t, dir).ID()
	if again := open(t, dir); again.ID() != id {
		t.Error("another store was opened")
	}
	if info, err := os.Stat(filepath.Join(dir, databaseFile)); err != nil || info.Size() == 0 {
		t.Errorf("the database is elsewhere: %v", err)
	}
}

// mustIssue returns a device's certificate.
func mustIssue(t *testing.T, s *Store) *x509.Certificate {
	t.Helper()
	i, err := s.IssueDevice(t.Context(), "me", "pc-18")
	if err != nil {
		t.Fatal(err)
	}
	return i.Certificate
}

// weakCA makes a CA on a curve that no verifier of ours accepts.
func weakCA(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weak"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
