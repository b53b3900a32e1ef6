package fabric

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// A plane is the control plane of a running fabric, as its owner asks it.
type plane struct {
	*running
	token string
	http  *http.Client
}

func (r *running) control() *plane {
	r.t.Helper()
	token, err := r.owner(r.options(r.Ready().Management, r.Ready().Login)).GetToken(r.t.Context(), azpolicy.TokenRequestOptions{Scopes: []string{r.Ready().Management + "/.default"}})
	if err != nil {
		r.t.Fatal(err)
	}
	p := &plane{r, token.Token, r.client()}
	p.want("PUT", "/resourcegroups/g?api-version=2021-04-01", `{"location":"local"}`, 201, "")
	return p
}

// do asks for a path below the subscription; one without "?" is below the group's providers and gets a version.
func (p *plane) do(method, path, body string) (status int, answer *document.Object) {
	p.t.Helper()
	if !strings.Contains(path, "?") {
		path = "/resourcegroups/g/providers/" + path + map[bool]string{true: "?api-version=2023-07-01", false: "?api-version=2023-05-01"}[strings.Contains(path, "KeyVault")]
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.Ready().Management+"/subscriptions/"+p.Ready().Subscription+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	answer = &document.Object{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, answer); err != nil {
			p.t.Fatalf("%s %s: %s", method, path, text)
		}
	}
	return resp.StatusCode, answer
}

func (p *plane) want(method, path, body string, status int, code string) *document.Object {
	p.t.Helper()
	got, answer := p.do(method, path, body)
	if got != status || answer.String("error", "code") != code {
		p.t.Errorf("%s %s: %d %s, want %d %q", method, path, got, document.Text(answer), status, code)
	}
	return answer
}

// vaultBody is a vault with changes of its properties, as the rest of an object.
func (p *plane) vaultBody(properties string) string {
	return `{"location":"local","properties":{"tenantId":"` + p.Ready().Tenant + `","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7` + properties + `}}`
}

func (p *plane) policies() string {
	owner, err := ReadOwner(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	return `,"accessPolicies":[{"tenantId":"` + p.Ready().Tenant + `","objectId":"` + owner.Object + `","permissions":{"secrets":["all"]}}]`
}

const vaultPath = "Microsoft.KeyVault/vaults/"

func TestVaultsAreRefusedAsInAzure(t *testing.T) {
	p := run(t, t.TempDir(), 0).control()
	for name, tt := range map[string]struct {
		vault, properties string
		code              string
	}{
		"purge protection that is off": {"vault-a", p.policies() + `,"enablePurgeProtection":false`, "BadRequest"},
		"soft delete that is off":      {"vault-a", p.policies() + `,"enableSoftDelete":false`, "BadRequest"},
		"no policies":                  {"vault-a", "", "BadRequest"},
		"a permission of no kind":      {"vault-a", strings.Replace(p.policies(), `"all"`, `"fetch"`, 1), "BadRequest"},
		"a name that is none":          {"vault--a", p.policies(), "VaultNameNotValid"},
		"what is not there":            {"vault-a", `,"createMode":"recover"`, "DeletedVaultNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			q := *p
			r := *p.running
			q.running, r.t = &r, t
			status := 400
			if tt.code == "DeletedVaultNotFound" {
				status = 404
			}
			q.want("PUT", vaultPath+tt.vault, q.vaultBody(tt.properties), status, tt.code)
			q.want("GET", vaultPath+tt.vault, "", 404, "ResourceNotFound")
		})
	}
}

