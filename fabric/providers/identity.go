package providers

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/entra"
	"github.com/causeway-gateway/causeway/fabric/resourcemanager"
)

// identityName is Azure's rule for the names of user-assigned identities.
var identityName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$`)

// Identity is Microsoft.ManagedIdentity: principals of the directory that belong to a resource.
func Identity(d *entra.Directory, control *access.Control) *resourcemanager.Provider {
	return &resourcemanager.Provider{Namespace: "Microsoft.ManagedIdentity", Types: []*resourcemanager.Type{{
		Name: "userAssignedIdentities", Versions: []string{"2024-11-30", "2023-01-31", "2018-11-30"},
		Check: func(_ context.Context, w *resourcemanager.Wish) error {
			if !identityName.MatchString(w.ID.Name()) {
				return azure.Errorf(http.StatusBadRequest, "BadRequest", "The identity name '%.140s' is not valid. It has 3 to 128 letters, digits, hyphens and underscores, a letter or digit first.", w.ID.Name())
			}
			w.Body.Delete("properties") // all of them are ours to say
			return nil
		},
		Put: func(ctx context.Context, r *resourcemanager.Resource) error {
			_, err := d.CreateManagedIdentity(ctx, r.ID.Name(), r.ID.String())
			if errors.Is(err, entra.ErrFull) {
				return azure.Errorf(http.StatusForbidden, "Directory_QuotaExceeded", "The directory object quota limit has been exceeded.")
			}
			return err
		},
		Delete: func(ctx context.Context, r *resourcemanager.Resource) error {
			p, known := identityOf(d, r.ID)
			if !known {
				return nil
			}
			if err := control.Forget(ctx, azure.ID{}, p.Object); err != nil {
				return err
			}
			return d.DeletePrincipal(ctx, p.Object)
		},
		Show: func(_ context.Context, r *resourcemanager.Resource, properties *document.Object) error {
			p, _ := identityOf(d, r.ID)
			properties.Set("tenantId", d.Tenant())
			properties.Set("principalId", p.Object)
			properties.Set("clientId", p.App)
			return nil
		},
	}}}
}

// identityOf finds the principal of an identity.
func identityOf(d *entra.Directory, id azure.ID) (entra.ServicePrincipal, bool) {
	found := d.Principals(func(p *entra.ServicePrincipal) bool {
		at, err := azure.ParseID(p.Resource)
		return p.Resource != "" && err == nil && at.Equal(id)
	})
	if len(found) == 0 {
		return entra.ServicePrincipal{}, false
	}
	return found[0], true
}
