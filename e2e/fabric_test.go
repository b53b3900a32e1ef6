//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fabricRun is a fabric as a user runs it, with the client of somebody who may do everything in it.
type fabricRun struct {
	t       *testing.T
	state   string
	address string // IP to listen on
	process *process
	http    *http.Client

	Address      string `json:"address"`
	Tenant       string `json:"tenant_id"`
	Subscription string `json:"subscription_id"`
	Management   string `json:"management_url"`
	Login        string `json:"login_url"`
	Vaults       string `json:"vault_host"`
	Blobs        string `json:"blob_host"`
	owner        struct {
		Object string `json:"object_id"`
		Client string `json:"client_id"`
		Secret string `json:"client_secret"`
	}

	mu     sync.Mutex
	tokens map[string]string // by scope
}

func newFabric(t *testing.T) *fabricRun {
	f := &fabricRun{t: t, state: filepath.Join(t.TempDir(), "state"), address: address()}
	f.start()
	return f
}

// start starts the fabric, and waits until it serves.
func (f *fabricRun) start() {
	f.t.Helper()
	dir := filepath.Join(f.state, "fabric")
	_ = os.Remove(filepath.Join(dir, "ready.json")) // of one that was killed
	f.process = start(f.t, command(f.t, binary, "fabric", "run", "--state", f.state, "--listen", f.address))
	eventually(f.t, 30*time.Second, "the fabric serves", func() bool {
		if f.process.ended() {
			f.t.Fatalf("fabric run ended: %v\n%s", f.process.err, f.process.out)
		}
		text, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		return err == nil && json.Unmarshal(text, f) == nil
	})
	if err := json.Unmarshal(readFile(f.t, filepath.Join(dir, "owner.json")), &f.owner); err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(readFile(f.t, filepath.Join(dir, "ca.crt")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, f.Address)
	}}
	f.t.Cleanup(transport.CloseIdleConnections)
	f.http = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	f.mu.Lock()
	f.tokens = make(map[string]string)
	f.mu.Unlock()
}

// kill ends the fabric as a crash does.
func (f *fabricRun) kill() {
	_ = f.process.cmd.Process.Kill()
	<-f.process.done
}

// token gets one for a scope, once.
func (f *fabricRun) token(scope string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if have := f.tokens[scope]; have != "" {
		return have, nil
	}
	resp, err := f.http.PostForm(f.Login+"/"+f.Tenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {f.owner.Client}, "client_secret": {f.owner.Secret}, "scope": {scope}})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		return "", fmt.Errorf("no token: %s, %v", resp.Status, err)
	}
	f.tokens[scope] = got.Token
	return got.Token, nil
}

// ask sends a request, and returns status 0 when nobody answered.
func (f *fabricRun) ask(scope, method, address, body string, header ...string) (status int, answer []byte) {
	token, err := f.token(scope)
	if err != nil {
		return 0, nil
	}
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := f.http.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, answer
}

// arm asks the control plane for something in the group "g".
func (f *fabricRun) arm(method, path, version, body string) (int, []byte) {
	return f.ask(f.Management+"/.default", method, f.Management+"/subscriptions/"+f.Subscription+"/resourcegroups/g"+path+"?api-version="+version, body)
}

func (f *fabricRun) secret(method, name, body string) (int, []byte) {
	return f.ask("https://"+f.Vaults+"/.default", method, "https://vault-one."+f.Vaults+"/secrets/"+name+"?api-version=7.5", body)
}

func (f *fabricRun) blob(method, name, body string) (int, []byte) {
	return f.ask("https://storage.azure.com/.default", method, "https://contentone."+f.Blobs+"/content/"+name, body, "x-ms-version", "2021-12-02", "x-ms-blob-type", "BlockBlob")
}

// lay makes what the rest stands on: a vault, and an account with a container that the owner may write to.
func (f *fabricRun) lay() {
	f.t.Helper()
	for _, s := range []struct{ path, version, body string }{
		{"", "2021-04-01", `{"location":"local"}`},
		{"/providers/Microsoft.KeyVault/vaults/vault-one", "2023-07-01", `{"location":"local","properties":{"tenantId":"` + f.Tenant + `","sku":{"family":"A","name":"standard"},"accessPolicies":[{"tenantId":"` +
			f.Tenant + `","objectId":"` + f.owner.Object + `","permissions":{"secrets":["all"]}}]}}`},
		{"/providers/Microsoft.Storage/storageAccounts/contentone", "2023-05-01", `{"location":"local","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`},
		{"/providers/Microsoft.Storage/storageAccounts/contentone/blobServices/default/containers/content", "2023-05-01", `{}`},
		{"/providers/Microsoft.Storage/storageAccounts/contentone/providers/Microsoft.Authorization/roleAssignments/10000000-0000-4000-8000-000000000001", "2022-04-01",
			`{"properties":{"principalId":"` + f.owner.Object + `","roleDefinitionId":"ba92f5b4-2d11-453d-a403-e96b0029c9fe"}}`},
	} {
		if status, answer := f.arm("PUT", s.path, s.version, s.body); status != 201 {
			f.t.Fatalf("%s: %d %s", s.path, status, answer)
		}
	}
}

