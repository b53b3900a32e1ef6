package keyvault

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Buckets of the state.
const (
	vaultBucket   = "keyvault.vault"   // by key (see Vault.key)
	objectBucket  = "keyvault.object"  // vault's UID / kind / name in lower case
	versionBucket = "keyvault.version" // … / version
	valueBucket   = "keyvault.value"   // the same, sealed
)

// Azure's bounds of a vault.
const (
	leastRetentionDays = 7
	mostRetentionDays  = 90
	mostPolicies       = 1024
)

// A Vault is one, live or soft-deleted.
type Vault struct {
	Name       string    `json:"name"`
	ID         string    `json:"id"` // of the ARM resource
	Location   string    `json:"location"`
	Tenant     string    `json:"tenant"`
	RBAC       bool      `json:"enableRbacAuthorization"`
	Retention  int       `json:"softDeleteRetentionInDays"`
	Protected  bool      `json:"enablePurgeProtection,omitempty"`
	Policies   []Policy  `json:"accessPolicies"`
	Created    time.Time `json:"created"`
	Deleted    time.Time `json:"deletionDate,omitzero"`
	PurgeAfter time.Time `json:"scheduledPurgeDate,omitzero"`
	UID        string    `json:"uid"` // of this vault, and of no other that has its name
}

// A Policy says what a principal may do with what is in a vault.
type Policy struct {
	Tenant       string   `json:"tenantId"`
	Object       string   `json:"objectId"`
	Secrets      []string `json:"secrets"`
	Certificates []string `json:"certificates"`
	Keys         []string `json:"keys"`
}

// A Spec is what a vault is to be.
type Spec struct {
	Name, ID, Location string
	Tenant             string
	RBAC               bool
	Retention          int   // days; 0 means 90
	Protected          *bool // purge protection: nil or true
	Policies           []Policy
}

// A Config is what a service is made of.
type Config struct {
	State     *state.Store
	Now       func() time.Time
	Log       *slog.Logger
	Suffix    string // of vaults' hosts, with a port if there is one: "vault.fabric.test:8443"
	Authority string // where tokens are to be had: "https://login.fabric.test:8443/TENANT"
	Tenant    string
	Verify    azure.TokenVerifier
	Allowed   azure.Authorizer
}

// A Service is all vaults. It is safe for concurrent use.
type Service struct {
	cfg Config

	mu     sync.RWMutex      // guards the field below, and changes of what is in the vaults
	vaults map[string]*Vault // by name in lower case
}

