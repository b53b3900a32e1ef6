package template

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// A Plan is what a template says is to be there.
type Plan struct {
	Resources []*Resource // in the template's order; those whose condition is false are among them

	x     *expansion
	index map[string][]*Resource // by all the names that a template may use, in lower case
}

// A Resource is one of a plan.
type Resource struct {
	ID         azure.ID
	Type, Name string // of all parts: "Microsoft.Network/virtualNetworks/subnets", "network/subnet"
	APIVersion string
	Existing   bool        // it is there already and is read, not deployed
	Skipped    bool        // its condition is false
	DependsOn  []*Resource // that are deployed before it

	symbol  string
	raw     *document.Object
	path    string // in the template
	frame   *frame
	loop    string // that it is made by
	within  *Resource
	reached mark // while cycles are looked for
}

// Expand validates a template and its parameters, and returns what it says. Errors are *azure.Error, with Azure's codes.
func Expand(r Request) (*Plan, error) {
	x, err := newExpansion(r)
	if err != nil {
		return nil, err
	}
	p := &Plan{x: x, index: make(map[string][]*Resource)}
	x.plan = p
	if err := x.readParameters(); err != nil {
		return nil, err
	}
	for _, name := range x.variableNames() { // all of them: from here on the expansion is only read
		if _, err := x.variable(name); err != nil {
			return nil, invalidAt("variables", err)
		}
	}
	if err := p.read(r.Template, &frame{x: x}, nil, "resources"); err != nil {
		return nil, err
	}
	if err := p.depend(); err != nil {
		return nil, err
	}
	for _, r := range p.Resources {
		if r.Skipped || r.Existing {
			continue
		}
		if _, err := r.Preview(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// read reads the resources of the template, or those within a resource.
func (p *Plan) read(in *document.Object, f *frame, parent *Resource, path string) error {
	switch all := first(in, "resources").(type) {
	case nil:
	case []any:
		for i, v := range all {
			if err := p.resource(v, "", f, parent, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case *document.Object:
		p.x.symbolic = true
		for symbol, v := range all.All() {
			if err := p.resource(v, symbol, f, parent, path+"."+symbol); err != nil {
				return err
			}
		}
	default:
		return invalid("The template's 'resources' are neither an array nor an object.")
	}
	return nil
}

// resource reads one resource, or those that a loop makes of it.
func (p *Plan) resource(v any, symbol string, f *frame, parent *Resource, path string) error {
	raw, ok := v.(*document.Object)
	if !ok {
		return invalid("The template's '%s' is not an object.", path)
	}
	copies := raw.Object("copy")
	if copies == nil {
		return p.add(&Resource{symbol: symbol, raw: raw, path: path, frame: f, within: parent}, symbol)
	}
	n, err := f.count(copies)
	if err != nil {
		return invalidAt(path+".copy", err)
	}
	name := copies.String("name")
	if name == "" && symbol == "" {
		return invalid("The loop of '%s' has no name.", path)
	}
	rounds := make([]*Resource, n)
	for i := range rounds {
		rounds[i] = &Resource{symbol: symbol, raw: raw, path: path, within: parent, loop: name, frame: f.within(loop{name, int64(i), true})}
		alias := ""
		if symbol != "" {
			alias = fmt.Sprintf("%s[%d]", symbol, i)
		}
		if err := p.add(rounds[i], alias); err != nil {
			return err
		}
	}
	return serial(f, copies, rounds)
}

// serial has the rounds of a loop wait for each other, where it says so.
func serial(f *frame, copies *document.Object, rounds []*Resource) error {
	name := copies.String("name")
	switch mode := copies.String("mode"); strings.ToLower(mode) {
	case "", "parallel":
		return nil
	case "serial":
	default:
		return invalid("The loop '%s' has the mode %s, which is neither Serial nor Parallel.", name, shown(mode))
	}
	batch := 1
	if v, ok := copies.Get("batchSize"); ok {
		got, err := f.value(v)
		n, isInt := got.(int64)
		if err != nil || !isInt || n < 1 || n > maxCopies {
			return invalid("The loop '%s' has a batchSize that is not an int of 1 to %d.", name, maxCopies)
		}
		batch = int(n)
	}
	for i, r := range rounds {
		if i >= batch {
			r.DependsOn = append(r.DependsOn, rounds[(i/batch-1)*batch:(i/batch)*batch]...)
		}
	}
	return nil
}

// add evaluates what a resource is called, and takes it and those within it into the plan.
func (p *Plan) add(r *Resource, symbol string) error {
	if err := r.identify(); err != nil {
		return invalidAt(r.path, err)
	}
	if len(p.Resources) >= maxResources {
		return invalid("The template has more than %d resources.", maxResources)
	}
	if old := p.index[r.ID.Key()]; old != nil && !old[0].Skipped && !r.Skipped && !old[0].Existing && !r.Existing {
		return invalid("The resource '%s' is defined multiple times in a template.", r.ID)
	}
	p.Resources = append(p.Resources, r)
	relative := strings.TrimPrefix(strings.TrimPrefix(r.ID.Key(), r.ID.Scope().Key()), "/providers/")
	seen := make(map[string]bool)
	for _, name := range []string{r.ID.Key(), strings.TrimPrefix(relative, "providers/"), r.Name, r.ID.Name(), r.Type + "/" + r.Name, symbol, r.symbol, r.loop} {
		if key := strings.ToLower(name); key != "" && !seen[key] {
			seen[key] = true
			p.index[key] = append(p.index[key], r)
		}
	}
	return p.read(r.raw, r.frame, r, r.path+".resources")
}

// identify evaluates type, name, version, condition and scope.
func (r *Resource) identify() error {
	kind, name := r.raw.String("type"), ""
	if kind == "" {
		return errors.New("the resource has no type")
	}
	for _, part := range []struct {
		name string
		into *string
		must bool
	}{{"name", &name, true}, {"apiVersion", &r.APIVersion, true}} {
		v, ok := r.raw.Get(part.name)
		if !ok {
			return fmt.Errorf("the resource has no %s", part.name)
		}
		got, err := r.frame.value(v)
		if err == nil {
			*part.into, err = asString(got)
		}
		if err != nil {
			return at(part.name, err)
		}
	}
	r.Existing, _ = first(r.raw, "existing").(bool)
	if v, ok := r.raw.Get("condition"); ok {
		got, err := r.frame.value(v)
		yes, isBool := got.(bool)
		if err == nil && !isBool {
			_, err = asBool(got)
		}
		if err != nil {
			return at("condition", err)
		}
		r.Skipped = !yes
	}
	if r.within != nil {
		kind, name = r.within.Type+"/"+kind, r.within.Name+"/"+name
	}
	r.Type, r.Name = kind, name
	return r.place()
}

// place finds the resource's id.
func (r *Resource) place() error {
	scope, err := r.scope()
	if err != nil {
		return at("scope", err)
	}
	if strings.EqualFold(r.Type, "Microsoft.Resources/resourceGroups") && scope.ResourceGroup() == "" && scope.Subscription() != "" {
		r.ID, err = azure.ParseID(scope.String() + "/resourceGroups/" + r.Name)
		return err
	}
	id, err := scope.Resource(r.Type, r.Name)
	if err != nil {
		return err
	}
	r.ID, err = azure.ParseID(id.String()) // "…/providers/locks" and the like have a scope of their own within
	return err
}

// scope evaluates where the resource is deployed: into the deployment's scope, or as it says.
func (r *Resource) scope() (azure.ID, error) {
	scope := r.frame.x.request.Scope
	if r.within != nil {
		return r.within.ID.Scope(), nil
	}
	get := func(name string) (string, error) {
		v, ok := r.raw.Get(name)
		if !ok {
			return "", nil
		}
		got, err := r.frame.value(v)
		if err != nil {
			return "", err
		}
		return asString(got)
	}
	text, err := get("scope")
	switch {
	case err != nil:
		return scope, err
	case strings.HasPrefix(text, "/"):
		return azure.ParseID(text)
	case text != "":
		return azure.ParseID(scope.String() + "/providers/" + text)
	case !strings.EqualFold(r.Type, deploymentType):
		return scope, nil
	}
	subscription, err := get("subscriptionId")
	if err != nil {
		return scope, err
	}
	group, err := get("resourceGroup")
	if err != nil {
		return scope, err
	}
	switch {
	case subscription == "" && group == "":
		return scope, nil
	case subscription == "":
		subscription = scope.Subscription()
	}
	if group == "" {
		return azure.SubscriptionID(subscription), nil
	}
	return azure.ParseID(azure.GroupID(subscription, group).String())
}

// deploymentType is the type of nested deployments.
const deploymentType = "Microsoft.Resources/deployments"

// find returns the one resource that a name stands for, nil for none.
func (p *Plan) find(name string) (*Resource, error) {
	switch all := p.index[strings.ToLower(strings.TrimSuffix(name, "/"))]; len(all) {
	case 0:
		return nil, nil
	case 1:
		return all[0], nil
	default:
		return nil, fmt.Errorf("the name %s stands for %d resources of the template", shown(name), len(all))
	}
}

// Hash returns what Azure calls templateHash: the same for the same template.
func (p *Plan) Hash() string {
	return strconv.FormatUint(hash64([]byte(document.Text(p.x.request.Template))), 10)
}

// Parameters returns the values that are in force, as a deployment shows them: secure ones without their value.
func (p *Plan) Parameters() *document.Object {
	all := &document.Object{}
	for _, d := range p.x.parameters {
		o := document.NewObject("type", kindNames[d.kind])
		if !d.secure() {
			o.Set("value", p.x.values[strings.ToLower(d.name)])
		}
		all.Set(d.name, o)
	}
	return all
}

// kindNames are the types as deployments show them.
var kindNames = map[string]string{"string": "String", "securestring": "SecureString", "int": "Int", "bool": "Bool", "object": "Object",
	"secureobject": "SecureObject", "array": "Array"}
