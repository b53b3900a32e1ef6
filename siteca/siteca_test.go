package siteca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := New("Causeway test CA", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func verify(t *testing.T, a *Authority, i Issued, usage x509.ExtKeyUsage, name string) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate)
	_, err := i.Certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: name})
	return err
}

func TestServiceCertificateServesItsNames(t *testing.T) {
	a := authority(t)
	i, err := a.IssueService([]string{"gw.example.com", "127.0.0.1", "::1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gw.example.com", "127.0.0.1", "::1"} {
		if err := verify(t, a, i, x509.ExtKeyUsageServerAuth, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if verify(t, a, i, x509.ExtKeyUsageClientAuth, "") == nil {
		t.Error("a service certificate passes as a client's")
	}
	if _, err := tls.X509KeyPair(i.CertPEM, i.KeyPEM); err != nil {
		t.Error(err)
	}
}

func TestDeviceCertificateIsNoConnectionPoint(t *testing.T) {
	devices, points := authority(t), authority(t)
	d, err := devices.IssueDevice("laptop-7", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, devices, d, x509.ExtKeyUsageClientAuth, ""); err != nil {
		t.Error(err)
	}
	if verify(t, points, d, x509.ExtKeyUsageClientAuth, "") == nil {
		t.Error("the other authority vouches for it")
	}
	p, err := points.IssueConnectionPoint("site-1", "cp-1", now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Certificate.URIs[0].String(), "urn:causeway:connection-point:site-1:cp-1"; got != want {
		t.Errorf("URI %s, want %s", got, want)
	}
}

func TestIssuedCertificatesCannotIssue(t *testing.T) {
	a := authority(t)
	i, err := a.IssueDevice("d", now)
	if err != nil {
		t.Fatal(err)
	}
	if c := i.Certificate; c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("IsCA %v, key usage %b", c.IsCA, c.KeyUsage)
	}
	if c := a.Certificate; !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Error("the authority may sign other authorities")
	}
}

func TestIssuedEndsWithItsAuthority(t *testing.T) {
	a := authority(t)
	late := a.Certificate.NotAfter.Add(-24 * time.Hour)
	i, err := a.IssueDevice("d", late)
	if err != nil {
		t.Fatal(err)
	}
	if i.Certificate.NotAfter.After(a.Certificate.NotAfter) {
		t.Errorf("valid until %v, the authority until %v", i.Certificate.NotAfter, a.Certificate.NotAfter)
	}
}

func TestBadDeviceNamesAreRefused(t *testing.T) {
	a := authority(t)
	for _, name := range []string{"", "a/b", "a b", "-rf", ".hidden", "ä", strings.Repeat("x", 65), "a\nb"} {
		if _, err := a.IssueDevice(causeway.DeviceID(name), now); !errors.Is(err, causeway.ErrUsage) {
			t.Errorf("%q: %v, want a usage error", name, err)
		}
	}
}

func TestAuthoritySurvivesStorage(t *testing.T) {
	a := authority(t)
	key, err := a.MarshalKey()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(a.Certificate.Raw, key)
	if err != nil {
		t.Fatal(err)
	}
	i, err := b.IssueDevice("d", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, a, i, x509.ExtKeyUsageClientAuth, ""); err != nil {
		t.Error(err)
	}
	other := authority(t)
	if _, err := Load(other.Certificate.Raw, key); err == nil {
		t.Error("Load accepts a key of another authority")
	}
}

func TestLongServiceNameHasNoCommonName(t *testing.T) {
	a := authority(t)
	name := strings.Repeat("a", 60) + ".example"
	i, err := a.IssueService([]string{name}, now)
	if err != nil || i.Certificate.Subject.CommonName != "" {
		t.Fatalf("common name %q, %v", i.Certificate.Subject.CommonName, err)
	}
	if err := verify(t, a, i, x509.ExtKeyUsageServerAuth, name); err != nil {
		t.Error(err)
	}
}

func TestExpiredAuthorityIssuesNothing(t *testing.T) {
	a := authority(t)
	if i, err := a.IssueDevice("pc", now.Add(AuthorityLifetime-time.Hour)); err != nil || !i.Certificate.NotAfter.Equal(a.Certificate.NotAfter) {
		t.Errorf("shortly before its end: %v", err)
	}
	if _, err := a.IssueDevice("pc", now.Add(AuthorityLifetime+time.Hour)); err == nil {
		t.Error("an expired authority issues")
	}
}

func TestIssuedDoesNotPrintItsKey(t *testing.T) {
	i, err := authority(t).IssueDevice("pc", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v", i), fmt.Sprintf("%+v", i), fmt.Sprintf("%#v", i), fmt.Sprint(i.LogValue())} {
		if text != "CN=pc" {
			t.Errorf("prints %.80s", text)
		}
	}
}

// TestDevicePassesTheVerifier: what the site issues is what gateways admit.
func TestDevicePassesTheVerifier(t *testing.T) {
	a := authority(t)
	i, err := a.IssueDevice("pc-17", now)
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.NewVerifier(identity.Trust{CAs: []identity.CA{{Name: "site", Certificate: a.Certificate.Raw}}})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := v.Verify([][]byte{i.Certificate.Raw}, now); err != nil || d.ID != "pc-17" {
		t.Errorf("%v, %v", d, err)
	}
}
