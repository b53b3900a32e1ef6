package azure

// A Principal is who asks: a service principal of the directory, which managed identities are, too.
type Principal struct {
	Tenant string // GUID of the directory
	Object string // GUID of the service principal, which roles and access policies name
	App    string // GUID of the application, or of the managed identity's client
	Type   string // "ServicePrincipal" or "User"
}

// A TokenVerifier returns who a bearer token is for, if it was issued for one of the audiences and is still good. An
// error is an *Error of status 401.
type TokenVerifier func(token string, audiences ...string) (Principal, error)

// An Authorizer reports whether the roles that a principal has been given allow an action on a resource. data says that
// it is one of the data plane ("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read").
type Authorizer func(p Principal, action string, data bool, on ID) bool
