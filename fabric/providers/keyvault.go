package providers

import (
	"context"
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/keyvault"
	"github.com/causeway-gateway/causeway/fabric/resourcemanager"
)

// KeyVault is Microsoft.KeyVault.
func KeyVault(s *keyvault.Service) *resourcemanager.Provider {
	v := vaults{s}
	return &resourcemanager.Provider{Namespace: "Microsoft.KeyVault", Types: []*resourcemanager.Type{{
		Name: "vaults", Versions: []string{"2024-11-01", "2023-07-01", "2022-07-01", "2021-10-01"},
		Check: v.check, Put: v.put, Delete: v.remove, Show: v.show,
	}}, Calls: []resourcemanager.Call{
		{Method: http.MethodPost, Path: "checkNameAvailability", Action: "Microsoft.KeyVault/checkNameAvailability/read", Do: v.checkName},
		{Method: http.MethodGet, Path: "deletedVaults", Action: "Microsoft.KeyVault/deletedVaults/read", Do: v.listDeleted},
		{Method: http.MethodGet, Path: "locations/{}/deletedVaults/{}", Action: "Microsoft.KeyVault/locations/deletedVaults/read", Do: v.getDeleted},
		{Method: http.MethodPost, Path: "locations/{}/deletedVaults/{}/purge", Action: "Microsoft.KeyVault/locations/deletedVaults/purge/action", Do: v.purge},
	}}
}

type vaults struct{ *keyvault.Service }

// specOf reads what a vault is to be.
func specOf(id azure.ID, body *document.Object) (keyvault.Spec, error) {
	p := body.Object("properties")
	spec := keyvault.Spec{Name: id.Name(), ID: id.String(), Location: body.String("location"), Tenant: p.String("tenantId")}
	wrong := func(name, want string) error {
		return azure.Errorf(http.StatusBadRequest, "BadRequest", "The property '%s' of a vault is %s.", name, want)
	}
	var fits bool
	if spec.RBAC, fits = flag(p, "enableRbacAuthorization"); !fits {
		return spec, wrong("enableRbacAuthorization", "true or false")
	}
	if soft, _ := p.Get("enableSoftDelete"); soft == false {
		return spec, azure.Errorf(http.StatusBadRequest, "BadRequest", "The property \"enableSoftDelete\" can be set to true only.")
	}
	if v, has := p.Get("enablePurgeProtection"); has && v != nil {
		protect, is := v.(bool)
		if !is {
			return spec, wrong("enablePurgeProtection", "true, or left out")
		}
		spec.Protected = &protect
	}
	if v, has := p.Get("softDeleteRetentionInDays"); has {
		days, is := v.(int64)
		if !is || days < 0 || days > 1000 {
			return spec, wrong("softDeleteRetentionInDays", "a number of days")
		}
		spec.Retention = int(days)
	}
	if kind := p.String("sku", "name"); !strings.EqualFold(kind, "standard") && !strings.EqualFold(kind, "premium") {
		return spec, wrong("sku.name", "standard or premium")
	}
	for _, v := range p.Array("accessPolicies") {
		one, _ := v.(*document.Object)
		policy := keyvault.Policy{Tenant: one.String("tenantId"), Object: one.String("objectId")}
		for name, into := range map[string]*[]string{"secrets": &policy.Secrets, "certificates": &policy.Certificates, "keys": &policy.Keys} {
			for _, permission := range one.Array("permissions", name) {
				text, _ := permission.(string)
				*into = append(*into, text)
			}
		}
		spec.Policies = append(spec.Policies, policy)
	}
	if _, has := p.Get("accessPolicies"); !has && !spec.RBAC && p.String("createMode") != "recover" {
		return spec, wrong("accessPolicies", "missing: give a list, or set enableRbacAuthorization")
	}
	return spec, nil
}

// flag reads a property that is true or false, and false when it is not there.
func flag(o *document.Object, name string) (value, fits bool) {
	v, has := o.Get(name)
	if !has || v == nil {
		return false, true
	}
	value, fits = v.(bool)
	return value, fits
}

