package template

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// Azure's limits for one template.
const (
	maxParameters = 256
	maxVariables  = 512
	maxResources  = 800
	maxOutputs    = 64
	maxCopies     = 800
)

// A Request is a template with what it may ask for before the deployment runs. What is nil is not offered.
type Request struct {
	Template   *document.Object
	Parameters *document.Object // name → {"value": …}; references to secrets of a vault are resolved already
	Scope      azure.ID         // resource group, subscription or tenant that is deployed to

	Tenant, Subscription, ResourceGroup *document.Object // what the functions of these names return
	Deployment, Environment, Deployer   *document.Object

	Now     time.Time     // for utcNow
	NewGUID func() string // for newGuid

	// Providers returns what providers() does for a type; Zones the zones of pickZones for it. ok is false for an unknown type.
	Providers func(namespace, kind string) (info *document.Object, ok bool)
	Zones     func(namespace, kind, location string) (zones []string, ok bool)
}

// An expansion is a template that is being evaluated.
type expansion struct {
	request    Request
	symbolic   bool // resources have names of their own, as in languageVersion 2.0
	parameters []*parameter
	byName     map[string]*parameter
	values     map[string]any // of parameters, by lower-case name
	variables  *document.Object
	resolved   map[string]any  // variables that were evaluated
	resolving  map[string]bool // those that are being evaluated
	functions  map[string]ownFunction
	outputs    *document.Object
	plan       *Plan
	budget     budget
}

// An ownFunction is one that the template defines.
type ownFunction struct {
	parameters []ownParameter
	output     any
}

type ownParameter struct{ name, kind string }

// invalid is how Azure says that a template is none.
func invalid(format string, args ...any) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: "+format, args...)
}

// invalidAt says where a template is not valid. An error of Azure's own that lies within, as of a resource that is not
// there, stays what it is.
func invalidAt(path string, err error) error {
	if e, ok := errors.AsType[*azure.Error](err); ok {
		return e
	}
	return invalid("Unable to process template language expressions %s.", at(path, err))
}

var knownSections = map[string]bool{"$schema": true, "contentversion": true, "languageversion": true, "apiprofile": true, "metadata": true, "definitions": true,
	"parameters": true, "variables": true, "functions": true, "resources": true, "outputs": true}

// newExpansion reads the sections of a template, without evaluating anything.
func newExpansion(r Request) (*expansion, error) {
	if r.Template == nil {
		return nil, invalid("The template is missing.")
	}
	for name := range r.Template.All() {
		if !knownSections[strings.ToLower(name)] {
			return nil, invalid("The property '%s' at the top of the template is not known.", name)
		}
	}
	if schema := r.Template.String("$schema"); !strings.Contains(strings.ToLower(schema), "deploymenttemplate.json") {
		return nil, invalid("The template's '$schema' %s is not that of a deployment template.", shown(schema))
	}
	if r.Template.String("contentVersion") == "" {
		return nil, invalid("The template has no 'contentVersion'.")
	}
	if v := r.Template.String("languageVersion"); v != "" && v != "2.0" && v != "1.0" && v != "2.1-experimental" {
		return nil, invalid("The 'languageVersion' %s is not known.", shown(v))
	}
	x := &expansion{request: r, byName: make(map[string]*parameter), values: make(map[string]any), variables: r.Template.Object("variables"),
		resolved: make(map[string]any), resolving: make(map[string]bool), functions: make(map[string]ownFunction), outputs: r.Template.Object("outputs")}
	if n := r.Template.Object("parameters").Len(); n > maxParameters {
		return nil, invalid("The template has %d parameters, and %d are allowed.", n, maxParameters)
	}
	if n := x.variables.Len(); n > maxVariables {
		return nil, invalid("The template has %d variables, and %d are allowed.", n, maxVariables)
	}
	if n := x.outputs.Len(); n > maxOutputs {
		return nil, invalid("The template has %d outputs, and %d are allowed.", n, maxOutputs)
	}
	return x, x.readFunctions()
}

