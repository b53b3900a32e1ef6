package keyvault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"software.sslmate.com/src/go-pkcs12"
)

// A credential is somebody's; it gives tokens for the vaults alone.
type credential string

func (c credential) GetToken(_ context.Context, o azpolicy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !slices.Equal(o.Scopes, []string{audience + "/.default"}) || o.TenantID != testTenant {
		return azcore.AccessToken{}, fmt.Errorf("a token for %q of %q was asked for", o.Scopes, o.TenantID)
	}
	return azcore.AccessToken{Token: string(c), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (f *fixture) options() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: f.client(), Retry: azpolicy.RetryOptions{MaxRetries: -1}}
}

func (f *fixture) secrets(who string) *azsecrets.Client {
	f.t.Helper()
	c, err := azsecrets.NewClient(f.URI("one"), credential(who), &azsecrets.ClientOptions{ClientOptions: f.options()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) certificates(who string) *azcertificates.Client {
	f.t.Helper()
	c, err := azcertificates.NewClient(f.URI("one"), credential(who), &azcertificates.ClientOptions{ClientOptions: f.options()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// refused wants an error of Azure's client with this code.
func refused(t *testing.T, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.ErrorCode != code {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func TestSecretsByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx, c := t.Context(), f.secrets("manager")
	first, err := c.SetSecret(ctx, "Password", azsecrets.SetSecretParameters{Value: to.Ptr("one"), ContentType: to.Ptr("text/plain"), Tags: map[string]*string{"for": to.Ptr("tests")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.SetSecret(ctx, "password", azsecrets.SetSecretParameters{Value: to.Ptr("two")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"": "two", first.ID.Version(): "one", second.ID.Version(): "two"} {
		got, err := f.secrets("instance").GetSecret(ctx, "password", version, nil)
		if err != nil || *got.Value != want {
			t.Errorf("version %q: %v, %v, want %q", version, got.Value, err, want)
		}
		if version == first.ID.Version() && (*got.ContentType != "text/plain" || *got.Tags["for"] != "tests" || *got.Attributes.RecoveryLevel != "CustomizedRecoverable+Purgeable" || got.ID.Name() != "Password") {
			t.Errorf("secret %+v", got)
		}
	}
	versions := 0
	for p := c.NewListSecretPropertiesVersionsPager("password", nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions are listed", versions)
	}
	if _, err := c.UpdateSecretProperties(ctx, "password", "", azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: to.Ptr(false)}}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetSecret(ctx, "password", "", nil)
	refused(t, err, "Forbidden")
	_, err = f.secrets("stranger").GetSecret(ctx, "password", "", nil)
	refused(t, err, "Forbidden")
}

func TestDeletedSecretsByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx, c := t.Context(), f.secrets("manager")
	set := func() error {
		_, err := c.SetSecret(ctx, "s", azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil)
		return err
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	remove := func() {
		t.Helper()
		if d, err := c.DeleteSecret(ctx, "s", nil); err != nil || d.ScheduledPurgeDate == nil || !strings.HasSuffix(*d.RecoveryID, "/deletedsecrets/s") {
			t.Errorf("DeleteSecret = %+v, %v", d, err)
		}
	}
	remove()
	_, err := c.GetSecret(ctx, "s", "", nil)
	refused(t, err, "SecretNotFound")
	refused(t, set(), "Conflict")
	if _, err := c.GetDeletedSecret(ctx, "s", nil); err != nil {
		t.Error(err)
	}
	page, err := c.NewListDeletedSecretPropertiesPager(nil).NextPage(ctx)
	if err != nil || len(page.Value) != 1 {
		t.Errorf("%d deleted secrets, %v", len(page.Value), err)
	}
	if _, err := c.RecoverDeletedSecret(ctx, "s", nil); err != nil {
		t.Error(err)
	}
	if got, err := c.GetSecret(ctx, "s", "", nil); err != nil || *got.Value != "v" {
		t.Errorf("recovered: %v, %v", got.Value, err)
	}
	remove()
	if _, err := c.PurgeDeletedSecret(ctx, "s", nil); err != nil {
		t.Error(err)
	}
	if err := set(); err != nil {
		t.Error(err)
	}
}

func TestListsComeInPages(t *testing.T) {
	f := newFixture(t)
	ctx, c := t.Context(), f.secrets("manager")
	const most = 2*mostPage + 1
	for i := range most {
		f.want(f.do("manager", "PUT", fmt.Sprintf("/secrets/s%03d", i), `{"value":"v"}`), 200, "")
	}
	var names []string
	pages := 0
	for p := c.NewListSecretPropertiesPager(nil); p.More(); pages++ {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Value {
			names = append(names, s.ID.Name())
		}
	}
	if pages != 3 || len(names) != most || !slices.IsSorted(names) || len(slices.Compact(names)) != most {
		t.Errorf("%d names on %d pages: %q", len(names), pages, names)
	}
}

// A pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPair(t testing.TB, name string, curve elliptic.Curve) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{cert, key}
}

func (p pair) pfx(t testing.TB, password string, chain ...*x509.Certificate) string {
	t.Helper()
	der, err := pkcs12.Modern.Encode(p.key, p.cert, chain, password)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func (p pair) pem(t testing.TB) (key, cert string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

func TestCertificatesByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx, c := t.Context(), f.certificates("manager")
	one, ca := newPair(t, "gateway.example.test", elliptic.P256()), newPair(t, "CA", elliptic.P384())
	got, err := c.ImportCertificate(ctx, "service", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: to.Ptr(one.pfx(t, "secret", ca.cert)), Password: to.Ptr("secret")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(one.cert.Raw)
	if !bytes.Equal(got.CER, one.cert.Raw) || !bytes.Equal(got.X509Thumbprint, sum[:]) || got.SID.Version() != got.ID.Version() || got.Attributes.Expires.Unix() != one.cert.NotAfter.Unix() ||
		*got.Policy.SecretProperties.ContentType != typePFX || *got.Policy.KeyProperties.Curve != "P-256" {
		t.Errorf("certificate %+v", got)
	}
	// The instances take certificate and key from the secret of its name.
	secret, err := f.secrets("instance").GetSecret(ctx, "service", "", nil)
	if err != nil || *secret.ContentType != typePFX || !*secret.Managed {
		t.Fatalf("secret %+v, %v", secret, err)
	}
	der, err := base64.StdEncoding.DecodeString(*secret.Value)
	if err != nil {
		t.Fatal(err)
	}
	key, leaf, chain, err := pkcs12.DecodeChain(der, "")
	if err != nil || !one.key.Equal(key) || !leaf.Equal(one.cert) || len(chain) != 1 || !chain[0].Equal(ca.cert) {
		t.Errorf("the secret holds another certificate: %v", err)
	}

	two := newPair(t, "gateway.example.test", elliptic.P384())
	keyText, certText := two.pem(t)
	renewed, err := c.ImportCertificate(ctx, "service", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: to.Ptr(keyText + certText),
		CertificatePolicy: &azcertificates.CertificatePolicy{SecretProperties: &azcertificates.SecretProperties{ContentType: to.Ptr(typePEM)}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if secret, err := f.secrets("instance").GetSecret(ctx, "service", "", nil); err != nil || *secret.Value != keyText+certText || secret.ID.Version() != renewed.ID.Version() {
		t.Errorf("the secret was not renewed: %v", err)
	}
	if secret, err := f.secrets("instance").GetSecret(ctx, "service", got.ID.Version(), nil); err != nil || base64.StdEncoding.EncodeToString(der) != *secret.Value {
		t.Errorf("the first version's secret is another: %v", err)
	}
	if page, err := c.NewListCertificatePropertiesVersionsPager("service", nil).NextPage(ctx); err != nil || len(page.Value) != 2 || page.Value[0].ID.Version() != renewed.ID.Version() {
		t.Errorf("versions %+v, %v", page.Value, err)
	}
	_, err = f.certificates("instance").GetCertificate(ctx, "service", "", nil)
	refused(t, err, "Forbidden")
}

func TestACertificateTakesItsSecretAlong(t *testing.T) {
	f := newFixture(t)
	ctx, c, s := t.Context(), f.certificates("manager"), f.secrets("manager")
	p := newPair(t, "gateway.example.test", elliptic.P256())
	load := func(name string) error {
		_, err := c.ImportCertificate(ctx, name, azcertificates.ImportCertificateParameters{Base64EncodedCertificate: to.Ptr(p.pfx(t, ""))}, nil)
		return err
	}
	if err := load("service"); err != nil {
		t.Fatal(err)
	}
	_, err := s.SetSecret(ctx, "service", azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil)
	refused(t, err, "Forbidden")
	_, err = s.DeleteSecret(ctx, "service", nil)
	refused(t, err, "Forbidden")
	if _, err := s.SetSecret(ctx, "other", azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil); err != nil {
		t.Fatal(err)
	}
	refused(t, load("other"), "Conflict")

	disabled := azcertificates.UpdateCertificateParameters{CertificateAttributes: &azcertificates.CertificateAttributes{Enabled: to.Ptr(false)}}
	if _, err := c.UpdateCertificate(ctx, "service", "", disabled, nil); err != nil {
		t.Fatal(err)
	}
	_, err = s.GetSecret(ctx, "service", "", nil)
	refused(t, err, "Forbidden")
	disabled.CertificateAttributes.Enabled = to.Ptr(true)
	if _, err := c.UpdateCertificate(ctx, "service", "", disabled, nil); err != nil {
		t.Fatal(err)
	}

	if _, err := c.DeleteCertificate(ctx, "service", nil); err != nil {
		t.Fatal(err)
	}
	_, err = s.GetSecret(ctx, "service", "", nil)
	refused(t, err, "SecretNotFound")
	_, err = s.PurgeDeletedSecret(ctx, "service", nil)
	refused(t, err, "Forbidden")
	refused(t, load("service"), "Conflict")
	if _, err := c.RecoverDeletedCertificate(ctx, "service", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetSecret(ctx, "service", "", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteCertificate(ctx, "service", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PurgeDeletedCertificate(ctx, "service", nil); err != nil {
		t.Fatal(err)
	}
	_, err = s.GetDeletedSecret(ctx, "service", nil)
	refused(t, err, "DeletedSecretNotFound")
	if err := load("service"); err != nil {
		t.Error(err)
	}
}