func (v vaults) check(ctx context.Context, w *resourcemanager.Wish) error {
	spec, err := specOf(w.ID, w.Body)
	if err != nil {
		return err
	}
	p := w.Body.Object("properties")
	deleted, was := v.DeletedVault(spec.Name)
	switch {
	case strings.EqualFold(p.String("createMode"), "recover") && was && strings.EqualFold(deleted.ID, spec.ID):
		return nil
	case strings.EqualFold(p.String("createMode"), "recover") && w.Old == nil:
		return azure.Errorf(http.StatusNotFound, "DeletedVaultNotFound", "There is no deleted vault '%s' that could be recovered as '%s'.", spec.Name, spec.ID)
	}
	if err := v.Check(&spec); err != nil {
		return err
	}
	if w.Old != nil {
		return nil
	}
	if was {
		return azure.Errorf(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. "+
			"Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
	}
	if live, taken := v.Vault(spec.Name); taken && !strings.EqualFold(live.ID, spec.ID) {
		return azure.Errorf(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken.", spec.Name)
	}
	return nil
}

func (v vaults) put(ctx context.Context, r *resourcemanager.Resource) error {
	spec, err := specOf(r.ID, r.Body)
	if err != nil {
		return err
	}
	if strings.EqualFold(r.Properties().String("createMode"), "recover") {
		if _, was := v.DeletedVault(spec.Name); was {
			if err := v.RecoverVault(ctx, spec.Name); err != nil {
				return err
			}
		}
		r.Properties().Delete("createMode")
		live, _ := v.Vault(spec.Name) // it comes back as it was
		r.Body.Set("location", live.Location)
		return nil
	}
	_, _, err = v.PutVault(ctx, spec)
	return err
}

// remove deletes softly, unless that was done already.
func (v vaults) remove(ctx context.Context, r *resourcemanager.Resource) error {
	live, known := v.Vault(r.ID.Name())
	if !known || !strings.EqualFold(live.ID, r.ID.String()) {
		return nil
	}
	return v.DeleteVault(ctx, live.Name)
}

// show answers with what is in force in the vault.
func (v vaults) show(_ context.Context, r *resourcemanager.Resource, properties *document.Object) error {
	live, known := v.Vault(r.ID.Name())
	if !known {
		return nil
	}
	properties.Set("tenantId", live.Tenant)
	properties.Set("vaultUri", v.URI(live.Name))
	properties.Set("enableSoftDelete", true)
	properties.Set("softDeleteRetentionInDays", int64(live.Retention))
	properties.Set("enableRbacAuthorization", live.RBAC)
	if live.Protected {
		properties.Set("enablePurgeProtection", true)
	}
	policies := []any{}
	for _, p := range live.Policies {
		policies = append(policies, document.NewObject("tenantId", p.Tenant, "objectId", p.Object, "permissions",
			document.NewObject("keys", anys(p.Keys), "secrets", anys(p.Secrets), "certificates", anys(p.Certificates))))
	}
	properties.Set("accessPolicies", policies)
	return nil
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

func (v vaults) checkName(_ context.Context, _ azure.ID, _ []string, _ *http.Request, body *document.Object) (int, any, error) {
	if !strings.EqualFold(body.String("type"), "Microsoft.KeyVault/vaults") {
		return 0, nil, azure.Errorf(http.StatusBadRequest, "BadRequest", "The type of the name is 'Microsoft.KeyVault/vaults'.")
	}
	reason, message := v.CheckName(body.String("name"))
	return http.StatusOK, availability(reason, message), nil
}

// availability is what checkNameAvailability answers: without a reason the name can be had.
func availability(reason, message string) *document.Object {
	if reason == "" {
		return document.NewObject("nameAvailable", true)
	}
	return document.NewObject("nameAvailable", false, "reason", reason, "message", message)
}

func showDeleted(d keyvault.Vault, subscription azure.ID) *document.Object {
	return document.NewObject("id", subscription.String()+"/providers/Microsoft.KeyVault/locations/"+d.Location+"/deletedVaults/"+d.Name, "name", d.Name, "type", "Microsoft.KeyVault/deletedVaults",
		"properties", document.NewObject("vaultId", d.ID, "location", d.Location, "deletionDate", d.Deleted.Format("2006-01-02T15:04:05Z"), "scheduledPurgeDate", d.PurgeAfter.Format("2006-01-02T15:04:05Z"),
			"purgeProtectionEnabled", d.Protected))
}

func (v vaults) listDeleted(_ context.Context, subscription azure.ID, _ []string, _ *http.Request, _ *document.Object) (int, any, error) {
	all := []any{}
	for _, d := range v.DeletedVaults() {
		if within(d, subscription) {
			all = append(all, showDeleted(d, subscription))
		}
	}
	return http.StatusOK, document.NewObject("value", all), nil
}

func within(d keyvault.Vault, subscription azure.ID) bool {
	id, err := azure.ParseID(d.ID)
	return err == nil && id.Within(subscription)
}

// deleted finds the deleted vault that a path names: location and name.
func (v vaults) deleted(subscription azure.ID, args []string) (keyvault.Vault, error) {
	d, known := v.DeletedVault(args[1])
	if !known || !within(d, subscription) || !strings.EqualFold(d.Location, args[0]) {
		return d, azure.Errorf(http.StatusNotFound, "DeletedVaultNotFound", "The specified deleted vault '%.80s' does not exist.", args[1])
	}
	return d, nil
}

func (v vaults) getDeleted(_ context.Context, subscription azure.ID, args []string, _ *http.Request, _ *document.Object) (int, any, error) {
	d, err := v.deleted(subscription, args)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, showDeleted(d, subscription), nil
}

func (v vaults) purge(ctx context.Context, subscription azure.ID, args []string, _ *http.Request, _ *document.Object) (int, any, error) {
	d, err := v.deleted(subscription, args)
	if err == nil {
		err = v.PurgeVault(ctx, d.Name)
	}
	return http.StatusOK, nil, err
}