// readFunctions reads the functions that the template defines.
func (x *expansion) readFunctions() error {
	for _, v := range x.request.Template.Array("functions") {
		space, ok := v.(*document.Object)
		if !ok {
			return invalid("The template's 'functions' are not all objects.")
		}
		for name, member := range space.Object("members").All() {
			full := space.String("namespace") + "." + name
			m, ok := member.(*document.Object)
			if !ok {
				return invalid("The template function '%s' is not an object.", full)
			}
			var fn ownFunction
			for _, p := range m.Array("parameters") {
				p, _ := p.(*document.Object)
				fn.parameters = append(fn.parameters, ownParameter{p.String("name"), strings.ToLower(p.String("type"))})
			}
			if fn.output, ok = m.At("output", "value"); !ok {
				return invalid("The template function '%s' has no 'output' with a 'value'.", full)
			}
			x.functions[strings.ToLower(full)] = fn
		}
	}
	return nil
}

// variable evaluates a variable, once, when it is asked for.
func (x *expansion) variable(name string) (any, error) {
	key := strings.ToLower(name)
	if v, ok := x.resolved[key]; ok {
		return v, nil
	}
	if x.resolving[key] {
		return nil, fmt.Errorf("the variable '%s' depends on itself", name)
	}
	x.resolving[key] = true
	defer delete(x.resolving, key)
	f := &frame{x: x}
	raw, ok := x.variables.Get(name)
	if !ok {
		return x.copiedVariable(f, name)
	}
	v, err := f.value(raw)
	if err != nil {
		return nil, at("variables."+name, err)
	}
	x.resolved[key] = v
	return v, nil
}

// variableNames lists the variables, those that loops make among them.
func (x *expansion) variableNames() (all []string) {
	for name, v := range x.variables.All() {
		loops, ok := v.([]any)
		if !ok || !strings.EqualFold(name, "copy") {
			all = append(all, name)
			continue
		}
		for _, l := range loops {
			if o, ok := l.(*document.Object); ok {
				all = append(all, o.String("name"))
			}
		}
	}
	return all
}

// copiedVariable evaluates a variable that a loop makes.
func (x *expansion) copiedVariable(f *frame, name string) (any, error) {
	for _, v := range x.variables.Array("copy") {
		c, _ := v.(*document.Object)
		if !strings.EqualFold(c.String("name"), name) {
			continue
		}
		all, err := f.copies(c)
		if err != nil {
			return nil, at("variables.copy."+name, err)
		}
		x.resolved[strings.ToLower(name)] = all
		return all, nil
	}
	return nil, fmt.Errorf("the template variable '%s' is not found", name)
}

// copyProperties evaluates the loops of an object: each makes one property of it.
func (f *frame) copyProperties(o *document.Object, loops []any) error {
	for _, v := range loops {
		c, ok := v.(*document.Object)
		if !ok || c.String("name") == "" {
			return fmt.Errorf("a loop is an object with name, count and input")
		}
		all, err := f.copies(c)
		if err != nil {
			return err
		}
		o.Set(c.String("name"), all)
	}
	return nil
}

// copies evaluates the input of a loop as often as it says.
func (f *frame) copies(c *document.Object) ([]any, error) {
	n, err := f.count(c)
	if err != nil {
		return nil, err
	}
	input, ok := c.Get("input")
	if !ok {
		return nil, fmt.Errorf("the loop '%s' has no input", c.String("name"))
	}
	all := make([]any, n)
	for i := range all {
		if all[i], err = f.within(loop{name: c.String("name"), index: int64(i)}).value(input); err != nil {
			return nil, at(fmt.Sprintf("%s[%d]", c.String("name"), i), err)
		}
	}
	return all, nil
}

// count evaluates how many rounds a loop has.
func (f *frame) count(c *document.Object) (int64, error) {
	raw, ok := c.Get("count")
	if !ok {
		return 0, fmt.Errorf("the loop '%s' has no count", c.String("name"))
	}
	v, err := f.value(raw)
	if err != nil {
		return 0, at("count", err)
	}
	n, err := asInt(v)
	if err != nil {
		return 0, at("count", err)
	}
	if n < 0 || n > maxCopies {
		return 0, fmt.Errorf("the loop '%s' has %d rounds, and 0 to %d are allowed", c.String("name"), n, maxCopies)
	}
	return n, nil
}
