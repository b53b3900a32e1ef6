package keyvault

import "net/http"

// operations are those of https://learn.microsoft.com/rest/api/keyvault that the fabric has, with the permission and the
// data action that each wants. Of two that match the first counts.
var operations = []operation{
	{http.MethodGet, "secrets", secrets, "list", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", listed(secrets, false)},
	{http.MethodPut, "secrets/{name}", secrets, "set", "Microsoft.KeyVault/vaults/secrets/setSecret/action", setSecret},
	{http.MethodGet, "secrets/{name}", secrets, "get", "Microsoft.KeyVault/vaults/secrets/getSecret/action", getSecret},
	{http.MethodGet, "secrets/{name}/versions", secrets, "list", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", versioned(secrets)},
	{http.MethodGet, "secrets/{name}/{version}", secrets, "get", "Microsoft.KeyVault/vaults/secrets/getSecret/action", getSecret},
	{http.MethodPatch, "secrets/{name}", secrets, "set", "Microsoft.KeyVault/vaults/secrets/update/action", updateSecret},
	{http.MethodPatch, "secrets/{name}/{version}", secrets, "set", "Microsoft.KeyVault/vaults/secrets/update/action", updateSecret},
	{http.MethodDelete, "secrets/{name}", secrets, "delete", "Microsoft.KeyVault/vaults/secrets/delete", deleted(secrets)},
	{http.MethodGet, "deletedsecrets", secrets, "list", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", listed(secrets, true)},
	{http.MethodGet, "deletedsecrets/{name}", secrets, "get", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", buried(secrets)},
	{http.MethodPost, "deletedsecrets/{name}/recover", secrets, "recover", "Microsoft.KeyVault/vaults/secrets/recover/action", recovered(secrets)},
	{http.MethodDelete, "deletedsecrets/{name}", secrets, "purge", "Microsoft.KeyVault/vaults/secrets/purge/action", purged(secrets)},

	{http.MethodGet, "certificates", certificates, "list", "Microsoft.KeyVault/vaults/certificates/read", listed(certificates, false)},
	{http.MethodPost, "certificates/{name}/import", certificates, "import", "Microsoft.KeyVault/vaults/certificates/import/action", importCertificate},
	{http.MethodGet, "certificates/{name}", certificates, "get", "Microsoft.KeyVault/vaults/certificates/read", getCertificate},
	{http.MethodGet, "certificates/{name}/versions", certificates, "list", "Microsoft.KeyVault/vaults/certificates/read", versioned(certificates)},
	{http.MethodGet, "certificates/{name}/policy", certificates, "get", "Microsoft.KeyVault/vaults/certificates/read", getPolicy},
	{http.MethodGet, "certificates/{name}/{version}", certificates, "get", "Microsoft.KeyVault/vaults/certificates/read", getCertificate},
	{http.MethodPatch, "certificates/{name}", certificates, "update", "Microsoft.KeyVault/vaults/certificates/update/action", updateCertificate},
	{http.MethodPatch, "certificates/{name}/{version}", certificates, "update", "Microsoft.KeyVault/vaults/certificates/update/action", updateCertificate},
	{http.MethodDelete, "certificates/{name}", certificates, "delete", "Microsoft.KeyVault/vaults/certificates/delete", deleted(certificates)},
	{http.MethodGet, "deletedcertificates", certificates, "list", "Microsoft.KeyVault/vaults/certificates/read", listed(certificates, true)},
	{http.MethodGet, "deletedcertificates/{name}", certificates, "get", "Microsoft.KeyVault/vaults/certificates/read", buried(certificates)},
	{http.MethodPost, "deletedcertificates/{name}/recover", certificates, "recover", "Microsoft.KeyVault/vaults/certificates/recover/action", recovered(certificates)},
	{http.MethodDelete, "deletedcertificates/{name}", certificates, "purge", "Microsoft.KeyVault/vaults/certificates/purge/action", purged(certificates)},

	{http.MethodGet, "keys/{name}", keys, "get", "Microsoft.KeyVault/vaults/keys/read", getKey},
	{http.MethodGet, "keys/{name}/{version}", keys, "get", "Microsoft.KeyVault/vaults/keys/read", getKey},
}

// A handler runs an operation that is permitted.
type handler = func(*request) (status int, answer any, err error)

func listed(kind string, deleted bool) handler {
	return func(q *request) (int, any, error) { return q.objects(kind, deleted) }
}

func versioned(kind string) handler {
	return func(q *request) (int, any, error) { return q.versions(kind) }
}

// within runs f on the shelf of a kind with the name from the path, and answers with what it makes.
func (q *request) within(kind string, run func(string, func(shelf) error) error, f func(h shelf, name string) (bundle, error)) (int, any, error) {
	name, err := q.name()
	if err != nil {
		return 0, nil, err
	}
	var b bundle
	err = run(kind, func(h shelf) error {
		b, err = f(h, name)
		return err
	})
	return http.StatusOK, b, err
}

// change is within a transaction that writes, look within one that reads.
func (q *request) change(kind string, f func(h shelf, name string) (bundle, error)) (int, any, error) {
	return q.within(kind, q.update, f)
}

func (q *request) look(kind string, f func(h shelf, name string) (bundle, error)) (int, any, error) {
	return q.within(kind, q.view, f)
}
