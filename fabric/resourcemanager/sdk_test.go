package resourcemanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armlocks"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A credential is somebody's; it gives tokens for this plane alone.
type credential string

func (c credential) GetToken(_ context.Context, o azpolicy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !slices.Equal(o.Scopes, []string{management + "/.default"}) {
		return azcore.AccessToken{}, fmt.Errorf("a token for %q was asked for", o.Scopes)
	}
	return azcore.AccessToken{Token: string(c), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// options are what a client of Azure's needs to find the plane. Providers are registered by hand.
func (f *fixture) options() *arm.ClientOptions {
	return &arm.ClientOptions{DisableRPRegistration: true, ClientOptions: azcore.ClientOptions{Transport: f.client(), Retry: azpolicy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: "https://login.test:9443/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: management, Audience: management}}}}}
}

// client is a client of Azure's, or the end of the test.
func client[C any](c *C, err error) *C {
	if err != nil {
		panic(err)
	}
	return c
}

// done waits for what a poller polls, asking often: the plane itself says once a second.
func done[R any](t *testing.T, p *runtime.Poller[R], err error) (R, error) {
	t.Helper()
	var none R
	if err != nil {
		return none, err
	}
	for deadline := time.Now().Add(30 * time.Second); !p.Done(); time.Sleep(5 * time.Millisecond) {
		if _, err := p.Poll(t.Context()); err != nil {
			return none, err
		}
		if time.Now().After(deadline) {
			return none, errors.New("not within 30 s")
		}
	}
	return p.Result(t.Context())
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.ErrorCode != code {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func TestGroupsAndResourcesByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	groups := client(armresources.NewResourceGroupsClient(testSub, credential("owner"), f.options()))
	made, err := groups.CreateOrUpdate(ctx, "h", armresources.ResourceGroup{Location: to.Ptr("North Europe"), Tags: map[string]*string{"a": to.Ptr("1")}}, nil)
	if err != nil || *made.Properties.ProvisioningState != stateSucceeded || *made.Location != "northeurope" {
		t.Fatalf("group %+v, %v", made, err)
	}
	if got, err := groups.CheckExistence(ctx, "h", nil); err != nil || !got.Success {
		t.Errorf("CheckExistence = %v, %v", got.Success, err)
	}
	if got, err := groups.CheckExistence(ctx, "none", nil); err != nil || got.Success {
		t.Errorf("CheckExistence of nothing = %v, %v", got.Success, err)
	}
	if page, err := groups.NewListPager(nil).NextPage(ctx); err != nil || len(page.Value) != 2 {
		t.Errorf("%d groups, %v", len(page.Value), err)
	}
	if got, err := groups.Update(ctx, "h", armresources.ResourceGroupPatchable{Tags: map[string]*string{"b": to.Ptr("2")}}, nil); err != nil || len(got.Tags) != 1 || *got.Tags["b"] != "2" {
		t.Errorf("Update = %v, %v", got.Tags, err)
	}

	resources := client(armresources.NewClient(testSub, credential("owner"), f.options()))
	id := "/subscriptions/" + testSub + "/resourceGroups/h/providers/" + slow + "/s"
	poller, err := resources.BeginCreateOrUpdateByID(ctx, id, "2024-01-01", armresources.GenericResource{Location: to.Ptr("northeurope"), Properties: map[string]any{"size": 1}}, nil)
	s, err := done(t, poller, err)
	if err != nil || s.Properties.(map[string]any)["provisioningState"] != stateSucceeded || s.Properties.(map[string]any)["color"] != "white" {
		t.Fatalf("resource %+v, %v", s, err)
	}
	update, err := resources.BeginUpdateByID(ctx, id, "2024-01-01", armresources.GenericResource{Tags: map[string]*string{"x": to.Ptr("y")}}, nil)
	if s, err := done(t, update, err); err != nil || *s.Tags["x"] != "y" {
		t.Errorf("update %+v, %v", s, err)
	}
	if got, err := resources.GetByID(ctx, id, "2024-01-01", nil); err != nil || *got.ID != id || *got.Type != slow {
		t.Errorf("GetByID = %+v, %v", got, err)
	}
	if page, err := resources.NewListByResourceGroupPager("h", nil).NextPage(ctx); err != nil || len(page.Value) != 1 {
		t.Errorf("%d resources, %v", len(page.Value), err)
	}
	f.world.set(func() { f.world.inUse["s"] = true })
	_, err = resources.BeginDeleteByID(ctx, id, "2024-01-01", nil)
	refused(t, err, "InUse")
	f.world.set(func() { f.world.inUse["s"] = false })
	removal, err := resources.BeginDeleteByID(ctx, id, "2024-01-01", nil)
	if _, err := done(t, removal, err); err != nil {
		t.Error(err)
	}
	_, err = resources.GetByID(ctx, id, "2024-01-01", nil)
	refused(t, err, "ResourceNotFound")
	gone, err := groups.BeginDelete(ctx, "h", nil)
	if _, err := done(t, gone, err); err != nil {
		t.Error(err)
	}
	_, err = groups.Get(ctx, "h", nil)
	refused(t, err, "ResourceGroupNotFound")
}

func TestDeploymentsByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	deployments := client(armresources.NewDeploymentsClient(testSub, credential("owner"), f.options()))
	var template map[string]any
	if err := json.Unmarshal([]byte(templateText(`"parameters":{"n":{"type":"int"}},"resources":[`+thingText(thing, "[format('t{0}', copyIndex())]", `,"copy":{"name":"c","count":"[parameters('n')]"}`)+`],
		"outputs":{"last":{"type":"string","value":"[reference(format('t{0}', sub(parameters('n'), 1))).address]"}}`)), &template); err != nil {
		t.Fatal(err)
	}
	order := armresources.Deployment{Properties: &armresources.DeploymentProperties{Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template, Parameters: map[string]any{"n": map[string]any{"value": 3}}}}
	validation, err := deployments.BeginValidate(ctx, "g", "d", order, nil)
	if got, err := done(t, validation, err); err != nil || got.Error != nil || *got.Properties.ProvisioningState != armresources.ProvisioningStateSucceeded {
		t.Errorf("validate %+v, %v", got, err)
	}
	forecast, err := deployments.BeginWhatIf(ctx, "g", "d", armresources.DeploymentWhatIf{Properties: &armresources.DeploymentWhatIfProperties{Mode: order.Properties.Mode, Template: template, Parameters: order.Properties.Parameters}}, nil)
	if got, err := done(t, forecast, err); err != nil || len(got.Properties.Changes) != 3 || *got.Properties.Changes[0].ChangeType != armresources.ChangeTypeCreate {
		t.Errorf("what-if %+v, %v", got, err)
	}
	poller, err := deployments.BeginCreateOrUpdate(ctx, "g", "d", order, nil)
	got, err := done(t, poller, err)
	if err != nil || *got.Properties.ProvisioningState != armresources.ProvisioningStateSucceeded || len(got.Properties.OutputResources) != 3 ||
		got.Properties.Outputs.(map[string]any)["last"].(map[string]any)["value"] != "192.0.2.1/t2" {
		t.Fatalf("deployment %+v, %v", got.Properties, err)
	}
	operations := client(armresources.NewDeploymentOperationsClient(testSub, credential("owner"), f.options()))
	page, err := operations.NewListPager("g", "d", nil).NextPage(ctx)
	if err != nil || len(page.Value) != 3 || *page.Value[0].Properties.ProvisioningState != stateSucceeded || *page.Value[0].Properties.TargetResource.ResourceType != thing {
		t.Errorf("operations %+v, %v", page.Value, err)
	}
	f.world.set(func() { f.world.broken["t1"] = true })
	poller, err = deployments.BeginCreateOrUpdate(ctx, "g", "e", order, nil)
	_, err = done(t, poller, err)
	refused(t, err, "DeploymentFailed")
	order.Properties.Parameters = nil
	_, err = deployments.BeginCreateOrUpdate(ctx, "g", "d", order, nil)
	refused(t, err, "InvalidTemplate")
	removal, err := deployments.BeginDelete(ctx, "g", "d", nil)
	if _, err := done(t, removal, err); err != nil {
		t.Error(err)
	}
	if got, err := deployments.CheckExistence(ctx, "g", "d", nil); err != nil || got.Success {
		t.Errorf("CheckExistence = %v, %v", got.Success, err)
	}
}

func TestRolesAndLocksByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	assignments := client(armauthorization.NewRoleAssignmentsClient(testSub, credential("owner"), f.options()))
	name := azure.NewGUID()
	properties := armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{PrincipalID: to.Ptr(principals["stranger"].Object),
		RoleDefinitionID: to.Ptr("/subscriptions/" + testSub + "/providers/" + roleType + "/" + access.Reader), PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal)}}
	if _, err := assignments.Create(ctx, group1, name, properties, nil); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("stranger", "GET", group1, ""), 200, "")
	_, err := assignments.Create(ctx, group1, azure.NewGUID(), properties, nil)
	refused(t, err, "RoleAssignmentExists")
	properties.Properties.PrincipalType = to.Ptr(armauthorization.PrincipalTypeUser)
	_, err = assignments.Create(ctx, group1, azure.NewGUID(), properties, nil)
	refused(t, err, "UnmatchedPrincipalType")
	properties.Properties.PrincipalID = to.Ptr(azure.NewGUID())
	_, err = assignments.Create(ctx, group1, azure.NewGUID(), properties, nil)
	refused(t, err, "PrincipalNotFound")
	page, err := assignments.NewListForScopePager(group1, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("principalId%20eq%20'" + principals["stranger"].Object + "'")}).NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].Name != name {
		t.Errorf("assignments %+v, %v", page.Value, err)
	}
	// It lies at the group, so it cannot be had by way of anything else.
	_, err = assignments.Get(ctx, "/subscriptions/"+testSub, name, nil)
	refused(t, err, "RoleAssignmentNotFound")
	if _, err := assignments.Delete(ctx, group1, name, nil); err != nil {
		t.Error(err)
	}
	f.want(f.do("stranger", "GET", group1, ""), 403, "AuthorizationFailed")

	roles := client(armauthorization.NewRoleDefinitionsClient(credential("owner"), f.options()))
	own := azure.NewGUID()
	if _, err := roles.CreateOrUpdate(ctx, group1, own, armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{RoleName: to.Ptr("Thing Keeper"), RoleType: to.Ptr("CustomRole"),
		AssignableScopes: []*string{to.Ptr(group1)}, Permissions: []*armauthorization.Permission{{Actions: []*string{to.Ptr("Causeway.Test/*")}}}}}, nil); err != nil {
		t.Fatal(err)
	}
	if page, err := roles.NewListPager(group1, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'Thing Keeper'")}).NextPage(ctx); err != nil || len(page.Value) != 1 || *page.Value[0].Name != own {
		t.Errorf("roles %+v, %v", page.Value, err)
	}
	_, err = roles.CreateOrUpdate(ctx, group1, azure.NewGUID(), armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{RoleName: to.Ptr("Beyond"),
		AssignableScopes: []*string{to.Ptr("/subscriptions/" + otherSub)}, Permissions: []*armauthorization.Permission{{Actions: []*string{to.Ptr("*")}}}}}, nil)
	refused(t, err, "AuthorizationFailed")

	locks := client(armlocks.NewManagementLocksClient(testSub, credential("owner"), f.options()))
	if _, err := locks.CreateOrUpdateAtResourceGroupLevel(ctx, "g", "l", armlocks.ManagementLockObject{Properties: &armlocks.ManagementLockProperties{Level: to.Ptr(armlocks.LockLevelReadOnly)}}, nil); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open()
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 409, "ScopeLocked")
	f.want(f.do("owner", "PUT", group1, `{"location":"westeurope"}`), 409, "ScopeLocked")
	f.want(f.do("owner", "DELETE", group1, ""), 409, "ScopeLocked")
	f.want(f.do("owner", "PUT", group1+"/providers/Microsoft.Authorization/roleAssignments/"+azure.NewGUID(), `{"properties":{"roleDefinitionId":"`+own+`","principalId":"`+principals["stranger"].Object+`"}}`), 409, "ScopeLocked")
	if page, err := locks.NewListAtResourceGroupLevelPager("g", nil).NextPage(ctx); err != nil || len(page.Value) != 1 {
		t.Errorf("locks %+v, %v", page.Value, err)
	}
	if _, err := locks.DeleteAtResourceGroupLevel(ctx, "g", "l", nil); err != nil {
		t.Error(err)
	}
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
}

func TestSubscriptionsAndProvidersByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	subscriptions := client(armsubscriptions.NewClient(credential("owner"), f.options()))
	page, err := subscriptions.NewListPager(nil).NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].SubscriptionID != testSub || *page.Value[0].State != armsubscriptions.SubscriptionStateEnabled {
		t.Errorf("subscriptions %+v, %v", page.Value, err)
	}
	if page, err := subscriptions.NewListLocationsPager(testSub, nil).NextPage(ctx); err != nil || len(page.Value) != 2 {
		t.Errorf("locations %+v, %v", page.Value, err)
	}
	tenants := client(armsubscriptions.NewTenantsClient(credential("owner"), f.options()))
	if page, err := tenants.NewListPager(nil).NextPage(ctx); err != nil || len(page.Value) != 1 || *page.Value[0].TenantID != testTenant {
		t.Errorf("tenants %+v, %v", page.Value, err)
	}
	providers := client(armresources.NewProvidersClient(testSub, credential("owner"), f.options()))
	if got, err := providers.Get(ctx, "causeway.test", nil); err != nil || *got.RegistrationState != "NotRegistered" || len(got.ResourceTypes) != 5 {
		t.Errorf("provider %+v, %v", got, err)
	}
	if got, err := providers.Register(ctx, "Causeway.Test", nil); err != nil || *got.RegistrationState != "Registered" {
		t.Errorf("registered %+v, %v", got, err)
	}
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	_, err = providers.Unregister(ctx, "Causeway.Test", nil)
	refused(t, err, "UnregisterProviderFailed")
}
