package azure

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestIDsHaveParts(t *testing.T) {
	const group = "/subscriptions/s1/resourceGroups/g1"
	for _, tt := range []struct{ text, typ, name, parent, scope, group string }{
		{"/", "", "", "/", "/", ""},
		{"/subscriptions/s1", "Microsoft.Resources/subscriptions", "s1", "/", "/subscriptions/s1", ""},
		{group, "Microsoft.Resources/subscriptions/resourceGroups", "g1", "/subscriptions/s1", group, "g1"},
		{group + "/providers/Microsoft.Network/virtualNetworks/v1", "Microsoft.Network/virtualNetworks", "v1", group, group, "g1"},
		{group + "/providers/Microsoft.Network/virtualNetworks/v1/subnets/n1", "Microsoft.Network/virtualNetworks/subnets", "v1/n1",
			group + "/providers/Microsoft.Network/virtualNetworks/v1", group, "g1"},
		{group + "/providers/A.B/c/d/providers/Microsoft.Authorization/locks/l", "Microsoft.Authorization/locks", "l",
			group + "/providers/A.B/c/d", group + "/providers/A.B/c/d", "g1"},
		{"/subscriptions/s1/providers/A.B/c/d", "A.B/c", "d", "/subscriptions/s1", "/subscriptions/s1", ""},
		{"/providers/Microsoft.Management/managementGroups/m", "Microsoft.Management/managementGroups", "m", "/", "/", ""},
		{"/SUBSCRIPTIONS/s1/RESOURCEGROUPS/G1/PROVIDERS/a.b/C/d", "a.b/C", "d", "/SUBSCRIPTIONS/s1/RESOURCEGROUPS/G1", "/SUBSCRIPTIONS/s1/RESOURCEGROUPS/G1", "G1"},
	} {
		id, err := ParseID(tt.text)
		if err != nil {
			t.Errorf("ParseID(%s): %v", tt.text, err)
			continue
		}
		got := []string{id.String(), id.Type(), id.FullName(), id.Parent().String(), id.Scope().String(), id.ResourceGroup()}
		want := []string{tt.text, tt.typ, tt.name, tt.parent, tt.scope, tt.group}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %q, want %q", tt.text, got, want)
		}
		if tt.typ != "" && id.IsResource() {
			again, err := id.Scope().Resource(id.Type(), id.FullName())
			if err != nil || !again.Equal(id) {
				t.Errorf("put together again it is %s, %v", again, err)
			}
		}
	}
}

func TestWhatIsNoIDIsRefused(t *testing.T) {
	for _, text := range []string{
		"subscriptions/s", "//", "/subscriptions", "/subscriptions/s/resourceGroups", "/subscriptions//resourceGroups/g", "/subscriptions/s/providers/A.B",
		"/subscriptions/s/providers/A.B/c", "/subscriptions/s/providers/A.B/c/d/e", "/subscriptions/s/other/x", "/providers/A.B/c/../d/e",
		"/subscriptions/s/resourceGroups/g/providers", "/subscriptions/s%2f/x", "/subscriptions/s\x00", "/subscriptions/s/resourceGroups/g/providers/A.B/c/d/providers/E.F",
		"/subscriptions/" + strings.Repeat("x", MaxNameBytes+1), `/subscriptions/a\b`,
	} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("ParseID(%q) = %v", text, id)
		}
	}
}

func TestIDsLieWithinScopes(t *testing.T) {
	group := GroupID("s", "g")
	vault, err := group.Resource("Microsoft.KeyVault/vaults", "kv")
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []ID{{}, SubscriptionID("S"), GroupID("s", "G"), vault} {
		if !vault.Within(scope) {
			t.Errorf("%s is not within %s", vault, scope)
		}
	}
	for _, scope := range []ID{SubscriptionID("other"), GroupID("s", "gg"), vault.Child("secrets", "x")} {
		if vault.Within(scope) {
			t.Errorf("%s is within %s", vault, scope)
		}
	}
	if got := vault.Child("secrets", "x"); got.Type() != "Microsoft.KeyVault/vaults/secrets" || !got.Parent().Equal(vault) || !got.Group().Equal(group) {
		t.Errorf("a child is %s, of type %s, in %s", got, got.Type(), got.Group())
	}
	for _, bad := range [][2]string{{"A.B/c", "d/e"}, {"A.B", ""}, {"A.B/c", ""}, {"A.B/c", ".."}} {
		if id, err := group.Resource(bad[0], bad[1]); err == nil {
			t.Errorf("Resource(%q) = %s", bad, id)
		}
	}
}

func TestErrorsAreWrittenAsAzureDoes(t *testing.T) {
	w := httptest.NewRecorder()
	e := Errorf(409, "Conflict", "no %s", "way").Within(Errorf(0, "Inner", "because"), errors.New("a secret"))
	e.RetryAfter = 1500 * time.Millisecond
	WriteError(w, fmt.Errorf("wrapped: %w", e))
	const want = `{"error":{"code":"Conflict","message":"no way","details":[{"code":"Inner","message":"because"},` +
		`{"code":"InternalServerError","message":"The operation could not be completed."}]}}`
	if w.Code != 409 || w.Body.String() != want || w.Header().Get("Retry-After") != "2" {
		t.Errorf("%d, Retry-After %s, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	w = httptest.NewRecorder()
	if WriteError(w, errors.New("a secret")); w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("an error of ours is told: %d %s", w.Code, w.Body)
	}
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"/", "/subscriptions/s/resourceGroups/g/providers/A.B/c/d", "/providers/A/b/c/providers/D/e/f/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err != nil {
			return
		}
		again, err := ParseID(id.String())
		if err != nil || !again.Equal(id) {
			t.Errorf("%q is written as %s, which is %v, %v", text, id, again, err)
		}
		if !id.Within(id.Parent()) || !id.Within(id.Scope()) || !id.Within(id.Group()) {
			t.Errorf("%s is not within %s, %s, %s", id, id.Parent(), id.Scope(), id.Group())
		}
	})
}
