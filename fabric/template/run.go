package template

import (
	"context"
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// A Run is asked for what only a running deployment knows.
type Run interface {
	// Reference returns what reference() does: the properties of a resource, or with full all of it.
	Reference(ctx context.Context, r Reference) (any, error)
	// List returns the answer of an action such as listKeys.
	List(ctx context.Context, l List) (any, error)
}

// A Reference is a resource that is read.
type Reference struct {
	ID         azure.ID
	APIVersion string
	Full       bool
	Local      *Resource // when it is one of the same template
}

// A List is an action of a resource that reads.
type List struct {
	Function   string // such as "listKeys"
	ID         azure.ID
	APIVersion string
	Body       any // nil without one
}

// ours are the properties of a resource that are for the template, and not for Azure.
var ours = map[string]bool{"condition": true, "copy": true, "dependson": true, "resources": true, "scope": true, "existing": true, "comments": true, "metadata": true,
	"name": true, "type": true, "apiversion": true, "subscriptionid": true, "resourcegroup": true}

// evaluated returns what of the resource holds expressions that belong to this template.
func (r *Resource) evaluated() *document.Object {
	out := &document.Object{}
	for name, v := range r.raw.All() {
		if !ours[strings.ToLower(name)] {
			out.Set(name, v)
		}
	}
	if !r.inner() {
		return out
	}
	properties := &document.Object{} // the inner template evaluates its own
	for name, v := range out.Object("properties").All() {
		if !strings.EqualFold(name, "template") {
			properties.Set(name, v)
		}
	}
	out.Set("properties", properties)
	return out
}

// inner reports whether the resource is a nested deployment that evaluates its template by itself.
func (r *Resource) inner() bool {
	return strings.EqualFold(r.Type, deploymentType) && strings.EqualFold(r.raw.String("properties", "expressionEvaluationOptions", "scope"), "inner")
}

// Body returns the resource as it is sent to its provider: evaluated, without what is for the template alone.
func (r *Resource) Body(ctx context.Context, run Run) (*document.Object, error) {
	f := *r.frame
	f.ctx, f.run = ctx, run
	return r.body(&f)
}

// Preview is Body as far as it is known before the deployment runs: expressions that ask for more stay expressions.
func (r *Resource) Preview() (*document.Object, error) {
	f := *r.frame
	f.preview = true
	return r.body(&f)
}

func (r *Resource) body(f *frame) (*document.Object, error) {
	v, err := f.value(r.evaluated())
	if err != nil {
		return nil, invalidAt(r.path, fmt.Errorf("for resource '%s': %w", r.Type+"/"+r.Name, err))
	}
	out := document.NewObject("type", r.Type, "name", r.Name, "apiVersion", r.APIVersion)
	for name, value := range v.(*document.Object).All() {
		out.Set(name, value)
	}
	if r.inner() {
		properties := out.Object("properties")
		properties.Set("template", first(r.raw.Object("properties"), "template"))
	}
	return out, nil
}

// needsRun reports whether an expression can be evaluated only while the deployment runs.
func needsRun(n node) (needs bool) {
	walk(n, func(n node) {
		if c, ok := n.(*call); ok && c.namespace == "" {
			key := strings.ToLower(c.name)
			_, known := functions[key]
			needs = needs || key == "reference" || key == "references" || !known && isList(key)
		}
	})
	return needs
}

// Outputs evaluates the template's outputs: name → {"type", "value"}, secure ones without their value.
func (p *Plan) Outputs(ctx context.Context, run Run) (*document.Object, error) {
	out := &document.Object{}
	f := &frame{x: p.x, ctx: ctx, run: run}
	for name, v := range p.x.outputs.All() {
		o, ok := v.(*document.Object)
		if !ok {
			return nil, invalid("The output '%s' is not an object.", name)
		}
		got, skip, err := f.output(name, o)
		if err != nil {
			return nil, invalidAt("outputs."+name, err)
		}
		if !skip {
			out.Set(name, got)
		}
	}
	return out, nil
}

func (f *frame) output(name string, o *document.Object) (out *document.Object, skip bool, err error) {
	if v, ok := o.Get("condition"); ok {
		got, err := f.value(v)
		if err != nil {
			return nil, false, at("condition", err)
		}
		if yes, err := asBool(got); err != nil || !yes {
			return nil, true, err
		}
	}
	kind := strings.ToLower(o.String("type"))
	if !knownKind(kind) {
		return nil, false, fmt.Errorf("the type %s is none", shown(o.String("type")))
	}
	var v any
	if copies := o.Object("copy"); copies != nil {
		v, err = f.copies(copies)
	} else if raw, ok := o.Get("value"); ok {
		v, err = f.value(raw)
	} else {
		err = fmt.Errorf("the output '%s' has no value", name)
	}
	if err != nil {
		return nil, false, at("value", err)
	}
	if nullable, _ := first(o, "nullable").(bool); v != nil || !nullable {
		if err := checkType(kind, v); err != nil {
			return nil, false, err
		}
	}
	out = document.NewObject("type", kindNames[kind])
	if !strings.HasPrefix(kind, "secure") {
		out.Set("value", v)
	}
	return out, false, nil
}
