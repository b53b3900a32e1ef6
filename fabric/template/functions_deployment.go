package template

import (
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
)

var deploymentFunctions = map[string]function{
	"parameters":      special(1, 1, callParameters),
	"variables":       special(1, 1, callVariables),
	"copyIndex":       special(0, 2, copyIndex),
	"deployment":      offered(func(r *Request) *document.Object { return r.Deployment }),
	"environment":     offered(func(r *Request) *document.Object { return r.Environment }),
	"deployer":        offered(func(r *Request) *document.Object { return r.Deployer }),
	"resourceGroup":   offered(func(r *Request) *document.Object { return r.ResourceGroup }),
	"subscription":    offered(func(r *Request) *document.Object { return r.Subscription }),
	"tenant":          offered(func(r *Request) *document.Object { return r.Tenant }),
	"managementGroup": offered(func(*Request) *document.Object { return nil }),
}

// offered makes a function that returns an object of the request.
func offered(get func(*Request) *document.Object) function {
	return special(0, 0, func(f *frame, c *call) (any, error) {
		if f.own != nil {
			return nil, fmt.Errorf("the template function '%s' is not expected in a function of the template", c.name)
		}
		o := get(&f.x.request)
		if o == nil {
			return nil, fmt.Errorf("the template function '%s' is not expected at this scope", c.name)
		}
		return document.Clone(o), nil
	})
}

func (f *frame) name(c *call) (string, error) {
	v, err := f.node(c.args[0])
	if err != nil {
		return "", err
	}
	return asString(v)
}

func callParameters(f *frame, c *call) (any, error) {
	name, err := f.name(c)
	if err != nil {
		return nil, err
	}
	if f.own != nil {
		v, ok := f.own[strings.ToLower(name)]
		if !ok {
			return nil, fmt.Errorf("the parameter '%s' is not one of the template's function", name)
		}
		return v, nil
	}
	p := f.x.byName[strings.ToLower(name)]
	if p == nil {
		return nil, fmt.Errorf("the template parameter '%s' is not found", name)
	}
	return f.x.parameterValue(p)
}

func callVariables(f *frame, c *call) (any, error) {
	name, err := f.name(c)
	switch {
	case err != nil:
		return nil, err
	case f.own != nil:
		return nil, errors.New("the template function 'variables' is not expected in a function of the template")
	case f.initial:
		return nil, errors.New("the template function 'variables' is not expected in the default value of a parameter")
	}
	return f.x.variable(name)
}

// copyIndex is copyIndex([loop], [offset]).
func copyIndex(f *frame, c *call) (any, error) {
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	name, offset := "", int64(0)
	if len(args) > 0 {
		if s, ok := args[0].(string); ok {
			name, args = s, args[1:]
		}
	}
	if len(args) > 1 {
		return nil, errors.New("the template function 'copyIndex' takes the name of a loop and an offset")
	}
	if len(args) > 0 {
		if offset, err = asInt(args[0]); err != nil {
			return nil, err
		}
	}
	l, ok := f.loopOf(name)
	if !ok {
		return nil, fmt.Errorf("the template function 'copyIndex' is not expected at this location: it stands in no loop %s", shown(name))
	}
	return add(l.index, offset)
}

// loopOf finds the loop of a name; without one it is that of the resource, else the innermost.
func (f *frame) loopOf(name string) (found loop, ok bool) {
	for _, l := range f.loops {
		switch {
		case name != "" && strings.EqualFold(l.name, name), name == "" && (l.resource || !found.resource):
			found, ok = l, true
		}
	}
	return found, ok
}
