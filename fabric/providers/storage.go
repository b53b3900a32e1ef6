package providers

import (
	"context"
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/resourcemanager"
	"github.com/causeway-gateway/causeway/fabric/storage"
)

// Storage is Microsoft.Storage. A container or table is real as long as its resource is; those that are made over the
// data plane have none.
func Storage(s *storage.Service) *resourcemanager.Provider {
	a := accounts{s}
	versions := []string{"2025-01-01", "2024-01-01", "2023-05-01", "2022-09-01", "2021-09-01"}
	part := func(name string) *resourcemanager.Type {
		return &resourcemanager.Type{Name: "storageAccounts/" + name, Versions: versions, Implied: true}
	}
	return &resourcemanager.Provider{Namespace: "Microsoft.Storage", Types: []*resourcemanager.Type{
		{Name: "storageAccounts", Versions: versions, Check: a.check, Put: a.put, Delete: a.remove, Show: a.show, Actions: map[string]resourcemanager.Action{
			"listKeys":                 {Do: a.listKeys},
			"regenerateKey":            {Do: a.regenerateKey},
			"revokeUserDelegationKeys": {Do: a.revoke},
		}},
		part("blobServices"), part("tableServices"),
		{Name: "storageAccounts/blobServices/containers", Versions: versions, Check: named(storage.CheckContainerName), Put: a.putContainer, Delete: a.removeContainer},
		{Name: "storageAccounts/tableServices/tables", Versions: versions, Check: named(storage.CheckTableName), Put: a.putTable, Delete: a.removeTable},
	}, Calls: []resourcemanager.Call{{Method: http.MethodPost, Path: "checkNameAvailability", Action: "Microsoft.Storage/checkNameAvailability/read", Do: a.checkName}}}
}

type accounts struct{ *storage.Service }

// settingsOf reads what an account is to be. Properties are those of Azure, with its defaults.
func settingsOf(body *document.Object) (storage.Settings, error) {
	p := body.Object("properties")
	settings := storage.Settings{AllowSharedKeyAccess: true, MinimumTLSVersion: p.String("minimumTlsVersion")}
	for name, into := range map[string]*bool{"allowSharedKeyAccess": &settings.AllowSharedKeyAccess, "allowBlobPublicAccess": &settings.AllowBlobPublicAccess} {
		v, has := p.Get(name)
		if !has || v == nil {
			continue
		}
		yes, is := v.(bool)
		if !is {
			return settings, azure.Errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value '%v' for the property '%s' is not true or false.", v, name)
		}
		*into = yes
	}
	if v := settings.MinimumTLSVersion; v != "" && v != "TLS1_2" && v != "TLS1_3" {
		return settings, azure.Errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value '%.20s' for the property 'minimumTlsVersion' is not one of TLS1_2, TLS1_3.", v)
	}
	if v, _ := p.Get("supportsHttpsTrafficOnly"); v == false {
		return settings, azure.Errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value 'false' for the property 'supportsHttpsTrafficOnly' is not offered: there is HTTPS alone.")
	}
	return settings, nil
}

func (a accounts) check(_ context.Context, w *resourcemanager.Wish) error {
	if _, err := settingsOf(w.Body); err != nil {
		return err
	}
	kind, sku := w.Body.String("kind"), w.Body.String("sku", "name")
	switch {
	case !strings.EqualFold(kind, "StorageV2"):
		return azure.Errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value '%.40s' for the property 'kind' is not one of this fabric: StorageV2.", kind)
	case !strings.EqualFold(sku, "Standard_LRS"):
		return azure.Errorf(http.StatusBadRequest, "SkuNotAvailable", "The sku '%.40s' is not one of this fabric, which has one machine: Standard_LRS.", sku)
	case w.Old != nil:
		return nil
	}
	return a.CheckName(w.ID.Name())
}

func (a accounts) put(ctx context.Context, r *resourcemanager.Resource) error {
	settings, err := settingsOf(r.Body)
	if err == nil {
		_, err = a.CreateAccount(ctx, r.ID.Name(), r.ID, settings)
	}
	return err
}

