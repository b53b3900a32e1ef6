package template

import (
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

var resourceFunctions = map[string]function{
	"resourceId":                special(2, -1, resourceID),
	"subscriptionResourceId":    special(2, -1, subscriptionResourceID),
	"tenantResourceId":          {least: 2, most: -1, plain: func(args []any) (any, error) { return idOf("", args) }},
	"managementGroupResourceId": {least: 3, most: -1, plain: managementGroupResourceID},
	"extensionResourceId":       {least: 3, most: -1, plain: extensionResourceID},
	"reference":                 special(1, 3, callReference),
	"references":                special(1, 2, callReferences),
	"pickZones":                 special(3, 5, pickZones),
	"providers":                 special(1, 2, providers),
}

// idOf makes an id below a scope of a full type and the names that belong to it.
func idOf(scope string, args []any) (any, error) {
	kind, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	types := strings.Split(kind, "/")
	if len(types) < 2 || len(args)-1 != len(types)-1 {
		return nil, fmt.Errorf("the type %s wants %d names, and %d are given", shown(kind), max(1, len(types)-1), len(args)-1)
	}
	var b strings.Builder
	b.WriteString(scope + "/providers/" + types[0])
	for i, t := range types[1:] {
		name, err := asString(args[i+1])
		if err != nil {
			return nil, err
		}
		if name == "" {
			return nil, fmt.Errorf("a name for the type %s is empty", shown(kind))
		}
		b.WriteString("/" + t + "/" + name)
	}
	return b.String(), nil
}

// typeAt finds where the type stands among arguments that may begin with up to most others. Names may have slashes, too,
// so the first that fits is taken.
func typeAt(args []any, most int) (int, error) {
	for i := 0; i <= most && i < len(args); i++ {
		kind, ok := args[i].(string)
		if ok && strings.Contains(kind, "/") && len(strings.Split(kind, "/"))-1 == len(args)-1-i {
			return i, nil
		}
	}
	return 0, errors.New("no argument is a type such as 'Microsoft.Network/virtualNetworks' with as many names behind it as it wants")
}

// resourceID is resourceId([subscription], [resource group], type, name, …).
func resourceID(f *frame, c *call) (any, error) {
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	i, err := typeAt(args, 2)
	if err != nil {
		return nil, fmt.Errorf("the template function 'resourceId': %w", err)
	}
	scope := f.x.request.Scope.Group()
	subscription, group := scope.Subscription(), scope.ResourceGroup()
	switch i {
	case 1:
		group = asText(args[0])
	case 2:
		subscription, group = asText(args[0]), asText(args[1])
	}
	text := ""
	if subscription != "" {
		text = "/subscriptions/" + subscription
	}
	if group != "" {
		text += "/resourceGroups/" + group
	}
	return idOf(text, args[i:])
}

// subscriptionResourceID is subscriptionResourceId([subscription], type, name, …).
func subscriptionResourceID(f *frame, c *call) (any, error) {
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	i, err := typeAt(args, 1)
	if err != nil {
		return nil, fmt.Errorf("the template function 'subscriptionResourceId': %w", err)
	}
	subscription := f.x.request.Scope.Subscription()
	if i == 1 {
		subscription = asText(args[0])
	}
	if subscription == "" {
		return nil, errors.New("the template function 'subscriptionResourceId': there is no subscription at this scope")
	}
	return idOf("/subscriptions/"+subscription, args[i:])
}

func managementGroupResourceID(args []any) (any, error) {
	group, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	return idOf("/providers/Microsoft.Management/managementGroups/"+group, args[1:])
}

func extensionResourceID(args []any) (any, error) {
	scope, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	return idOf(strings.TrimSuffix(scope, "/"), args[1:])
}

var errNotHere = "the template function '%s' is not expected at this location: it reads what is there only while the deployment runs, " +
	"so it stands in the properties of a resource and in outputs"

// target finds the resource that a function of the run is about. version is what the call says, "" for none.
func (f *frame) target(function, name, version string) (azure.ID, string, *Resource, error) {
	local, err := f.x.plan.find(name)
	if err != nil {
		return azure.ID{}, "", nil, err
	}
	if local != nil {
		if local.Skipped {
			return azure.ID{}, "", nil, fmt.Errorf("the template function '%s' asks for '%s', whose condition is false", function, name)
		}
		if version == "" {
			version = local.APIVersion
		}
		return local.ID, version, local, nil
	}
	id, err := azure.ParseID(name)
	if err != nil || !id.IsResource() {
		return azure.ID{}, "", nil, fmt.Errorf("the template function '%s' asks for %s, which is neither a resource of the template nor a resource id", function, shown(name))
	}
	if version == "" {
		return azure.ID{}, "", nil, fmt.Errorf("the template function '%s' asks for '%s', which is not in the template, and so wants an API version", function, name)
	}
	return id, version, nil, nil
}

// strings evaluates arguments that are strings.
func (f *frame) strings(c *call) ([]string, error) {
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(args))
	for i, a := range args {
		if out[i], err = asString(a); err != nil {
			return nil, fmt.Errorf("the template function '%s': %w", c.name, err)
		}
	}
	return out, nil
}

