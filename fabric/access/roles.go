package access

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// GUIDs of the roles that are built in, which are the same in every tenant
// (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles).
const (
	Owner                     = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor               = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                    = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdministrator   = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	RBACAdministrator         = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
	StorageBlobDataOwner      = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
	StorageBlobDataContribute = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	StorageBlobDataReader     = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	StorageTableDataContrib   = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
	StorageTableDataReader    = "76199698-9eea-4c19-bc75-cec21354c6b6"
	StorageAccountContributor = "17d1049b-9a84-46fb-8f53-869881c3d3ab"
	KeyVaultAdministrator     = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
	KeyVaultSecretsUser       = "4633458b-17de-408a-b874-0445c86b69e6"
	KeyVaultSecretsOfficer    = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	KeyVaultCertificateUser   = "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba"
	ManagedIdentityOperator   = "f1a07417-d97a-45cb-824c-7a7467783830"
	NetworkContributor        = "4d97b98b-1d4f-4787-a291-c67834d212e7"
	VirtualMachineContributor = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"
)

const (
	blobContainers = "Microsoft.Storage/storageAccounts/blobServices/containers/"
	tables         = "Microsoft.Storage/storageAccounts/tableServices/tables/"
)

var builtIn = []Role{
	role(Owner, "Owner", Permission{Actions: []string{"*"}}),
	role(Contributor, "Contributor", Permission{Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write",
		"Microsoft.Authorization/elevateAccess/Action", "Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
		"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete", "Microsoft.Resources/deploymentStacks/manageDenySetting/action"}}),
	role(Reader, "Reader", Permission{Actions: []string{"*/read"}}),
	role(UserAccessAdministrator, "User Access Administrator", Permission{Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}}),
	role(RBACAdministrator, "Role Based Access Control Administrator", Permission{Actions: []string{"Microsoft.Authorization/roleAssignments/write",
		"Microsoft.Authorization/roleAssignments/delete", "*/read", "Microsoft.Support/*"}}),
	role(StorageBlobDataOwner, "Storage Blob Data Owner", Permission{Actions: []string{blobContainers + "*", "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"},
		DataActions: []string{blobContainers + "blobs/*"}}),
	role(StorageBlobDataContribute, "Storage Blob Data Contributor", Permission{Actions: []string{blobContainers + "delete", blobContainers + "read", blobContainers + "write",
		"Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"}, DataActions: []string{blobContainers + "blobs/delete", blobContainers + "blobs/read",
		blobContainers + "blobs/write", blobContainers + "blobs/move/action", blobContainers + "blobs/add/action"}}),
	role(StorageBlobDataReader, "Storage Blob Data Reader", Permission{Actions: []string{blobContainers + "read", "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"},
		DataActions: []string{blobContainers + "blobs/read"}}),
	role(StorageTableDataContrib, "Storage Table Data Contributor", Permission{Actions: []string{tables + "read", tables + "write", tables + "delete"}, DataActions: []string{tables + "entities/read",
		tables + "entities/write", tables + "entities/delete", tables + "entities/add/action", tables + "entities/update/action"}}),
	role(StorageTableDataReader, "Storage Table Data Reader", Permission{Actions: []string{tables + "read"}, DataActions: []string{tables + "entities/read"}}),
	role(StorageAccountContributor, "Storage Account Contributor", Permission{Actions: append(common("Microsoft.Storage/storageAccounts/*"), "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action")}),
	role(KeyVaultAdministrator, "Key Vault Administrator", Permission{Actions: vaultActions, DataActions: []string{"Microsoft.KeyVault/vaults/*"}}),
	role(KeyVaultSecretsUser, "Key Vault Secrets User", Permission{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"}}),
	role(KeyVaultSecretsOfficer, "Key Vault Secrets Officer", Permission{Actions: vaultActions, DataActions: []string{"Microsoft.KeyVault/vaults/secrets/*"}}),
	role(KeyVaultCertificateUser, "Key Vault Certificate User", Permission{DataActions: []string{"Microsoft.KeyVault/vaults/certificates/read",
		"Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", "Microsoft.KeyVault/vaults/keys/read"}}),
	role(ManagedIdentityOperator, "Managed Identity Operator", Permission{Actions: common("Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action")}),
	role(NetworkContributor, "Network Contributor", Permission{Actions: common("Microsoft.Network/*")}),
	role(VirtualMachineContributor, "Virtual Machine Contributor", Permission{Actions: common("Microsoft.Compute/availabilitySets/*", "Microsoft.Compute/locations/*", "Microsoft.Compute/virtualMachines/*",
		"Microsoft.Compute/virtualMachineScaleSets/*", "Microsoft.Compute/cloudServices/*", "Microsoft.Compute/disks/write", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/delete",
		"Microsoft.Network/applicationGateways/backendAddressPools/join/action", "Microsoft.Network/loadBalancers/backendAddressPools/join/action", "Microsoft.Network/loadBalancers/inboundNatPools/join/action",
		"Microsoft.Network/loadBalancers/inboundNatRules/join/action", "Microsoft.Network/loadBalancers/probes/join/action", "Microsoft.Network/loadBalancers/read", "Microsoft.Network/locations/*",
		"Microsoft.Network/networkInterfaces/*", "Microsoft.Network/networkSecurityGroups/join/action", "Microsoft.Network/networkSecurityGroups/read", "Microsoft.Network/publicIPAddresses/join/action",
		"Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Storage/storageAccounts/listKeys/action",
		"Microsoft.Storage/storageAccounts/read")}),
}

var vaultActions = append(common("Microsoft.KeyVault/checkNameAvailability/read", "Microsoft.KeyVault/deletedVaults/read", "Microsoft.KeyVault/locations/*/read", "Microsoft.KeyVault/vaults/*/read"),
	"Microsoft.KeyVault/operations/read")

// common adds what most roles of a service have besides.
func common(actions ...string) []string {
	return append(actions, "Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.ResourceHealth/availabilityStatuses/read", "Microsoft.Resources/deployments/*",
		"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*")
}

func role(id, name string, p Permission) Role {
	return Role{ID: id, Name: name, BuiltIn: true, Permissions: []Permission{p}, Scopes: []string{"/"}}
}

// Role returns a role by its GUID.
func (c *Control) Role(id string) (Role, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r := c.roles[strings.ToLower(id)]
	if r == nil {
		return Role{}, false
	}
	return *r, true
}

// Roles lists the roles that can be assigned at a scope, by name.
func (c *Control) Roles(at azure.ID) []Role {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []Role
	for _, r := range c.roles {
		if r.assignable(at) {
			all = append(all, *r)
		}
	}
	slices.SortFunc(all, func(a, b Role) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all
}

func (r *Role) assignable(at azure.ID) bool {
	return slices.ContainsFunc(r.Scopes, func(s string) bool {
		scope, err := azure.ParseID(s)
		return err == nil && (at.Within(scope) || scope.Within(at))
	})
}

var (
	// isAction is an action, or a pattern of them.
	isAction = regexp.MustCompile(`^(\*|[A-Za-z0-9.*]+(/[A-Za-z0-9.*-]+)+)$`)
)

// PutRole makes or changes a role of a customer's.
func (c *Control) PutRole(ctx context.Context, r Role) error {
	if err := c.checkRole(&r); err != nil {
		return err
	}
	r.BuiltIn, r.Changed = false, c.now().UTC()
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.ToLower(r.ID)
	if old := c.roles[key]; old != nil && old.BuiltIn {
		return azure.Errorf(http.StatusForbidden, "RoleDefinitionCannotBeChanged", "The role definition '%s' is built in and cannot be changed.", r.ID)
	}
	if c.roles[key] == nil && len(c.roles)-len(builtIn) >= MaxRoles {
		return azure.Errorf(http.StatusBadRequest, "RoleDefinitionLimitExceeded", "The tenant has %d custom roles, which is the most.", MaxRoles)
	}
	for other, o := range c.roles {
		if other != key && strings.EqualFold(o.Name, r.Name) {
			return azure.Errorf(http.StatusConflict, "RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name.")
		}
	}
	if err := c.state.Update(ctx, func(tx *state.Tx) error { return tx.Put(roleBucket, key, r) }); err != nil {
		return err
	}
	c.roles[key] = &r
	return nil
}

const maxRoleActions = 2048

func (c *Control) checkRole(r *Role) error {
	bad := func(format string, args ...any) error {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleDefinition", format, args...)
	}
	switch {
	case !azure.IsGUID(r.ID):
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID '%s' is not a GUID.", r.ID)
	case r.Name == "" || len(r.Name) > 512:
		return bad("The role definition has no name of 1 to 512 characters.")
	case len(r.Scopes) == 0 || len(r.Scopes) > 2000:
		return azure.Errorf(http.StatusBadRequest, "MissingAssignableScopes", "The role definition has no assignable scopes.")
	}
	for _, s := range r.Scopes {
		if id, err := azure.ParseID(s); err != nil || id.IsTenant() {
			return azure.Errorf(http.StatusBadRequest, "InvalidAssignableScope", "The assignable scope '%s' is not valid: a subscription, a resource group or a resource is.", s)
		}
	}
	n := 0
	for _, p := range r.Permissions {
		for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
			n += len(list)
			for _, a := range list {
				if !isAction.MatchString(a) || len(a) > 512 {
					return azure.Errorf(http.StatusBadRequest, "InvalidActionOrNotAction", "'%s' is not an action.", a)
				}
			}
		}
	}
	if n == 0 || n > maxRoleActions {
		return bad("The role definition has %d actions, and 1 to %d are allowed.", n, maxRoleActions)
	}
	return nil
}

// DeleteRole removes a customer's role that is not assigned to anybody. It reports whether there was one.
func (c *Control) DeleteRole(ctx context.Context, id string) (was bool, err error) {
	key := strings.ToLower(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.roles[key]
	switch {
	case r == nil:
		return false, nil
	case r.BuiltIn:
		return false, azure.Errorf(http.StatusForbidden, "RoleDefinitionCannotBeChanged", "The role definition '%s' is built in and cannot be deleted.", id)
	}
	for _, a := range c.assignments {
		if strings.EqualFold(a.Role, id) {
			return false, azure.Errorf(http.StatusBadRequest, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments)")
		}
	}
	err = c.state.Update(ctx, func(tx *state.Tx) error { _, err := tx.Delete(roleBucket, key); return err })
	if err == nil {
		delete(c.roles, key)
	}
	return err == nil, err
}