func (a accounts) remove(ctx context.Context, r *resourcemanager.Resource) error {
	if _, err := a.Account(r.ID.Name()); err != nil {
		return nil // it is not there any more
	}
	return a.DeleteAccount(ctx, r.ID.Name())
}

func (a accounts) show(_ context.Context, r *resourcemanager.Resource, p *document.Object) error {
	account, err := a.Account(r.ID.Name())
	if err != nil {
		return nil // it is being made, or deleted
	}
	p.Set("creationTime", account.Created.Format("2006-01-02T15:04:05.0000000Z"))
	p.Set("primaryLocation", r.Body.String("location"))
	p.Set("statusOfPrimary", "available")
	p.Set("allowSharedKeyAccess", account.AllowSharedKeyAccess)
	p.Set("allowBlobPublicAccess", account.AllowBlobPublicAccess)
	p.Set("minimumTlsVersion", account.MinimumTLSVersion)
	p.Set("supportsHttpsTrafficOnly", true)
	blob, table := a.Endpoints(account.Name)
	p.Set("primaryEndpoints", document.NewObject("blob", blob, "table", table))
	return nil
}

func (a accounts) listKeys(_ context.Context, r *resourcemanager.Resource, _ *document.Object) (any, error) {
	keys, err := a.Keys(r.ID.Name())
	if err != nil {
		return nil, err
	}
	all := []any{}
	for _, k := range keys {
		all = append(all, document.NewObject("keyName", k.Name, "value", k.Value, "permissions", "FULL", "creationTime", k.Created.Format("2006-01-02T15:04:05.0000000Z")))
	}
	return document.NewObject("keys", all), nil
}

func (a accounts) regenerateKey(ctx context.Context, r *resourcemanager.Resource, body *document.Object) (any, error) {
	if err := a.RegenerateKey(ctx, r.ID.Name(), body.String("keyName")); err != nil {
		return nil, err
	}
	return a.listKeys(ctx, r, nil)
}

func (a accounts) revoke(ctx context.Context, r *resourcemanager.Resource, _ *document.Object) (any, error) {
	return nil, a.RevokeDelegation(ctx, r.ID.Name())
}

// named holds a resource's name to a rule of the data plane.
func named(rule func(string) error) func(context.Context, *resourcemanager.Wish) error {
	return func(_ context.Context, w *resourcemanager.Wish) error { return rule(w.ID.Name()) }
}

// accountOf is the account that something in it belongs to: …/storageAccounts/A/blobServices/default/containers/C.
func accountOf(id azure.ID) string { return id.Parent().Parent().Name() }

// gone takes what is not there for deleted: an operation that was cut off runs again.
func gone(err error, code string) error {
	if err != nil && azure.AsError(err).Code == code {
		return nil
	}
	return err
}

func (a accounts) putContainer(ctx context.Context, r *resourcemanager.Resource) error {
	return a.CreateContainer(ctx, accountOf(r.ID), r.ID.Name(), r.Properties().String("publicAccess"), nil)
}

func (a accounts) removeContainer(ctx context.Context, r *resourcemanager.Resource) error {
	return gone(a.DeleteContainer(ctx, accountOf(r.ID), r.ID.Name()), "ContainerNotFound")
}

func (a accounts) putTable(ctx context.Context, r *resourcemanager.Resource) error {
	return a.CreateTable(ctx, accountOf(r.ID), r.ID.Name())
}

func (a accounts) removeTable(ctx context.Context, r *resourcemanager.Resource) error {
	return gone(a.DeleteTable(ctx, accountOf(r.ID), r.ID.Name()), "TableNotFound")
}

func (a accounts) checkName(_ context.Context, _ azure.ID, _ []string, _ *http.Request, body *document.Object) (int, any, error) {
	err := a.CheckName(body.String("name"))
	if err == nil {
		return http.StatusOK, availability("", ""), nil
	}
	e := azure.AsError(err)
	reason := "AccountNameInvalid"
	if e.Status == http.StatusConflict {
		reason = "AlreadyExists"
	}
	return http.StatusOK, availability(reason, e.Message), nil
}