// An acknowledged is what the fabric has acknowledged.
type acknowledged struct {
	mu          sync.Mutex
	secrets     map[string]string
	blobs       map[string]string
	deployments map[string]bool
}

// write has writers of each kind write until the context ends, and keeps what was acknowledged.
func (f *fabricRun) write(ctx context.Context, l *acknowledged, round int) *sync.WaitGroup {
	var work sync.WaitGroup
	each := func(do func(name string)) {
		work.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				do(fmt.Sprintf("r%dn%d", round, n))
			}
		})
	}
	keep := func(into func()) {
		l.mu.Lock()
		defer l.mu.Unlock()
		into()
	}
	each(func(name string) {
		if status, _ := f.secret("PUT", name, `{"value":"secret of `+name+`"}`); status == 200 {
			keep(func() { l.secrets[name] = "secret of " + name })
		}
	})
	each(func(name string) {
		text := strings.Repeat(name, 2000)
		if status, _ := f.blob("PUT", name, text); status == 201 {
			keep(func() { l.blobs[name] = text })
		}
	})
	each(func(name string) {
		if status, _ := f.arm("PUT", "/providers/Microsoft.Resources/deployments/"+name, "2021-04-01", identities(name)); status == 201 {
			keep(func() { l.deployments[name] = true })
		}
	})
	return &work
}

// identities is a deployment of three things, one after the other.
func identities(name string) string {
	template := `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[
		{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","apiVersion":"2023-01-31","name":"NAME-1","location":"local"},
		{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","apiVersion":"2023-01-31","name":"NAME-2","location":"local","tags":{"after":"[reference('NAME-1').clientId]"}},
		{"type":"Microsoft.Storage/storageAccounts/tableServices/tables","apiVersion":"2023-05-01","name":"contentone/default/NAME","dependsOn":["NAME-2"]}]}`
	return `{"properties":{"mode":"Incremental","template":` + strings.ReplaceAll(template, "NAME", name) + `}}`
}

// check looks whether everything that was acknowledged is there, whole, and whether what was begun has come to an end.
func (f *fabricRun) check(l *acknowledged) {
	f.t.Helper()
	for name, want := range l.secrets {
		status, answer := f.secret("GET", name, "")
		var got struct{ Value string }
		if status != 200 || json.Unmarshal(answer, &got) != nil || got.Value != want {
			f.t.Errorf("secret %s: %d %s", name, status, answer)
		}
	}
	for name, want := range l.blobs {
		if status, answer := f.blob("GET", name, ""); status != 200 || !bytes.Equal(answer, []byte(want)) {
			f.t.Errorf("blob %s: %d, %d bytes", name, status, len(answer))
		}
	}
	for name := range l.deployments {
		f.ended(name)
		for _, identity := range []string{name + "-1", name + "-2"} { // a directory has room for so many only
			if status, answer := f.arm("DELETE", "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+identity, "2023-01-31", ""); status != 200 {
				f.t.Errorf("delete %s: %d %s", identity, status, answer)
			}
		}
	}
}

// ended waits until a deployment has succeeded, and looks at all that it makes.
func (f *fabricRun) ended(name string) {
	f.t.Helper()
	eventually(f.t, 30*time.Second, "deployment "+name+" has ended", func() bool {
		status, answer := f.arm("GET", "/providers/Microsoft.Resources/deployments/"+name, "2021-04-01", "")
		if status != 200 || strings.Contains(string(answer), `"provisioningState":"Failed"`) {
			f.t.Fatalf("deployment %s: %d %s", name, status, answer)
		}
		return strings.Contains(string(answer), `"provisioningState":"Succeeded"`)
	})
	for path, version := range map[string]string{"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name + "-2": "2023-01-31",
		"/providers/Microsoft.Storage/storageAccounts/contentone/tableServices/default/tables/" + name: "2023-05-01"} {
		if status, answer := f.arm("GET", path, version, ""); status != 200 || !strings.Contains(string(answer), `"provisioningState":"Succeeded"`) {
			f.t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

// TestAKilledFabricLosesNothing kills it in the middle of writes and deployments: what it has acknowledged is there when it
// is started again, and what was begun comes to its end.
func TestAKilledFabricLosesNothing(t *testing.T) {
	t.Parallel()
	kills := 8
	if soak {
		kills = 200
	}
	f := newFabric(t)
	f.lay()
	random := rand.New(rand.NewPCG(1, 2))
	var secrets, blobs, deployments int
	for round := range kills {
		l := &acknowledged{secrets: make(map[string]string), blobs: make(map[string]string), deployments: make(map[string]bool)}
		ctx, cancel := context.WithCancel(t.Context())
		work := f.write(ctx, l, round)
		time.Sleep(time.Duration(20+random.IntN(400)) * time.Millisecond)
		f.kill()
		cancel()
		work.Wait()
		f.start()
		f.check(l)
		secrets, blobs, deployments = secrets+len(l.secrets), blobs+len(l.blobs), deployments+len(l.deployments)
	}
	t.Logf("%d kills: %d secrets, %d blobs and %d deployments that were acknowledged are there", kills, secrets, blobs, deployments)
	if secrets == 0 || blobs == 0 || deployments == 0 {
		t.Error("nothing was acknowledged, so nothing was tested")
	}
}
