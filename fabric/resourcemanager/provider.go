package resourcemanager

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// A Provider is a namespace, such as Microsoft.Network.
type Provider struct {
	Namespace string
	Types     []*Type
	Calls     []Call
}

// A Type is one type of resource. What is nil is not done: a type without Put only keeps what it is given.
type Type struct {
	Name     string   // within the namespace: "virtualNetworks", "virtualNetworks/subnets"
	Versions []string // of its API, the newest first
	Global   bool     // it lies in no location
	Implied  bool     // one named "default" is always there, as a storage account's blobServices are
	Slow     bool     // Put and Delete are answered before they are done
	Secret   []string // paths in the body that are never shown: "properties.administratorPassword"

	// Check judges what a resource is to be and completes it with defaults, before anything is kept.
	Check func(ctx context.Context, w *Wish) error
	// Put makes it real. It is called again for the same resource when it is changed, and after a crash.
	Put func(ctx context.Context, r *Resource) error
	// Release says whether a resource may be deleted now: an error says what still uses it.
	Release func(ctx context.Context, r *Resource) error
	// Delete undoes Put. A resource that is not real is no error.
	Delete func(ctx context.Context, r *Resource) error
	// Show adds to properties what only the real thing knows.
	Show func(ctx context.Context, r *Resource, properties *document.Object) error
	// Actions are what POST does: by name, such as "listKeys".
	Actions map[string]Action

	own     bool // the control plane serves it itself, and it is no resource
	extends bool // the same, and it lies on any scope or resource
}

// A Wish is what somebody wants a resource to be.
type Wish struct {
	ID      azure.ID
	Body    *document.Object // Check may change it
	Old     *Resource        // nil when there is none
	Version string           // of the API
	Who     azure.Principal
}

// An Action is one of a resource. Do may be called again after a crash when the action is slow.
type Action struct {
	Slow  bool
	Check func(ctx context.Context, r *Resource, body *document.Object) error
	Do    func(ctx context.Context, r *Resource, body *document.Object) (answer any, err error)
}

// A Call is what a provider does in a subscription besides its types, such as checkNameAvailability.
type Call struct {
	Method string
	Path   string // behind the namespace, with {}: "locations/{}/deletedVaults/{}"
	Action string // that is to be permitted
	Do     func(ctx context.Context, subscription azure.ID, args []string, r *http.Request, body *document.Object) (status int, answer any, err error)
}

// full is the type with its namespace.
func (t *Type) full(p *Provider) string { return p.Namespace + "/" + t.Name }

// A kind is a type that somebody named, with its provider.
type kind struct {
	*Type
	provider *Provider
	full     string
}

// kindOf finds a type: "Microsoft.Network/virtualNetworks/subnets".
func (s *Service) kindOf(full string) (kind, bool) {
	k, ok := s.kinds[strings.ToLower(full)]
	return k, ok
}

func indexKinds(providers []*Provider) map[string]kind {
	kinds := make(map[string]kind)
	for _, p := range providers {
		for _, t := range p.Types {
			kinds[strings.ToLower(t.full(p))] = kind{t, p, t.full(p)}
		}
	}
	return kinds
}

func (s *Service) provider(namespace string) *Provider {
	i := slices.IndexFunc(s.cfg.Providers, func(p *Provider) bool { return strings.EqualFold(p.Namespace, namespace) })
	if i < 0 {
		return nil
	}
	return s.cfg.Providers[i]
}

// checkVersion holds a request to the versions of a type's API.
func (k kind) checkVersion(version string) error {
	if slices.ContainsFunc(k.Versions, func(v string) bool { return strings.EqualFold(v, version) }) {
		return nil
	}
	return azure.Errorf(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for API version '%.40s' for type '%s'. The supported api-versions are '%s'.",
		version, k.Name, strings.Join(k.Versions, ", "))
}
