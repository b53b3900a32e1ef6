package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	alice = azure.Principal{Object: guid(1), App: "app-1"}
	bob   = azure.Principal{Object: guid(2)}
	group = azure.GroupID("sub", "rg")
	vault = must(group.Resource("Microsoft.KeyVault/vaults", "kv"))
)

func must(id azure.ID, err error) azure.ID {
	if err != nil {
		panic(err)
	}
	return id
}

func guid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// A clock stands still until it is set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t *testing.T) (*Control, *state.Store, *clock) {
	t.Helper()
	s, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	k := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	c, err := Open(t.Context(), s, k.now)
	if err != nil {
		t.Fatal(err)
	}
	return c, s, k
}

func assign(t *testing.T, c *Control, n int, role string, p azure.Principal, at azure.ID) {
	t.Helper()
	if made, err := c.Assign(t.Context(), Assignment{ID: guid(100 + n), Scope: at.String(), Role: role, Principal: p.Object}); !made || err != nil {
		t.Fatalf("Assign = %v, %v", made, err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*azure.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "anything/at/all", true}, {"*/read", "a.b/c/read", true}, {"*/read", "a.b/c/write", false}, {"a.b/*", "a.b/c/d", true}, {"a.b/*", "a.bc/d", false},
		{"a.b/*/read", "a.b/c/d/read", true}, {"a.b/*/read", "a.b/read", false}, {"a.b/c/read", "a.b/c/read", true}, {"a.b/c/read", "a.b/c/readx", false},
		{"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"", "", true}, {"*a*a*", "a", false},
	} {
		if match(tt.pattern, tt.action) != tt.want {
			t.Errorf("match(%q, %q) is not %v", tt.pattern, tt.action, tt.want)
		}
	}
}

func TestAssignmentsAllowThereAndBelow(t *testing.T) {
	c, s, _ := open(t)
	assign(t, c, 1, Contributor, alice, group)
	assign(t, c, 2, KeyVaultSecretsUser, bob, vault)
	check := func(c *Control) {
		t.Helper()
		for _, tt := range []struct {
			who    azure.Principal
			action string
			data   bool
			on     azure.ID
			want   bool
		}{
			{alice, "Microsoft.KeyVault/vaults/write", false, vault, true},
			{alice, "microsoft.keyvault/VAULTS/delete", false, vault, true},
			{alice, "Microsoft.KeyVault/vaults/write", false, azure.GroupID("sub", "other"), false},
			{alice, "Microsoft.Resources/subscriptions/resourceGroups/read", false, azure.SubscriptionID("sub"), false},
			{alice, "Microsoft.Authorization/roleAssignments/write", false, vault, false},
			{alice, "Microsoft.Authorization/roleAssignments/read", false, vault, true},
			{alice, "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, vault, false},
			{bob, "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, vault, true},
			{bob, "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, vault.Child("secrets", "x"), true},
			{bob, "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, must(group.Resource("Microsoft.KeyVault/vaults", "kv2")), false},
			{bob, "Microsoft.KeyVault/vaults/secrets/getSecret/action", false, vault, false},
			{bob, "Microsoft.KeyVault/vaults/secrets/setSecret/action", true, vault, false},
			{azure.Principal{}, "Microsoft.KeyVault/vaults/read", false, vault, false},
			{azure.Principal{Object: strings.ToUpper(alice.Object)}, "Microsoft.KeyVault/vaults/read", false, vault, true},
		} {
			if got := c.Allowed(tt.who, tt.action, tt.data, tt.on); got != tt.want {
				t.Errorf("%s on %s for %s: %v", tt.action, tt.on, tt.who.Object, got)
			}
		}
	}
	check(c)
	again, err := Open(t.Context(), s, c.now)
	if err != nil {
		t.Fatal(err)
	}
	check(again)
	if was, err := again.Revoke(t.Context(), guid(101)); !was || err != nil || again.Allowed(alice, "Microsoft.KeyVault/vaults/read", false, vault) {
		t.Errorf("after Revoke (%v, %v) it is still allowed", was, err)
	}
	if was, err := again.Revoke(t.Context(), guid(101)); was || err != nil {
		t.Errorf("revoked twice: %v, %v", was, err)
	}
}

// A role takes its time to be known everywhere, when the fabric is told to behave so.
func TestAssignmentsAreObeyedOnceTheyAreInForce(t *testing.T) {
	c, _, k := open(t)
	_, err := c.Assign(t.Context(), Assignment{ID: guid(1), Scope: "/subscriptions/sub", Role: Owner, Principal: alice.Object, InForce: k.t.Add(time.Minute)})
	if err != nil || c.Allowed(alice, "x/y/read", false, group) {
		t.Errorf("%v, or it is in force at once", err)
	}
	if len(c.Assignments(group, false)) != 1 {
		t.Error("it is not listed before it is in force")
	}
	if k.t = k.t.Add(time.Minute); !c.Allowed(alice, "x/y/read", false, group) {
		t.Error("it is not in force in time")
	}
}

func TestAssignmentsThatAreRefused(t *testing.T) {
	c, _, _ := open(t)
	good := Assignment{ID: guid(1), Scope: group.String(), Role: Reader, Principal: alice.Object}
	if made, err := c.Assign(t.Context(), good); !made || err != nil {
		t.Fatal(err)
	}
	if made, err := c.Assign(t.Context(), good); made || err != nil {
		t.Errorf("the same again: %v, %v", made, err)
	}
	for want, change := range map[string]func(*Assignment){
		"RoleAssignmentExists":             func(a *Assignment) { a.ID = guid(2) },
		"RoleAssignmentUpdateNotPermitted": func(a *Assignment) { a.Role = Owner },
		"InvalidRoleAssignmentId":          func(a *Assignment) { a.ID = "../x" },
		"InvalidPrincipalId":               func(a *Assignment) { a.Principal = "" },
		"InvalidScope":                     func(a *Assignment) { a.Scope = "/subscriptions" },
		"RoleDefinitionDoesNotExist":       func(a *Assignment) { a.ID, a.Role = guid(3), guid(9) },
		"InvalidDescription":               func(a *Assignment) { a.Description = strings.Repeat("x", 1025) },
	} {
		a := good
		change(&a)
		if _, err := c.Assign(t.Context(), a); code(err) != want {
			t.Errorf("Assign = %v, want %s", err, want)
		}
	}
	if got := c.Assignments(vault, false); len(got) != 1 || got[0].ID != guid(1) {
		t.Errorf("in force at the vault: %v", got)
	}
	if len(c.Assignments(azure.SubscriptionID("sub"), false)) != 0 || len(c.Assignments(azure.SubscriptionID("sub"), true)) != 1 {
		t.Error("what lies below a scope is not told from what is in force there")
	}
}

func TestRolesOfACustomer(t *testing.T) {
	c, s, _ := open(t)
	r := Role{ID: guid(50), Name: "Gateway operator", Scopes: []string{group.String()}, Permissions: []Permission{{Actions: []string{"Microsoft.Compute/*/read"}, NotActions: []string{"*/secret/read"}}}}
	if err := c.PutRole(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	assign(t, c, 1, r.ID, alice, group)
	if !c.Allowed(alice, "Microsoft.Compute/virtualMachineScaleSets/read", false, group) || c.Allowed(alice, "Microsoft.Compute/secret/read", false, group) {
		t.Error("it does not allow what it says")
	}
	if _, err := c.Assign(t.Context(), Assignment{ID: guid(60), Scope: "/subscriptions/sub", Role: r.ID, Principal: bob.Object}); code(err) != "RoleDefinitionNotAssignable" {
		t.Errorf("assigned above its scopes: %v", err)
	}
	if _, err := c.DeleteRole(t.Context(), r.ID); code(err) != "RoleDefinitionHasAssignments" {
		t.Errorf("deleted while it is assigned: %v", err)
	}
	for want, change := range map[string]func(*Role){
		"RoleDefinitionCannotBeChanged":    func(r *Role) { r.ID = Owner },
		"RoleDefinitionWithSameNameExists": func(r *Role) { r.ID = guid(51) },
		"InvalidRoleDefinitionId":          func(r *Role) { r.ID = "x" },
		"InvalidRoleDefinition":            func(r *Role) { r.Permissions = nil },
		"MissingAssignableScopes":          func(r *Role) { r.Scopes = nil },
		"InvalidAssignableScope":           func(r *Role) { r.Scopes = []string{"/"} },
		"InvalidActionOrNotAction":         func(r *Role) { r.Permissions = []Permission{{Actions: []string{"read everything"}}} },
	} {
		bad := r
		change(&bad)
		if err := c.PutRole(t.Context(), bad); code(err) != want {
			t.Errorf("PutRole = %v, want %s", err, want)
		}
	}
	again, err := Open(t.Context(), s, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := again.Role(strings.ToUpper(r.ID)); !ok || got.Name != r.Name || got.BuiltIn {
		t.Errorf("after a restart it is %+v, %v", got, ok)
	}
	if n := len(again.Roles(group)); n != len(builtIn)+1 {
		t.Errorf("%d roles can be assigned", n)
	}
	if n := len(again.Roles(azure.GroupID("sub", "other"))); n != len(builtIn) {
		t.Errorf("%d roles can be assigned elsewhere", n)
	}
	if err := again.Forget(t.Context(), group, ""); err != nil || len(again.Assignments(azure.ID{}, true)) != 0 {
		t.Errorf("Forget leaves %v, %v", again.Assignments(azure.ID{}, true), err)
	}
	if was, err := again.DeleteRole(t.Context(), r.ID); !was || err != nil {
		t.Errorf("DeleteRole = %v, %v", was, err)
	}
}

func TestAPrincipalIsForgotten(t *testing.T) {
	c, _, _ := open(t)
	assign(t, c, 1, Reader, alice, group)
	assign(t, c, 2, Reader, bob, group)
	if err := c.Forget(t.Context(), azure.ID{}, alice.Object); err != nil || c.Allowed(alice, "a/b/read", false, group) || !c.Allowed(bob, "a/b/read", false, group) {
		t.Errorf("Forget: %v, or the wrong one", err)
	}
}

func TestBuiltInRolesAreSound(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range builtIn {
		if !azure.IsGUID(r.ID) || seen[r.ID] || seen[r.Name] {
			t.Errorf("%s has a bad id, or is there twice", r.Name)
		}
		seen[r.ID], seen[r.Name] = true, true
		for _, p := range r.Permissions {
			for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
				for _, a := range list {
					if !isAction.MatchString(a) {
						t.Errorf("%s: %q is no action", r.Name, a)
					}
				}
			}
		}
	}
}

func TestRefusalsAreAzures(t *testing.T) {
	e, ok := errors.AsType[*azure.Error](Refusal(alice, "a/b/write", vault))
	if !ok || e.Status != 403 || e.Code != "AuthorizationFailed" || !strings.Contains(e.Message, "'"+alice.Object+"' does not have authorization to perform action 'a/b/write' over scope '"+vault.String()+"'") {
		t.Errorf("%+v", e)
	}
}