func TestALifeOfAVault(t *testing.T) {
	p := run(t, t.TempDir(), 0).control()
	name := `{"name":"vault-a","type":"Microsoft.KeyVault/vaults"}`
	const check = "/providers/Microsoft.KeyVault/checkNameAvailability?api-version=2023-07-01"
	if got := p.want("POST", check, name, 200, ""); document.Text(got) != `{"nameAvailable":true}` {
		t.Errorf("name %s", document.Text(got))
	}
	p.want("PUT", vaultPath+"vault-a", p.vaultBody(p.policies()), 201, "")
	if got := p.want("POST", check, name, 200, ""); got.String("reason") != "AlreadyExists" {
		t.Errorf("name %s", document.Text(got))
	}
	// A PUT without policies takes them away, as everywhere: it is the whole vault.
	if got := p.want("PUT", vaultPath+"vault-a", p.vaultBody(`,"accessPolicies":[]`), 200, ""); len(got.Array("properties", "accessPolicies")) != 0 {
		t.Errorf("vault %s", document.Text(got))
	}
	p.want("PUT", vaultPath+"vault-a", p.vaultBody(p.policies()), 200, "")
	o := p.options(p.Ready().Management, p.Ready().Login)
	p.useVault(o, p.owner(o), "https://vault-a."+p.Ready().Vaults, "kept")

	p.want("DELETE", vaultPath+"vault-a", "", 200, "")
	p.want("GET", vaultPath+"vault-a", "", 404, "ResourceNotFound")
	p.want("PUT", vaultPath+"vault-a", p.vaultBody(p.policies()), 409, "ConflictError")
	const deleted = "/providers/Microsoft.KeyVault/locations/local/deletedVaults/vault-a"
	if got := p.want("GET", "/providers/Microsoft.KeyVault/deletedVaults?api-version=2023-07-01", "", 200, ""); len(got.Array("value")) != 1 {
		t.Errorf("deleted vaults %s", document.Text(got))
	}
	p.want("GET", deleted+"?api-version=2023-07-01", "", 200, "")
	p.want("PUT", vaultPath+"vault-a", p.vaultBody(`,"createMode":"recover"`), 201, "")
	secrets, err := azsecrets.NewClient("https://vault-a."+p.Ready().Vaults, p.owner(o), &azsecrets.ClientOptions{ClientOptions: o})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := secrets.GetSecret(t.Context(), "password", "", nil); err != nil || *got.Value != "kept" {
		t.Errorf("recovered %v, %v", got.Value, err)
	}
	p.want("DELETE", vaultPath+"vault-a", "", 200, "")
	p.want("POST", deleted+"/purge?api-version=2023-07-01", "", 200, "")
	p.want("GET", deleted+"?api-version=2023-07-01", "", 404, "DeletedVaultNotFound")
	p.want("PUT", vaultPath+"vault-a", p.vaultBody(p.policies()), 201, "")
	if _, err := secrets.GetSecret(t.Context(), "password", "", nil); err == nil {
		t.Error("a secret of the purged vault is still there")
	}
}

const accountPath = "Microsoft.Storage/storageAccounts/"

