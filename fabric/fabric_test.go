package fabric

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A running fabric is one on a free port of this machine.
type running struct {
	*Fabric
	t    *testing.T
	dir  string
	stop func()
}

func run(t *testing.T, dir string, port int) *running {
	t.Helper()
	f, err := Open(t.Context(), Config{Dir: dir, Listen: "127.0.0.1", Port: port, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx) }()
	r := &running{Fabric: f, t: t, dir: dir}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-served, f.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// client trusts the fabric, and finds it whatever the system makes of its names.
func (r *running) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.Ready().CA)
	address := r.listener.Addr().String()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// options are what Azure's clients need, with planes at these addresses.
func (r *running) options(management, login string) azcore.ClientOptions {
	return azcore.ClientOptions{Transport: r.client(), Retry: azpolicy.RetryOptions{MaxRetries: -1}, Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: login + "/",
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: management, Audience: management}}}}
}

func (r *running) owner(o azcore.ClientOptions) azcore.TokenCredential {
	r.t.Helper()
	owner, err := ReadOwner(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := azidentity.NewClientSecretCredential(r.Ready().Tenant, owner.Client, owner.Secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// deploy runs a template in the group "g", and returns its outputs.
func (r *running) deploy(o azcore.ClientOptions, who azcore.TokenCredential, template map[string]any, parameters map[string]any) map[string]any {
	r.t.Helper()
	ctx, options := r.t.Context(), &arm.ClientOptions{ClientOptions: o, DisableRPRegistration: true}
	groups, err := armresources.NewResourceGroupsClient(r.Ready().Subscription, who, options)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := groups.CreateOrUpdate(ctx, "g", armresources.ResourceGroup{Location: to.Ptr("local")}, nil); err != nil {
		r.t.Fatal(err)
	}
	deployments, err := armresources.NewDeploymentsClient(r.Ready().Subscription, who, options)
	if err != nil {
		r.t.Fatal(err)
	}
	poller, err := deployments.BeginCreateOrUpdate(ctx, "g", "d", armresources.Deployment{Properties: &armresources.DeploymentProperties{Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template, Parameters: parameters}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
	if err != nil {
		r.t.Fatal(err)
	}
	outputs, _ := got.Properties.Outputs.(map[string]any)
	return outputs
}

func list(all ...any) []any { return all }

// foundation is a template of what a gateway stands on.
func foundation() object {
	return object{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"parameters": object{"owner": object{"type": "string"}},
		"resources": list(
			object{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31", "name": "gateway", "location": "[resourceGroup().location]"},
			object{"type": "Microsoft.KeyVault/vaults", "apiVersion": "2023-07-01", "name": "vault-one", "location": "[resourceGroup().location]", "properties": object{
				"tenantId": "[subscription().tenantId]", "sku": object{"family": "A", "name": "standard"}, "enableRbacAuthorization": false, "softDeleteRetentionInDays": 7, "accessPolicies": list(
					object{"tenantId": "[subscription().tenantId]", "objectId": "[parameters('owner')]", "permissions": object{"secrets": list("all"), "certificates": list("all")}},
					object{"tenantId": "[subscription().tenantId]", "objectId": "[reference('gateway').principalId]", "permissions": object{"secrets": list("get")}})}},
			object{"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-05-01", "name": "contentone", "location": "[resourceGroup().location]", "kind": "StorageV2", "sku": object{"name": "Standard_LRS"},
				"properties": object{"allowSharedKeyAccess": false, "allowBlobPublicAccess": false, "minimumTlsVersion": "TLS1_2"}},
			object{"type": "Microsoft.Storage/storageAccounts/blobServices/containers", "apiVersion": "2023-05-01", "name": "contentone/default/content", "dependsOn": list("contentone")},
			object{"type": "Microsoft.Storage/storageAccounts/tableServices/tables", "apiVersion": "2023-05-01", "name": "contentone/default/log", "dependsOn": list("contentone")},
			object{"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "[guid(resourceGroup().id, 'blobs')]", "scope": "Microsoft.Storage/storageAccounts/contentone", "dependsOn": list("contentone"),
				"properties": object{"principalId": "[parameters('owner')]", "principalType": "ServicePrincipal",
					"roleDefinitionId": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')]"}},
		),
		"outputs": object{"vault": object{"type": "string", "value": "[reference('vault-one').vaultUri]"}, "blobs": object{"type": "string", "value": "[reference('contentone').primaryEndpoints.blob]"},
			"client": object{"type": "string", "value": "[reference('gateway').clientId]"}}}
}

func output(outputs map[string]any, name string) string {
	o, _ := outputs[name].(map[string]any)
	text, _ := o["value"].(string)
	return text
}

func TestAzuresClientsWorkWithItByName(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir, 0)
	o := r.options(r.Ready().Management, r.Ready().Login)
	who := r.owner(o)
	owner, _ := ReadOwner(dir)
	outputs := r.deploy(o, who, foundation(), object{"owner": object{"value": owner.Object}})
	if output(outputs, "vault") != "https://vault-one."+r.Ready().Vaults+"/" || output(outputs, "blobs") != "https://contentone."+r.Ready().Blobs+"/" || output(outputs, "client") == "" {
		t.Fatalf("outputs %v", outputs)
	}
	r.useVault(o, who, output(outputs, "vault"), "one")
	r.useBlobs(o, who, output(outputs, "blobs"))

	// What was made is there when it is started again.
	port := r.names.port
	r.stop()
	r = run(t, dir, port)
	o = r.options(r.Ready().Management, r.Ready().Login)
	who = r.owner(o)
	if again, _ := ReadOwner(dir); again != owner {
		t.Error("the owner is another")
	}
	outputs = r.deploy(o, who, foundation(), object{"owner": object{"value": owner.Object}})
	r.useVault(o, who, output(outputs, "vault"), "two")
}

// useVault sets a secret and reads it.
func (r *running) useVault(o azcore.ClientOptions, who azcore.TokenCredential, url, value string) {
	r.t.Helper()
	secrets, err := azsecrets.NewClient(url, who, &azsecrets.ClientOptions{ClientOptions: o})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := secrets.SetSecret(r.t.Context(), "password", azsecrets.SetSecretParameters{Value: &value}, nil); err != nil {
		r.t.Fatal(err)
	}
	if got, err := secrets.GetSecret(r.t.Context(), "password", "", nil); err != nil || *got.Value != value {
		r.t.Errorf("secret %v, %v", got.Value, err)
	}
}

// useBlobs writes a blob and reads it.
func (r *running) useBlobs(o azcore.ClientOptions, who azcore.TokenCredential, url string) {
	r.t.Helper()
	blobs, err := azblob.NewClient(url, who, &azblob.ClientOptions{ClientOptions: o})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := blobs.UploadBuffer(r.t.Context(), "content", "folder/file", []byte("hello"), nil); err != nil {
		r.t.Fatal(err)
	}
	got, err := blobs.DownloadStream(r.t.Context(), "content", "folder/file", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer got.Body.Close()
	if text, err := io.ReadAll(got.Body); err != nil || string(text) != "hello" {
		r.t.Errorf("blob %q, %v", text, err)
	}
}

// Where a system does not know the names, the machine's address serves all planes.
func TestAzuresClientsWorkWithItByAddress(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir, 0)
	base := "https://" + r.listener.Addr().String()
	o := r.options(base, base)
	who := r.owner(o)
	owner, _ := ReadOwner(dir)
	r.deploy(o, who, foundation(), object{"owner": object{"value": owner.Object}})
	secrets, err := azsecrets.NewClient(base+"/vault-one.vault", who, &azsecrets.ClientOptions{ClientOptions: o, DisableChallengeResourceVerification: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.SetSecret(t.Context(), "s", azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil); err != nil {
		t.Error(err)
	}
	r.useBlobs(o, who, base+"/contentone.blob")
	resp, err := r.client().Get(base + "/metadata/endpoints?api-version=2022-09-01")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), `"loginEndpoint":"`+base+`/"`) || !strings.Contains(string(text), `"resourceManager":"`+base+`/"`) {
		t.Errorf("metadata %s, %v", text, err)
	}
}

func TestStrangersGetNothing(t *testing.T) {
	r := run(t, t.TempDir(), 0)
	c := r.client()
	n := r.Ready()
	for url, want := range map[string]int{
		n.Management + "/subscriptions/" + n.Subscription + "/resourcegroups?api-version=2021-04-01": 401,
		n.Graph + "/v1.0/applications":                                      401,
		"https://any." + n.Vaults + "/secrets?api-version=7.5":              401,
		"https://any." + n.Blobs + "/content/blob":                          404,
		"https://other." + Domain + "/":                                     404,
		"https://evil.example/":                                             404,
		n.Management + "/metadata/endpoints?api-version=2015-01-01":         200,
		n.Login + "/" + n.Tenant + "/v2.0/.well-known/openid-configuration": 200,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if request.Host = request.URL.Host; !strings.Contains(url, Domain) || strings.Contains(url, "other.") {
			request.URL.Host = "localhost" // the certificate is not for it
		}
		resp, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, resp.StatusCode, want)
		}
	}
}

func TestTheOwnersFileIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir, 0)
	first, err := ReadOwner(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := os.Remove(filepath.Join(dir, ownerFile)); err != nil {
		t.Fatal(err)
	}
	r = run(t, dir, 0)
	second, err := ReadOwner(dir)
	if err != nil || second.Object != first.Object || second.Secret == first.Secret {
		t.Fatalf("owner %+v, %v", second, err)
	}
	// The secret that may be in somebody else's hands is worth nothing any more.
	o := r.options(r.Ready().Management, r.Ready().Login)
	old, err := azidentity.NewClientSecretCredential(r.Ready().Tenant, first.Client, first.Secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.GetToken(t.Context(), azpolicy.TokenRequestOptions{Scopes: []string{r.Ready().Management + "/.default"}}); err == nil {
		t.Error("the old secret is still good")
	}
	if _, err := r.owner(o).GetToken(t.Context(), azpolicy.TokenRequestOptions{Scopes: []string{r.Ready().Management + "/.default"}}); err != nil {
		t.Error(err)
	}
}
