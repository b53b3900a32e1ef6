package template

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
)

var lambdaFunctions = map[string]function{
	"lambda":          special(1, -1, func(*frame, *call) (any, error) { return nil, errLambda }),
	"lambdaVariables": special(1, 1, lambdaVariable),
	"filter":          special(2, 2, filter),
	"map":             special(2, 2, mapArray),
	"mapValues":       special(2, 2, mapValues),
	"reduce":          special(3, 3, reduce),
	"sort":            special(2, 2, sortArray),
	"toObject":        special(2, 3, toObject),
	"groupBy":         special(2, 2, groupBy),
}

var errLambda = errors.New("the template function 'lambda' stands as an argument of filter, map and their like only")

// A lambda is a function that stands as an argument.
type lambda struct {
	f     *frame
	names []string
	body  node
}

// lambdaOf reads lambda('a', 'b', …, body) with a number of names from least to most.
func (f *frame) lambdaOf(n node, least, most int) (*lambda, error) {
	c, ok := n.(*call)
	if !ok || c.namespace != "" || !strings.EqualFold(c.name, "lambda") || len(c.args) == 0 {
		return nil, errors.New("a lambda is expected here")
	}
	l := &lambda{f: f, body: c.args[len(c.args)-1]}
	for _, a := range c.args[:len(c.args)-1] {
		s, ok := a.(literal)
		name, isString := s.value.(string)
		if !ok || !isString {
			return nil, errors.New("the variables of a lambda are strings")
		}
		l.names = append(l.names, name)
	}
	if len(l.names) < least || len(l.names) > most {
		return nil, fmt.Errorf("a lambda of %d to %d variables is expected, and it has %d", least, most, len(l.names))
	}
	return l, nil
}

// call evaluates the lambda for values; those without a name are left out.
func (l *lambda) call(values ...any) (any, error) {
	f := l.f
	for i, name := range l.names {
		f = f.bind(name, values[i])
	}
	return f.node(l.body)
}

func (l *lambda) condition(values ...any) (bool, error) {
	v, err := l.call(values...)
	if err != nil {
		return false, err
	}
	return asBool(v)
}

func lambdaVariable(f *frame, c *call) (any, error) {
	v, err := f.node(c.args[0])
	if err != nil {
		return nil, err
	}
	name, err := asString(v)
	if err != nil {
		return nil, err
	}
	got, ok := f.lambda[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("the lambda variable '%s' is not defined here", name)
	}
	return got, nil
}

// overArray evaluates the array and the lambda of a call.
func (f *frame) overArray(c *call, least, most int) ([]any, *lambda, error) {
	v, err := f.node(c.args[0])
	if err != nil {
		return nil, nil, err
	}
	a, err := asArray(v)
	if err != nil {
		return nil, nil, fmt.Errorf("the template function '%s': %w", c.name, err)
	}
	l, err := f.lambdaOf(c.args[len(c.args)-1], least, most)
	if err != nil {
		return nil, nil, fmt.Errorf("the template function '%s': %w", c.name, err)
	}
	return a, l, nil
}

func filter(f *frame, c *call) (any, error) {
	a, l, err := f.overArray(c, 1, 2)
	if err != nil {
		return nil, err
	}
	kept := []any{}
	for i, v := range a {
		yes, err := l.condition(v, int64(i))
		if err != nil {
			return nil, err
		}
		if yes {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

func mapArray(f *frame, c *call) (any, error) {
	a, l, err := f.overArray(c, 1, 2)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(a))
	for i, v := range a {
		if out[i], err = l.call(v, int64(i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func mapValues(f *frame, c *call) (any, error) {
	v, err := f.node(c.args[0])
	if err != nil {
		return nil, err
	}
	o, err := asObject(v)
	if err != nil {
		return nil, err
	}
	l, err := f.lambdaOf(c.args[1], 1, 1)
	if err != nil {
		return nil, err
	}
	out := &document.Object{}
	for name, value := range o.All() {
		got, err := l.call(value)
		if err != nil {
			return nil, err
		}
		out.Set(name, got)
	}
	return out, nil
}

func reduce(f *frame, c *call) (any, error) {
	a, l, err := f.overArray(c, 2, 3)
	if err != nil {
		return nil, err
	}
	sum, err := f.node(c.args[1])
	if err != nil {
		return nil, err
	}
	for i, v := range a {
		if sum, err = l.call(sum, v, int64(i)); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// sortArray sorts by a lambda that says whether the first comes before the second.
func sortArray(f *frame, c *call) (any, error) {
	a, l, err := f.overArray(c, 2, 2)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(a)
	slices.SortStableFunc(out, func(x, y any) int {
		before, beforeErr := l.condition(x, y)
		after, afterErr := l.condition(y, x)
		err = cmp.Or(err, beforeErr, afterErr)
		switch {
		case before && !after:
			return -1
		case after && !before:
			return 1
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// toObject makes an object of an array: a lambda gives the names, and another the values, if there is one.
func toObject(f *frame, c *call) (any, error) {
	v, err := f.node(c.args[0])
	if err != nil {
		return nil, err
	}
	a, err := asArray(v)
	if err != nil {
		return nil, err
	}
	key, err := f.lambdaOf(c.args[1], 1, 1)
	if err != nil {
		return nil, err
	}
	var value *lambda
	if len(c.args) > 2 {
		if value, err = f.lambdaOf(c.args[2], 1, 1); err != nil {
			return nil, err
		}
	}
	out := &document.Object{}
	for _, e := range a {
		name, err := key.name(e)
		if err != nil {
			return nil, err
		}
		got := e
		if value != nil {
			if got, err = value.call(e); err != nil {
				return nil, err
			}
		}
		out.Set(name, got)
	}
	return out, nil
}

// name evaluates the lambda to the name of a property.
func (l *lambda) name(v any) (string, error) {
	got, err := l.call(v)
	if err != nil {
		return "", err
	}
	return asString(got)
}

func groupBy(f *frame, c *call) (any, error) {
	a, l, err := f.overArray(c, 1, 1)
	if err != nil {
		return nil, err
	}
	out := &document.Object{}
	for _, e := range a {
		name, err := l.name(e)
		if err != nil {
			return nil, err
		}
		out.Set(name, append(slices.Clip(out.Array(name)), e))
	}
	return out, nil
}