func TestStorageIsRefusedAsInAzure(t *testing.T) {
	p := run(t, t.TempDir(), 0).control()
	body := func(kind, sku, properties string) string {
		return `{"location":"local","kind":"` + kind + `","sku":{"name":"` + sku + `"},"properties":{` + properties + `}}`
	}
	p.want("PUT", accountPath+"BadName", body("StorageV2", "Standard_LRS", ""), 400, "AccountNameInvalid")
	p.want("PUT", accountPath+"one", body("FileStorage", "Standard_LRS", ""), 400, "InvalidRequestPropertyValue")
	p.want("PUT", accountPath+"one", body("StorageV2", "Standard_GRS", ""), 400, "SkuNotAvailable")
	p.want("PUT", accountPath+"one", body("StorageV2", "Standard_LRS", `"minimumTlsVersion":"TLS1_0"`), 400, "InvalidRequestPropertyValue")
	p.want("PUT", accountPath+"one", body("StorageV2", "Standard_LRS", `"supportsHttpsTrafficOnly":false`), 400, "InvalidRequestPropertyValue")
	p.want("PUT", accountPath+"one/blobServices/default/containers/content", "{}", 404, "ParentResourceNotFound")
	p.want("PUT", accountPath+"one", body("StorageV2", "Standard_LRS", `"allowSharedKeyAccess":false`), 201, "")
	p.want("GET", accountPath+"one/blobServices/default", "", 200, "")
	p.want("PUT", accountPath+"one/blobServices/other/containers/content", "{}", 404, "ParentResourceNotFound")
	p.want("PUT", accountPath+"one/blobServices/default/containers/content", "{}", 201, "")
	p.want("PUT", accountPath+"one/blobServices/default/containers/Bad_", "{}", 400, "InvalidResourceName")

	// Keys can be listed, and open nothing as long as they are off.
	keys := p.want("POST", accountPath+"one/listKeys", "", 200, "").Array("keys")
	if len(keys) != 2 {
		t.Fatalf("%d keys", len(keys))
	}
	credential, err := azblob.NewSharedKeyCredential("one", keys[0].(*document.Object).String("value"))
	if err != nil {
		t.Fatal(err)
	}
	o := p.options(p.Ready().Management, p.Ready().Login)
	blobs, err := azblob.NewClientWithSharedKeyCredential("https://one."+p.Ready().Blobs+"/", credential, &azblob.ClientOptions{ClientOptions: o})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blobs.UploadBuffer(t.Context(), "content", "b", []byte("x"), nil); err == nil || !strings.Contains(err.Error(), "KeyBasedAuthenticationNotPermitted") {
		t.Errorf("a key that is off: %v", err)
	}
	p.want("PATCH", accountPath+"one", `{"properties":{"allowSharedKeyAccess":true}}`, 200, "")
	if _, err := blobs.UploadBuffer(t.Context(), "content", "b", []byte("x"), nil); err != nil {
		t.Error(err)
	}
	p.want("POST", accountPath+"one/regenerateKey", `{"keyName":"key1"}`, 200, "")
	if _, err := blobs.UploadBuffer(t.Context(), "content", "b", []byte("x"), nil); err == nil {
		t.Error("a key that was replaced is still good")
	}
	p.want("DELETE", accountPath+"one", "", 200, "")
	p.want("GET", accountPath+"one/blobServices/default/containers/content", "", 404, "ResourceNotFound")
	p.want("PUT", accountPath+"one", body("StorageV2", "Standard_LRS", ""), 201, "")
	if _, err := blobs.ServiceClient().NewContainerClient("content").GetProperties(t.Context(), nil); err == nil {
		t.Error("the container of the deleted account is there again")
	}
}

// An identity's tokens and roles end with it.
func TestIdentitiesGoWithTheirResource(t *testing.T) {
	p := run(t, t.TempDir(), 0).control()
	const path = "/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/gateway?api-version=2023-01-31"
	made := p.want("PUT", path, `{"location":"local"}`, 201, "").Object("properties")
	if made.String("tenantId") != p.Ready().Tenant || made.String("principalId") == "" || made.String("clientId") == "" {
		t.Fatalf("identity %s", document.Text(made))
	}
	if again := p.want("PUT", path, `{"location":"local"}`, 200, "").Object("properties"); again.String("principalId") != made.String("principalId") {
		t.Error("a second PUT made another principal")
	}
	assignment := "/resourcegroups/g/providers/Microsoft.Authorization/roleAssignments/" + azure.NewGUID() + "?api-version=2022-04-01"
	p.want("PUT", assignment, `{"properties":{"principalId":"`+made.String("principalId")+`","roleDefinitionId":"acdd72a7-3385-48ef-bd42-f606fba81ae7"}}`, 201, "")
	p.want("DELETE", path, "", 200, "")
	p.want("GET", assignment, "", 404, "RoleAssignmentNotFound")
	p.want("PUT", assignment, `{"properties":{"principalId":"`+made.String("principalId")+`","roleDefinitionId":"acdd72a7-3385-48ef-bd42-f606fba81ae7"}}`, 400, "PrincipalNotFound")
	if again := p.want("PUT", path, `{"location":"local"}`, 201, "").Object("properties"); again.String("principalId") == made.String("principalId") {
		t.Error("a deleted principal came back")
	}
}