// Open reads the vaults.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	s := &Service{cfg: cfg, vaults: make(map[string]*Vault)}
	err := cfg.State.View(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(vaultBucket, "", "") {
			if err != nil {
				return err
			}
			v := new(Vault)
			if _, err := tx.Get(vaultBucket, e.Key, v); err != nil {
				return err
			}
			s.vaults[e.Key] = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (v *Vault) key() string { return strings.ToLower(v.Name) }

// URI is where the vault's data plane is.
func (s *Service) URI(name string) string {
	return "https://" + strings.ToLower(name) + "." + s.cfg.Suffix + "/"
}

// vaultName is 3 to 24 letters, digits and hyphens, a letter first, no hyphen last and no two in a row.
var vaultName = regexp.MustCompile(`^[a-zA-Z](-?[a-zA-Z0-9]+)*$`)

func validName(name string) bool {
	return len(name) >= 3 && len(name) <= 24 && vaultName.MatchString(name)
}

// CheckName says whether a vault could have a name, as checkNameAvailability does: reason and message are empty if so.
func (s *Service) CheckName(name string) (reason, message string) {
	if !validName(name) {
		return "AccountNameInvalid", "Vault name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, and not contain consecutive hyphens."
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch v := s.vaults[strings.ToLower(name)]; {
	case v == nil:
		return "", ""
	case !v.Deleted.IsZero():
		return "AlreadyExists", "The vault name '" + name + "' is already in use by a vault in deleted state. To reuse it, recover or purge the deleted vault."
	}
	return "AlreadyExists", "The vault name '" + name + "' is already in use."
}

func bad(code, format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, code, format, args...)
}

// Check judges a spec without making anything.
func (s *Service) Check(spec *Spec) error {
	if !validName(spec.Name) {
		return bad("VaultNameNotValid", "The vault name '%s' is invalid. A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, "+
			"and not contain consecutive hyphens. Follow this link for more information: https://go.microsoft.com/fwlink/?linkid=2147742", spec.Name)
	}
	spec.Retention = cmp.Or(spec.Retention, mostRetentionDays)
	switch {
	case spec.Retention < leastRetentionDays || spec.Retention > mostRetentionDays:
		return bad("BadRequest", "The property \"softDeleteRetentionInDays\" is %d, and %d to %d is allowed.", spec.Retention, leastRetentionDays, mostRetentionDays)
	case spec.Protected != nil && !*spec.Protected:
		return bad("BadRequest", "The property \"enablePurgeProtection\" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.")
	case !strings.EqualFold(spec.Tenant, s.cfg.Tenant):
		return bad("BadRequest", "The tenant '%s' is not that of the subscription.", spec.Tenant)
	case len(spec.Policies) > mostPolicies:
		return bad("BadRequest", "The vault has %d access policies, and %d are allowed.", len(spec.Policies), mostPolicies)
	}
	for _, p := range spec.Policies {
		if err := p.check(s.cfg.Tenant); err != nil {
			return err
		}
	}
	return nil
}

var (
	secretPermissions      = []string{"all", "get", "list", "set", "delete", "backup", "restore", "recover", "purge"}
	certificatePermissions = []string{"all", "get", "list", "delete", "create", "import", "update", "managecontacts", "getissuers", "listissuers", "setissuers", "deleteissuers", "manageissuers",
		"recover", "purge", "backup", "restore"}
	keyPermissions = []string{"all", "encrypt", "decrypt", "wrapkey", "unwrapkey", "sign", "verify", "get", "list", "create", "update", "import", "delete", "backup", "restore", "recover", "purge",
		"release", "rotate", "getrotationpolicy", "setrotationpolicy"}
)

func (p *Policy) check(tenant string) error {
	if !azure.IsGUID(p.Object) || !strings.EqualFold(p.Tenant, tenant) {
		return bad("BadRequest", "An access policy names the object id of a principal of the tenant, and '%s' in '%s' is none.", p.Object, p.Tenant)
	}
	for _, list := range []struct {
		of           string
		given, known []string
	}{{"secrets", p.Secrets, secretPermissions}, {"certificates", p.Certificates, certificatePermissions}, {"keys", p.Keys, keyPermissions}} {
		for _, g := range list.given {
			if !slices.Contains(list.known, strings.ToLower(g)) {
				return bad("BadRequest", "An access policy has the permission '%s' to %s, which there is not.", g, list.of)
			}
		}
	}
	return nil
}

// PutVault makes a vault, or changes the one of this name and ARM id. made says which.
func (s *Service) PutVault(ctx context.Context, spec Spec) (v Vault, made bool, err error) {
	if err := s.Check(&spec); err != nil {
		return v, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.vaults[strings.ToLower(spec.Name)]
	v = Vault{Name: spec.Name, ID: spec.ID, Location: spec.Location, Tenant: spec.Tenant, RBAC: spec.RBAC, Retention: spec.Retention, Protected: spec.Protected != nil && *spec.Protected, Policies: spec.Policies,
		Created: s.cfg.Now().UTC(), UID: newID()}
	switch {
	case old == nil:
		return v, true, s.keepLocked(ctx, &v)
	case !old.Deleted.IsZero():
		return v, false, azure.Errorf(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. "+
			"Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
	case !strings.EqualFold(old.ID, spec.ID):
		return v, false, azure.Errorf(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken.", spec.Name)
	case old.Protected && !v.Protected:
		v.Protected = true // it cannot be taken back, and a PUT without it leaves it
	}
	if old.Retention != v.Retention {
		return v, false, bad("BadRequest", "The property \"softDeleteRetentionInDays\" has been set already and it can't be modified.")
	}
	v.Created, v.UID, v.Name = old.Created, old.UID, old.Name
	return v, false, s.keepLocked(ctx, &v)
}

func (s *Service) keepLocked(ctx context.Context, v *Vault) error {
	err := s.cfg.State.Update(ctx, func(tx *state.Tx) error { return tx.Put(vaultBucket, v.key(), v) })
	if err == nil {
		s.vaults[v.key()] = v
	}
	return err
}

// Vault returns a live vault by its name.
func (s *Service) Vault(name string) (Vault, bool) { return s.find(name, false) }

// DeletedVault returns a soft-deleted one.
func (s *Service) DeletedVault(name string) (Vault, bool) { return s.find(name, true) }

func (s *Service) find(name string, deleted bool) (Vault, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.vaults[strings.ToLower(name)]
	if v == nil || v.Deleted.IsZero() == deleted {
		return Vault{}, false
	}
	return *v, true
}

// DeletedVaults lists the soft-deleted vaults by name.
func (s *Service) DeletedVaults() []Vault {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []Vault
	for _, v := range s.vaults {
		if !v.Deleted.IsZero() {
			all = append(all, *v)
		}
	}
	slices.SortFunc(all, func(a, b Vault) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func vaultNotFound(name string) error {
	return azure.Errorf(http.StatusNotFound, "VaultNotFound", "The specified vault '%s' could not be found.", name)
}

// change has change work on a copy of a vault, and keeps it.
func (s *Service) change(ctx context.Context, name string, change func(v *Vault) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.vaults[strings.ToLower(name)]
	if old == nil {
		return vaultNotFound(name)
	}
	v := *old
	v.Policies = slices.Clone(v.Policies)
	if err := change(&v); err != nil {
		return err
	}
	return s.keepLocked(ctx, &v)
}

// SetPolicies replaces the access policies of a live vault.
func (s *Service) SetPolicies(ctx context.Context, name string, policies []Policy) error {
	if len(policies) > mostPolicies {
		return bad("BadRequest", "The vault has %d access policies, and %d are allowed.", len(policies), mostPolicies)
	}
	for _, p := range policies {
		if err := p.check(s.cfg.Tenant); err != nil {
			return err
		}
	}
	return s.change(ctx, name, func(v *Vault) error {
		if !v.Deleted.IsZero() {
			return vaultNotFound(name)
		}
		v.Policies = policies
		return nil
	})
}

// DeleteVault takes a vault out of use. It can be recovered until its retention has passed.
func (s *Service) DeleteVault(ctx context.Context, name string) error {
	return s.change(ctx, name, func(v *Vault) error {
		if !v.Deleted.IsZero() {
			return vaultNotFound(name)
		}
		v.Deleted = s.cfg.Now().UTC()
		v.PurgeAfter = v.Deleted.AddDate(0, 0, v.Retention)
		return nil
	})
}

// RecoverVault puts a deleted vault into use again, with all that was in it.
func (s *Service) RecoverVault(ctx context.Context, name string) error {
	return s.change(ctx, name, func(v *Vault) error {
		if v.Deleted.IsZero() {
			return bad("VaultNotDeleted", "The vault '%s' is not deleted.", name)
		}
		v.Deleted, v.PurgeAfter = time.Time{}, time.Time{}
		return nil
	})
}

// PurgeVault removes a deleted vault for good.
func (s *Service) PurgeVault(ctx context.Context, name string) error {
	v, ok := s.DeletedVault(name)
	switch {
	case !ok:
		return azure.Errorf(http.StatusNotFound, "DeletedVaultNotFound", "The specified deleted vault '%s' does not exist.", name)
	case v.Protected:
		return azure.Errorf(http.StatusConflict, "DeletedVaultPurge", "Operation \"purge\" is not allowed because purge protection is enabled for the vault '%s'.", name)
	}
	return s.erase(ctx, v)
}

func (s *Service) erase(ctx context.Context, v Vault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.vaults[v.key()]; now == nil || now.UID != v.UID || now.Deleted.IsZero() {
		return vaultNotFound(v.Name)
	}
	err := s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		for _, bucket := range []string{objectBucket, versionBucket, valueBucket} {
			if err := tx.DeletePrefix(bucket, v.UID+"/"); err != nil {
				return err
			}
		}
		_, err := tx.Delete(vaultBucket, v.key())
		return err
	})
	if err == nil {
		delete(s.vaults, v.key())
	}
	return err
}

// Sweep purges vaults, and what was deleted in vaults, once their time has passed. It is to be called now and then.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.cfg.Now()
	for _, v := range s.DeletedVaults() {
		if now.After(v.PurgeAfter) {
			if err := s.erase(ctx, v); err != nil {
				return err
			}
		}
	}
	return s.sweepObjects(ctx, now)
}
