package resourcemanager

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

func listTenants(q *request) (*answer, error) {
	return q.page([]any{document.NewObject("id", "/tenants/"+q.s.cfg.Tenant, "tenantId", q.s.cfg.Tenant, "displayName", q.s.cfg.TenantName, "countryCode", "", "tenantCategory", "Home")})
}

func (s *Service) showSubscription(sub Subscription) *document.Object {
	return document.NewObject("id", "/subscriptions/"+sub.ID, "subscriptionId", sub.ID, "tenantId", s.cfg.Tenant, "displayName", sub.Name, "state", "Enabled", "authorizationSource", "RoleBased",
		"subscriptionPolicies", document.NewObject("locationPlacementId", "Public_2014-09-01", "quotaId", "PayAsYouGo_2014-09-01", "spendingLimit", "Off"))
}

// listSubscriptions lists those in which the caller may read anything.
func listSubscriptions(q *request) (*answer, error) {
	var all []any
	for _, sub := range q.s.cfg.Subscriptions {
		if q.s.permit(q.who, "Microsoft.Resources/subscriptions/read", azure.SubscriptionID(sub.ID)) == nil {
			all = append(all, q.s.showSubscription(sub))
		}
	}
	return q.page(all)
}

func getSubscription(q *request) (*answer, error) {
	sub, _ := q.s.subscription(q.id.Subscription()) // it was checked
	tags, _, err := q.s.tagsOf(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	shown := q.s.showSubscription(sub)
	shown.Set("tags", tags)
	return ok(shown), nil
}

func listLocations(q *request) (*answer, error) {
	var all []any
	for _, l := range q.s.cfg.Locations {
		all = append(all, document.NewObject("id", q.id.String()+"/locations/"+l.Name, "name", l.Name, "type", "Region", "displayName", l.Display, "regionalDisplayName", l.Display,
			"metadata", document.NewObject("regionType", "Physical", "regionCategory", "Recommended", "geographyGroup", "Local", "physicalLocation", "Here")))
	}
	return q.page(all)
}

// listResources lists resources of all types, in a subscription or a group.
func listResources(q *request) (*answer, error) {
	if err := q.s.exists(q.Context(), q.id); err != nil {
		return nil, err
	}
	wanted, err := resourceFilter(q.URL.Query().Get("$filter"))
	if err != nil {
		return nil, err
	}
	found, err := q.s.inside(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	more := q.URL.Query().Get("$expand")
	var all []any
	for _, r := range found {
		if k, known := q.s.kindOf(r.ID.Type()); known && wanted(r) && !r.ID.Parent().IsResource() {
			all = append(all, expanded(generic(k, r), r, more))
		}
	}
	return q.page(all)
}

// expanded adds what $expand asks for.
func expanded(shown *document.Object, r *Resource, more string) *document.Object {
	for name := range strings.SplitSeq(strings.ToLower(more), ",") {
		switch name {
		case "createdtime":
			shown.Set("createdTime", r.Created.Format(timeForm))
		case "changedtime":
			shown.Set("changedTime", r.Changed.Format(timeForm))
		case "provisioningstate":
			shown.Set("provisioningState", r.State)
		}
	}
	return shown
}

// resourceFilter reads a filter: comparisons by eq, joined by and.
func resourceFilter(text string) (func(*Resource) bool, error) {
	terms, err := equalities(text, "resourceType", "name", "location", "resourceGroup", "tagName", "tagValue")
	if err != nil {
		return nil, err
	}
	return func(r *Resource) bool {
		have := map[string]string{"resourcetype": r.ID.Type(), "name": r.ID.Name(), "location": r.Body.String("location"), "resourcegroup": r.ID.ResourceGroup()}
		for name, want := range terms {
			switch name {
			case "tagname":
				if !r.Body.Object("tags").Has(want) {
					return false
				}
			case "tagvalue":
				if value := r.Body.String("tags", terms["tagname"]); value != want {
					return false
				}
			default:
				if !strings.EqualFold(have[name], want) {
					return false
				}
			}
		}
		return true
	}, nil
}

// equalities reads "a eq 'x' and b eq 'y'". Names are returned in lower case.
func equalities(filter string, allowed ...string) (map[string]string, error) {
	terms := make(map[string]string)
	for rest := strings.TrimSpace(filter); rest != ""; {
		name, after, _ := strings.Cut(rest, " ")
		after, eq := strings.CutPrefix(strings.TrimLeft(after, " "), "eq '")
		value, after, closed := cutQuoted(after)
		after, more := strings.CutPrefix(strings.TrimLeft(after, " "), "and ")
		if !eq || !closed || !more && strings.TrimSpace(after) != "" || !slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%.200s' specified in the query string. Comparisons by eq with %s, joined by and, are understood.",
				filter, strings.Join(allowed, ", "))
		}
		terms[strings.ToLower(name)] = value
		rest = strings.TrimSpace(after)
	}
	return terms, nil
}

// cutQuoted reads a text up to its quote; two of them stand for one.
func cutQuoted(s string) (value, after string, closed bool) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\'')
		if i < 0 {
			return "", s, false
		}
		b.WriteString(s[:i])
		if s = s[i+1:]; !strings.HasPrefix(s, "'") {
			return b.String(), s, true
		}
		b.WriteByte('\'')
		s = s[1:]
	}
}

