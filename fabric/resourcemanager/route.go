package resourcemanager

import (
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A route is a request whose path has a form of its own.
type route struct {
	method string
	path   string // with {}
	id     int    // how many of its segments are the id that it is about
	action string // that is to be permitted there; "" for one that the handler asks for, or that everybody may do
	do     func(*request) (*answer, error)
}

const (
	groupPath  = "subscriptions/{}/resourcegroups/{}"
	groupsRead = "Microsoft.Resources/subscriptions/resourceGroups/read"
)

var routes = []route{
	{"GET", "tenants", 0, "", listTenants},
	{"GET", "subscriptions", 0, "", listSubscriptions},
	{"GET", "subscriptions/{}", 2, "Microsoft.Resources/subscriptions/read", getSubscription},
	{"GET", "subscriptions/{}/locations", 2, "Microsoft.Resources/subscriptions/locations/read", listLocations},
	{"GET", "subscriptions/{}/resources", 2, "Microsoft.Resources/subscriptions/resources/read", listResources},
	{"GET", "subscriptions/{}/resourcegroups", 2, groupsRead, listGroups},
	{"PUT", groupPath, 4, "Microsoft.Resources/subscriptions/resourceGroups/write", putGroup},
	{"GET", groupPath, 4, groupsRead, getGroup},
	{"HEAD", groupPath, 4, groupsRead, headGroup},
	{"PATCH", groupPath, 4, "Microsoft.Resources/subscriptions/resourceGroups/write", patchGroup},
	{"DELETE", groupPath, 4, "Microsoft.Resources/subscriptions/resourceGroups/delete", deleteGroup},
	{"GET", groupPath + "/resources", 4, "Microsoft.Resources/subscriptions/resourceGroups/resources/read", listResources},
	{"GET", "subscriptions/{}/providers", 2, "Microsoft.Resources/subscriptions/providers/read", listProviders},
	{"GET", "subscriptions/{}/providers/{}", 2, "Microsoft.Resources/subscriptions/providers/read", getProvider},
	{"POST", "subscriptions/{}/providers/{}/register", 2, "", registerProvider(true)},
	{"POST", "subscriptions/{}/providers/{}/unregister", 2, "", registerProvider(false)},
	{"GET", "subscriptions/{}/providers/{}/locations/{}/operationstatuses/{}", 2, "", operationStatus},
	{"GET", "subscriptions/{}/providers/{}/locations/{}/operationresults/{}", 2, "", operationResult},
	{"GET", "subscriptions/{}/providers/microsoft.insights/eventtypes/management/values", 2, "Microsoft.Insights/eventtypes/values/read", listActivity},
}

// extensions are types that lie on other resources and scopes, and are not resources themselves: by method and type.
var extensions = map[string]struct {
	action string
	do     func(*request) (*answer, error)
}{
	"LIST microsoft.authorization/locks":             {"Microsoft.Authorization/locks/read", listLocks},
	"GET microsoft.authorization/locks":              {"Microsoft.Authorization/locks/read", getLock},
	"PUT microsoft.authorization/locks":              {"Microsoft.Authorization/locks/write", putLock},
	"DELETE microsoft.authorization/locks":           {"Microsoft.Authorization/locks/delete", deleteLock},
	"LIST microsoft.authorization/roleassignments":   {"Microsoft.Authorization/roleAssignments/read", listAssignments},
	"GET microsoft.authorization/roleassignments":    {"Microsoft.Authorization/roleAssignments/read", getAssignment},
	"PUT microsoft.authorization/roleassignments":    {"Microsoft.Authorization/roleAssignments/write", putAssignment},
	"DELETE microsoft.authorization/roleassignments": {"Microsoft.Authorization/roleAssignments/delete", deleteAssignment},
	"LIST microsoft.authorization/roledefinitions":   {"Microsoft.Authorization/roleDefinitions/read", listRoles},
	"GET microsoft.authorization/roledefinitions":    {"Microsoft.Authorization/roleDefinitions/read", getRole},
	"PUT microsoft.authorization/roledefinitions":    {"Microsoft.Authorization/roleDefinitions/write", putRole},
	"DELETE microsoft.authorization/roledefinitions": {"Microsoft.Authorization/roleDefinitions/delete", deleteRole},
	"GET microsoft.resources/tags":                   {"Microsoft.Resources/tags/read", getTags},
	"PUT microsoft.resources/tags":                   {"Microsoft.Resources/tags/write", putTags},
	"PATCH microsoft.resources/tags":                 {"Microsoft.Resources/tags/write", putTags},
	"DELETE microsoft.resources/tags":                {"Microsoft.Resources/tags/delete", putTags},
}

// fits compares a path with a pattern, and returns what stands for each {}.
func fits(pattern string, path []string) (args []string, fit bool) {
	want := strings.Split(pattern, "/")
	if len(want) != len(path) {
		return nil, false
	}
	for i, w := range want {
		if w == "{}" {
			args = append(args, path[i])
		} else if !strings.EqualFold(w, path[i]) {
			return nil, false
		}
	}
	return args, true
}

// idOf makes an id of the path's first n segments.
func (q *request) idOf(n int) (azure.ID, error) {
	id, err := azure.ParseID("/" + strings.Join(q.segments[:n], "/"))
	if err != nil {
		return id, azure.Errorf(http.StatusBadRequest, "InvalidRequestUri", "The request URI is not valid: %v.", err)
	}
	return id, nil
}

func (q *request) route() (_ *answer, err error) {
	found := false
	for _, r := range routes {
		args, fit := fits(r.path, q.segments)
		if found = found || fit; !fit || r.method != q.Method {
			continue
		}
		if q.id, err = q.idOf(r.id); err != nil {
			return nil, err
		}
		q.args = args
		if r.action != "" {
			if err := q.s.permit(q.who, r.action, q.id); err != nil {
				return nil, err
			}
		}
		return r.do(q)
	}
	at := lastProviders(q.segments)
	if at < 0 || found && q.Method != http.MethodPost {
		return nil, q.noRoute(found)
	}
	return q.provided(at)
}

// lastProviders finds the last "providers" that a namespace and more come after.
func lastProviders(path []string) int {
	for i := len(path) - 3; i >= 0; i-- {
		if i%2 == 0 && strings.EqualFold(path[i], "providers") {
			return i
		}
	}
	return -1
}

func (q *request) noRoute(known bool) error {
	if known {
		return azure.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %.20s is not allowed here.", q.Method)
	}
	return azure.Errorf(http.StatusNotFound, "InvalidRequestUri", "There is nothing at this URI.")
}

// provided serves what lies behind a provider's namespace: extensions, calls, and resources of all types.
func (q *request) provided(at int) (*answer, error) {
	scope, namespace, rest := at, q.segments[at+1], q.segments[at+2:]
	if strings.EqualFold(namespace+"/"+rest[0], deploymentType) && (scope == 2 || scope == 4) {
		return q.deployments(scope, rest)
	}
	if a, done, err := q.extension(scope, namespace, rest); done {
		return a, err
	}
	if a, done, err := q.call(scope, namespace, rest); done {
		return a, err
	}
	return q.typed(namespace, rest)
}

// extension serves locks, role assignments, role definitions and tags, on any scope.
func (q *request) extension(scope int, namespace string, rest []string) (_ *answer, done bool, err error) {
	if len(rest) > 2 {
		return nil, false, nil
	}
	verb := q.Method
	if len(rest) == 1 && verb == http.MethodGet {
		verb = "LIST"
	}
	e, known := extensions[verb+" "+strings.ToLower(namespace+"/"+rest[0])]
	if !known || len(rest) == 1 && verb != "LIST" {
		return nil, false, nil
	}
	on, err := q.idOf(scope)
	if err != nil {
		return nil, true, err
	}
	if err := q.s.permit(q.who, e.action, on); err != nil {
		return nil, true, err
	}
	q.id = on
	if len(rest) == 2 {
		if q.id, err = q.idOf(len(q.segments)); err != nil {
			return nil, true, err
		}
	}
	a, err := e.do(q)
	return a, true, err
}

// call serves what a provider does in a subscription besides its types.
func (q *request) call(scope int, namespace string, rest []string) (_ *answer, done bool, err error) {
	p := q.s.provider(namespace)
	if p == nil || scope != 2 {
		return nil, false, nil
	}
	for _, c := range p.Calls {
		args, fit := fits(c.Path, rest)
		if !fit || c.Method != q.Method {
			continue
		}
		if q.id, err = q.idOf(scope); err != nil {
			return nil, true, err
		}
		if err := q.s.permit(q.who, c.Action, q.id); err != nil {
			return nil, true, err
		}
		body, err := q.optionalObject()
		if err != nil {
			return nil, true, err
		}
		status, got, err := c.Do(q.Context(), q.id, args, q.Request, body)
		return &answer{status, got}, true, err
	}
	return nil, false, nil
}

// typed serves resources: those with a name, lists of a type, and actions.
func (q *request) typed(namespace string, rest []string) (*answer, error) {
	var names []string // of the type's parts
	for i := 0; i < len(rest); i += 2 {
		names = append(names, rest[i])
	}
	whole := len(rest)%2 == 0
	if !whole && q.Method == http.MethodPost { // the last one is an action
		names = names[:len(names)-1]
	}
	k, known := q.s.kindOf(namespace + "/" + strings.Join(names, "/"))
	if !known {
		return nil, q.unknownType(namespace, names)
	}
	if k.own {
		return nil, q.noRoute(false)
	}
	if err := k.checkVersion(q.version); err != nil {
		return nil, err
	}
	n := len(q.segments)
	if !whole {
		n--
	}
	if whole || q.Method == http.MethodPost {
		id, err := q.idOf(n)
		if err != nil {
			return nil, err
		}
		q.id = id
	}
	switch {
	case whole:
		return q.one(k)
	case q.Method == http.MethodPost:
		return q.act(k, q.last())
	case q.Method == http.MethodGet:
		return q.listOf(k, len(rest))
	}
	return nil, q.noRoute(true)
}

func (q *request) unknownType(namespace string, names []string) error {
	if q.s.provider(namespace) == nil {
		return azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%.80s' is invalid.", namespace)
	}
	return azure.Errorf(http.StatusNotFound, "InvalidResourceType", "The resource type '%.200s' could not be found in the namespace '%s' for api version '%s'.", strings.Join(names, "/"), namespace, q.version)
}

// one serves a resource.
func (q *request) one(k kind) (*answer, error) {
	verbs := map[string]string{"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
	verb := verbs[q.Method]
	if verb == "" {
		return nil, q.noRoute(true)
	}
	if err := misplaced(q.id); err != nil {
		return nil, err
	}
	if err := q.s.permit(q.who, k.full+"/"+verb, q.id); err != nil {
		return nil, err
	}
	switch q.Method {
	case http.MethodPut, http.MethodPatch:
		return q.put(k)
	case http.MethodDelete:
		return q.remove(k)
	}
	return q.get(k)
}

// misplaced refuses resources that lie elsewhere than in a resource group.
func misplaced(id azure.ID) error {
	if scope := id.Scope(); scope.IsResource() || scope.ResourceGroup() == "" {
		return azure.Errorf(http.StatusBadRequest, "InvalidRequestUri", "A resource lies in a resource group, and '%s' does not.", id)
	}
	return nil
}
