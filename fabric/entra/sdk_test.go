package entra

import (
	"context"
	"crypto"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// options lets Azure's own clients find the directory, as anybody's would who uses the fabric.
func (f *tenant) options() azcore.ClientOptions {
	return azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: f.login.URL + "/"}, Transport: f.login.Client(),
		Retry: policy.RetryOptions{MaxRetries: -1}}
}

func (f *tenant) tokenBy(t *testing.T, credential azcore.TokenCredential) (string, error) {
	t.Helper()
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{management + "/.default"}, EnableCAE: true})
	if err != nil {
		return "", err
	}
	if left := time.Until(token.ExpiresOn); left < 30*time.Minute || left > 25*time.Hour {
		t.Errorf("the client takes the token for good for %v", left)
	}
	return token.Token, nil
}

func TestAzuresClientGetsATokenByASecret(t *testing.T) {
	f := newTenant(t)
	credential, err := azidentity.NewClientSecretCredential(testTenant, f.app.App, f.secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: f.options(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := f.tokenBy(t, credential)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := f.Verify(token, management); err != nil || who.Object != f.who.Object {
		t.Errorf("Verify = %+v, %v", who, err)
	}
	wrong, err := azidentity.NewClientSecretCredential(testTenant, f.app.App, "wrong", &azidentity.ClientSecretCredentialOptions{ClientOptions: f.options(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.tokenBy(t, wrong); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestAzuresClientGetsATokenByACertificate(t *testing.T) {
	f := newTenant(t)
	key, der := newCertificate(t, rsaKey(2048), time.Now().Add(time.Hour))
	if err := f.SetKeys(t.Context(), f.app.Object, []Key{{DER: der}}); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := azidentity.NewClientCertificateCredential(testTenant, f.app.App, []*x509.Certificate{cert}, key.(crypto.PrivateKey),
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: f.options(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := f.tokenBy(t, credential)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(token, management); err != nil {
		t.Error(err)
	}
}

// An instance's client finds its endpoint in the environment, as in App Service.
func TestAzuresClientGetsATokenForAManagedIdentity(t *testing.T) {
	f := newTenant(t)
	p, err := f.CreateManagedIdentity(context.WithoutCancel(t.Context()), "instance", "/subscriptions/s/x")
	if err != nil {
		t.Fatal(err)
	}
	endpoint, header := f.NewEndpoint([]string{p.Object})
	server := httptest.NewServer(endpoint)
	defer server.Close()
	t.Setenv("IDENTITY_ENDPOINT", server.URL+AppServicePath)
	t.Setenv("IDENTITY_HEADER", header)
	resource := "https://" + p.Object + vaultHost // a name of this run alone: the client keeps tokens for as long as the process lives
	for name, id := range map[string]azidentity.ManagedIDKind{"the only one": nil, "by client id": azidentity.ClientID(p.App), "by object id": azidentity.ObjectID(p.Object), "by resource": azidentity.ResourceID(p.Resource)} {
		credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id, ClientOptions: azcore.ClientOptions{Transport: server.Client()}})
		if err != nil {
			t.Fatal(err)
		}
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if who, err := f.Verify(token.Token, resource); err != nil || who.Object != p.Object {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}