// showProvider is a provider with what its types can do.
func (s *Service) showProvider(p *Provider, subscription string, registered bool) *document.Object {
	state := "NotRegistered"
	if registered {
		state = "Registered"
	}
	var locations []any
	for _, l := range s.cfg.Locations {
		locations = append(locations, l.Display)
	}
	var types []any
	for _, t := range p.Types {
		versions := make([]any, len(t.Versions))
		for i, v := range t.Versions {
			versions[i] = v
		}
		where := locations
		if t.Global {
			where = []any{}
		}
		types = append(types, document.NewObject("resourceType", t.Name, "locations", where, "apiVersions", versions, "capabilities", "None"))
	}
	return document.NewObject("id", "/subscriptions/"+subscription+"/providers/"+p.Namespace, "namespace", p.Namespace, "registrationPolicy", "RegistrationRequired", "registrationState", state, "resourceTypes", types)
}

// always are registered with every subscription.
var always = []string{"Microsoft.Resources", "Microsoft.Authorization", "Microsoft.Insights"}

func providerKey(subscription, namespace string) string {
	return strings.ToLower(subscription + "/" + namespace)
}

// registered says whether a provider is registered with a subscription.
func registered(tx *state.Tx, subscription, namespace string) (bool, error) {
	if slices.Contains(always, namespace) {
		return true, nil
	}
	return tx.Get(providerBucket, providerKey(subscription, namespace), new(bool))
}

func (s *Service) readProvider(ctx context.Context, p *Provider, subscription string) (out *document.Object, err error) {
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error {
		is, err := registered(tx, subscription, p.Namespace)
		out = s.showProvider(p, subscription, is)
		return err
	})
	return out, err
}

func listProviders(q *request) (*answer, error) {
	var all []any
	for _, p := range q.s.cfg.Providers {
		shown, err := q.s.readProvider(q.Context(), p, q.id.Subscription())
		if err != nil {
			return nil, err
		}
		all = append(all, shown)
	}
	return q.page(all)
}

func (q *request) namedProvider() (*Provider, error) {
	if p := q.s.provider(q.args[1]); p != nil {
		return p, nil
	}
	return nil, azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%.80s' is invalid.", q.args[1])
}

func getProvider(q *request) (*answer, error) {
	p, err := q.namedProvider()
	if err != nil {
		return nil, err
	}
	shown, err := q.s.readProvider(q.Context(), p, q.id.Subscription())
	return ok(shown), err
}

func registerProvider(yes bool) func(*request) (*answer, error) {
	return func(q *request) (*answer, error) {
		p, err := q.namedProvider()
		if err != nil {
			return nil, err
		}
		verb := map[bool]string{true: "register", false: "unregister"}[yes]
		if err := q.s.permit(q.who, p.Namespace+"/"+verb+"/action", q.id); err != nil {
			return nil, err
		}
		key := providerKey(q.id.Subscription(), p.Namespace)
		err = q.s.cfg.State.Update(q.Context(), func(tx *state.Tx) error {
			if yes {
				return tx.Put(providerBucket, key, true)
			}
			for r, err := range below(tx, q.id) {
				if err == nil && strings.EqualFold(r.ID.Namespace(), p.Namespace) {
					err = azure.Errorf(http.StatusConflict, "UnregisterProviderFailed", "The provider '%s' cannot be unregistered: there is '%s'.", p.Namespace, r.ID)
				}
				if err != nil {
					return err
				}
			}
			_, err := tx.Delete(providerBucket, key)
			return err
		})
		if err != nil {
			return nil, err
		}
		shown, err := q.s.readProvider(q.Context(), p, q.id.Subscription())
		return ok(shown), err
	}
}

// resources is the provider of what the control plane has itself.
func (s *Service) resources() *Provider {
	versions := []string{"2025-04-01", "2024-03-01", "2022-09-01", "2021-04-01", "2020-10-01"}
	return &Provider{Namespace: "Microsoft.Resources", Types: []*Type{
		{Name: "subscriptions", Versions: versions, Global: true, own: true}, {Name: "resourceGroups", Versions: versions, Global: true, own: true},
		{Name: "deployments", Versions: versions, Global: true, own: true}, {Name: "deployments/operations", Versions: versions, Global: true, own: true},
		{Name: "tags", Versions: versions, Global: true, own: true, extends: true},
	}}
}

func (s *Service) authorization() *Provider {
	return &Provider{Namespace: "Microsoft.Authorization", Types: []*Type{
		{Name: "roleAssignments", Versions: []string{"2022-04-01", "2020-04-01-preview"}, Global: true, own: true, extends: true},
		{Name: "roleDefinitions", Versions: []string{"2022-04-01"}, Global: true, own: true, extends: true},
		{Name: "locks", Versions: []string{"2020-05-01", "2016-09-01"}, Global: true, own: true, extends: true},
	}}
}

func (s *Service) insights() *Provider {
	return &Provider{Namespace: "Microsoft.Insights", Types: []*Type{{Name: "eventtypes/management", Versions: []string{"2015-04-01"}, Global: true, own: true}}}
}
