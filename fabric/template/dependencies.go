package template

import (
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
)

// depend finds what each resource depends on: what it says, and what it reads while the deployment runs.
func (p *Plan) depend() error {
	for _, r := range p.Resources {
		if r.Skipped || r.Existing {
			continue
		}
		if err := p.explicit(r); err != nil {
			return invalidAt(r.path+".dependsOn", err)
		}
		p.implicit(r)
	}
	for _, r := range p.Resources {
		r.DependsOn = slices.DeleteFunc(unique(r.DependsOn), func(d *Resource) bool { return d.Skipped || d.Existing })
	}
	for _, r := range p.Resources {
		if cycle := r.cycle(nil); cycle != nil {
			return invalid("Circular dependency detected on resource: '%s'. The way around is '%s'.", cycle[0].ID, strings.Join(ids(cycle), "' → '"))
		}
	}
	return nil
}

func unique(all []*Resource) (out []*Resource) {
	for _, r := range all {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func ids(all []*Resource) (out []string) {
	for _, r := range all {
		out = append(out, r.Type+"/"+r.Name)
	}
	return out
}

// explicit reads dependsOn.
func (p *Plan) explicit(r *Resource) error {
	raw, ok := r.raw.Get("dependsOn")
	if !ok {
		return nil
	}
	v, err := r.frame.value(raw)
	if err != nil {
		return err
	}
	all, err := asArray(v)
	if err != nil {
		return err
	}
	for _, v := range all {
		name, err := asString(v)
		if err != nil {
			return err
		}
		on, err := p.meant(name)
		if err != nil {
			return err
		}
		r.DependsOn = append(r.DependsOn, on...)
	}
	return nil
}

// meant returns what a name in dependsOn stands for: one resource, or all that a loop makes.
func (p *Plan) meant(name string) ([]*Resource, error) {
	all := p.index[strings.ToLower(strings.TrimSuffix(name, "/"))]
	switch {
	case len(all) == 0:
		return nil, invalid("The resource '%s' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details.", name)
	case len(all) == 1:
		return all, nil
	}
	loop, symbol := all[0].loop, all[0].symbol
	for _, r := range all {
		ofLoop := loop != "" && r.loop == loop && strings.EqualFold(loop, name)
		ofSymbol := symbol != "" && r.symbol == symbol && strings.EqualFold(symbol, name)
		if !ofLoop && !ofSymbol {
			return nil, invalid("The dependency '%s' is ambiguous: %d resources of the template have this name. Name its type, too.", name, len(all))
		}
	}
	return all, nil
}

// implicit finds the resources of the template that r reads by reference() and list…(): they have to be there first. What
// they are given may itself be known only later; then the template has to say what it depends on.
func (p *Plan) implicit(r *Resource) {
	r.expressions(func(n node) {
		c, ok := n.(*call)
		if !ok || c.namespace != "" || len(c.args) == 0 {
			return
		}
		key := strings.ToLower(c.name)
		if key != "reference" && key != "references" && !isList(key) {
			return
		}
		v, err := r.frame.node(c.args[0])
		name, isString := v.(string)
		if err != nil || !isString {
			return
		}
		for _, on := range p.index[strings.ToLower(strings.TrimSuffix(name, "/"))] {
			if on != r {
				r.DependsOn = append(r.DependsOn, on)
			}
		}
	})
}

// expressions calls f for every part of every expression in the resource that is evaluated while the deployment runs.
func (r *Resource) expressions(f func(node)) {
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case string:
			if !isExpression(v) {
				return
			}
			if n, err := parseExpression(v); err == nil {
				walk(n, f)
			}
		case []any:
			for _, e := range v {
				look(e)
			}
		case *document.Object:
			for _, e := range v.All() {
				look(e)
			}
		}
	}
	for _, v := range r.evaluated().All() {
		look(v)
	}
}

// A mark is how far the search for cycles came.
type mark int

const (
	unseen mark = iota
	onTheWay
	done
)

// cycle returns the resources of a circle that r leads into, nil if there is none.
func (r *Resource) cycle(way []*Resource) []*Resource {
	switch r.reached {
	case done:
		return nil
	case onTheWay:
		return append(way[slices.Index(way, r):], r)
	}
	r.reached = onTheWay
	for _, on := range r.DependsOn {
		if c := on.cycle(append(way, r)); c != nil {
			return c
		}
	}
	r.reached = done
	return nil
}
