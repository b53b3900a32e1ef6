package template

import (
	"context"
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
)

// A frame is what an expression sees.
type frame struct {
	x       *expansion
	loops   []loop         // that it stands in, the innermost last
	lambda  map[string]any // variables of the lambdas around it
	own     map[string]any // parameters of the template's function that it belongs to; nil outside of one
	initial bool           // it is a parameter's default, where newGuid and utcNow are allowed

	preview bool // expressions that ask for the run stay as they are

	// While a deployment runs, what reference and list functions ask.
	ctx context.Context
	run Run
}

// A loop is one round of a copy.
type loop struct {
	name     string
	index    int64
	resource bool // of resources, which copyIndex() without a name means
}

func (f *frame) within(l loop) *frame {
	c := *f
	c.loops = append(append([]loop(nil), f.loops...), l)
	return &c
}

func (f *frame) bind(name string, v any) *frame {
	c := *f
	c.lambda = make(map[string]any, len(f.lambda)+1)
	for k, old := range f.lambda {
		c.lambda[k] = old
	}
	c.lambda[strings.ToLower(name)] = v
	return &c
}

// value evaluates a value of the template with all that is in it.
func (f *frame) value(v any) (any, error) {
	if err := f.x.budget.spend(); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		return f.text(v)
	case []any:
		a := make([]any, len(v))
		for i := range v {
			var err error
			if a[i], err = f.value(v[i]); err != nil {
				return nil, at(fmt.Sprintf("[%d]", i), err)
			}
		}
		return a, nil
	case *document.Object:
		return f.object(v)
	}
	return v, nil
}

// object evaluates names and values, and the loops that make properties.
func (f *frame) object(v *document.Object) (any, error) {
	o := &document.Object{}
	for name, value := range v.All() {
		if loops, ok := value.([]any); ok && strings.EqualFold(name, "copy") {
			if err := f.copyProperties(o, loops); err != nil {
				return nil, at("copy", err)
			}
			continue
		}
		key := name
		if isExpression(name) {
			k, err := f.text(name)
			if err != nil {
				return nil, at(name, err)
			}
			if key, err = asString(k); err != nil {
				return nil, at(name, err)
			}
		}
		got, err := f.value(value)
		if err != nil {
			return nil, at(name, err)
		}
		o.Set(key, got)
	}
	return o, nil
}

// text evaluates a string, which may be an expression.
func (f *frame) text(s string) (any, error) {
	if !isExpression(s) {
		return unescape(s), nil
	}
	n, err := parseExpression(s)
	if err != nil {
		return nil, err
	}
	if f.preview && needsRun(n) {
		return s, nil
	}
	return f.node(n)
}

func (f *frame) node(n node) (any, error) {
	if err := f.x.budget.spend(); err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case literal:
		return n.value, nil
	case *access:
		return f.access(n)
	case *call:
		return f.call(n)
	}
	return nil, fmt.Errorf("the expression holds a %T", n)
}

func (f *frame) access(a *access) (any, error) {
	of, err := f.node(a.of)
	if err != nil {
		return nil, err
	}
	key, err := f.node(a.key)
	if err != nil {
		return nil, err
	}
	v, err := member(of, key)
	if err != nil && a.safe {
		return nil, nil
	}
	return v, err
}

// member returns a property of an object, or an element of an array.
func member(of, key any) (any, error) {
	switch k := key.(type) {
	case string:
		o, ok := of.(*document.Object)
		if !ok {
			return nil, fmt.Errorf("the property '%s' cannot be read of a value that is %s", k, kindOf(of))
		}
		v, ok := o.Get(k)
		if !ok {
			return nil, fmt.Errorf("the property '%s' does not exist; available properties are '%s'", k, names(o))
		}
		return v, nil
	case int64:
		a, ok := of.([]any)
		if !ok {
			return nil, fmt.Errorf("the index %d cannot be read of a value that is %s", k, kindOf(of))
		}
		if k < 0 || k >= int64(len(a)) {
			return nil, fmt.Errorf("the index %d is out of bounds of an array of %d", k, len(a))
		}
		return a[k], nil
	}
	return nil, fmt.Errorf("an index is a string or an int, and this one is %s", kindOf(key))
}

func (f *frame) call(c *call) (any, error) {
	if c.namespace != "" {
		return f.callOwn(c)
	}
	fn, ok := lookup(c.name)
	if !ok {
		return nil, fmt.Errorf("the template function '%s' is not valid or not known", c.name)
	}
	if len(c.args) < fn.least || fn.most >= 0 && len(c.args) > fn.most {
		return nil, fmt.Errorf("the template function '%s' takes %s, and %d are given", c.name, fn.counts(), len(c.args))
	}
	var v any
	var err error
	if fn.special != nil {
		v, err = fn.special(f, c)
	} else {
		var args []any
		if args, err = f.args(c.args); err == nil {
			v, err = f.plain(c, fn, args)
		}
	}
	if err == nil {
		err = f.x.budget.hold(v)
	}
	return v, err
}

// plain calls a function with arguments that fit into a value together, so that it cannot make much more of them.
func (f *frame) plain(c *call, fn function, args []any) (any, error) {
	err := f.x.budget.hold(args...)
	var v any
	if err == nil {
		v, err = fn.plain(args)
	}
	if err != nil {
		return nil, fmt.Errorf("the template function '%s' fails: %w", c.name, err)
	}
	return v, nil
}

func (f *frame) args(nodes []node) ([]any, error) {
	args := make([]any, len(nodes))
	for i, n := range nodes {
		var err error
		if args[i], err = f.node(n); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// callOwn calls a function that the template defines. It sees its parameters and nothing else.
func (f *frame) callOwn(c *call) (any, error) {
	fn, ok := f.x.functions[strings.ToLower(c.namespace+"."+c.name)]
	if !ok {
		return nil, fmt.Errorf("the template function '%s.%s' is not defined in the template", c.namespace, c.name)
	}
	if f.own != nil {
		return nil, fmt.Errorf("the template function '%s.%s' cannot be called by another function of the template", c.namespace, c.name)
	}
	if len(c.args) != len(fn.parameters) {
		return nil, fmt.Errorf("the template function '%s.%s' takes %d arguments, and %d are given", c.namespace, c.name, len(fn.parameters), len(c.args))
	}
	args, err := f.args(c.args)
	if err != nil {
		return nil, err
	}
	own := make(map[string]any, len(args))
	for i, p := range fn.parameters {
		if err := checkType(p.kind, args[i]); err != nil {
			return nil, fmt.Errorf("the parameter '%s' of the template function '%s.%s': %w", p.name, c.namespace, c.name, err)
		}
		own[strings.ToLower(p.name)] = args[i]
	}
	inner := &frame{x: f.x, own: own, ctx: f.ctx}
	return inner.value(fn.output)
}

// A located error says where in the template it happened.
type located struct {
	path string
	err  error
}

func (e *located) Error() string { return "at '" + e.path + "': " + e.err.Error() }
func (e *located) Unwrap() error { return e.err }

// at adds a step to where an error happened.
func at(step string, err error) error {
	inner, ok := err.(*located)
	if !ok {
		return &located{step, err}
	}
	if strings.HasPrefix(inner.path, "[") {
		return &located{step + inner.path, inner.err}
	}
	return &located{step + "." + inner.path, inner.err}
}