// callReference is reference(resource, [API version], ['Full']).
func callReference(f *frame, c *call) (any, error) {
	if f.run == nil {
		return nil, fmt.Errorf(errNotHere, c.name)
	}
	args, err := f.strings(c)
	if err != nil {
		return nil, err
	}
	args = append(args, "", "")
	if args[2] != "" && !strings.EqualFold(args[2], "Full") {
		return nil, fmt.Errorf("the last argument of the template function 'reference' is 'Full' or left out, and it is %s", shown(args[2]))
	}
	id, version, local, err := f.target("reference", args[0], args[1])
	if err != nil {
		return nil, err
	}
	return f.run.Reference(f.ctx, Reference{ID: id, APIVersion: version, Full: args[2] != "", Local: local})
}

// callReferences is references(loop, ['Full']), of all resources that a loop makes.
func callReferences(f *frame, c *call) (any, error) {
	if f.run == nil {
		return nil, fmt.Errorf(errNotHere, c.name)
	}
	args, err := f.strings(c)
	if err != nil {
		return nil, err
	}
	all, err := f.x.plan.meant(args[0])
	if err != nil {
		return nil, err
	}
	full := len(args) > 1 && strings.EqualFold(args[1], "Full")
	out := []any{}
	for _, r := range all {
		if r.Skipped {
			continue
		}
		v, err := f.run.Reference(f.ctx, Reference{ID: r.ID, APIVersion: r.APIVersion, Full: full, Local: r})
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// callList is list…(resource, [API version], [body]).
func callList(f *frame, c *call) (any, error) {
	if f.run == nil {
		return nil, fmt.Errorf(errNotHere, c.name)
	}
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	name, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	l := List{Function: c.name}
	version := ""
	if len(args) > 1 {
		if version, err = asString(args[1]); err != nil {
			return nil, err
		}
	}
	if len(args) > 2 {
		l.Body = args[2]
	}
	if l.ID, l.APIVersion, _, err = f.target(c.name, name, version); err != nil {
		return nil, err
	}
	return f.run.List(f.ctx, l)
}

// pickZones is pickZones(namespace, type, location, [number], [offset]).
func pickZones(f *frame, c *call) (any, error) {
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	var names [3]string
	for i := range names {
		if names[i], err = asString(args[i]); err != nil {
			return nil, err
		}
	}
	numbers := [2]int64{1, 0}
	for i := 3; i < len(args); i++ {
		if numbers[i-3], err = asInt(args[i]); err != nil {
			return nil, err
		}
	}
	if f.x.request.Zones == nil {
		return nil, errors.New("the template function 'pickZones' is not offered here")
	}
	zones, ok := f.x.request.Zones(names[0], names[1], names[2])
	if !ok {
		return nil, fmt.Errorf("the resource type '%s/%s' is not known in the location '%s'", names[0], names[1], names[2])
	}
	n, offset := numbers[0], numbers[1]
	if n < 1 || n > 3 || offset < 0 || offset+n > int64(len(zones)) && len(zones) > 0 {
		return nil, fmt.Errorf("the location '%s' has %d zones, and %d from %d are asked for", names[2], len(zones), n, offset)
	}
	out := []any{}
	for i := range zones {
		if k := int64(i); k >= offset && k < offset+n {
			out = append(out, zones[i])
		}
	}
	return out, nil
}

// providers is providers(namespace, [type]).
func providers(f *frame, c *call) (any, error) {
	args, err := f.strings(c)
	if err != nil {
		return nil, err
	}
	args = append(args, "")
	if f.x.request.Providers == nil {
		return nil, errors.New("the template function 'providers' is not offered here")
	}
	info, ok := f.x.request.Providers(args[0], args[1])
	if !ok {
		return nil, fmt.Errorf("the resource provider '%s' is not known, or has no type '%s'", args[0], args[1])
	}
	return document.Clone(info), nil
}
