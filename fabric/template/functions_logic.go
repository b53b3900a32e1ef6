package template

import (
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
)

var logicFunctions = map[string]function{
	"if":              special(3, 3, callIf),
	"and":             special(2, -1, func(f *frame, c *call) (any, error) { return junction(f, c, false) }),
	"or":              special(2, -1, func(f *frame, c *call) (any, error) { return junction(f, c, true) }),
	"coalesce":        special(1, -1, coalesce),
	"not":             fixed(1, not),
	"bool":            fixed(1, toBool),
	"true":            fixed(0, func([]any) (any, error) { return true, nil }),
	"false":           fixed(0, func([]any) (any, error) { return false, nil }),
	"equals":          fixed(2, func(args []any) (any, error) { return document.Equal(args[0], args[1]), nil }),
	"less":            fixed(2, func(args []any) (any, error) { return compared(args, func(n int) bool { return n < 0 }) }),
	"lessOrEquals":    fixed(2, func(args []any) (any, error) { return compared(args, func(n int) bool { return n <= 0 }) }),
	"greater":         fixed(2, func(args []any) (any, error) { return compared(args, func(n int) bool { return n > 0 }) }),
	"greaterOrEquals": fixed(2, func(args []any) (any, error) { return compared(args, func(n int) bool { return n >= 0 }) }),
}

// callIf evaluates only the branch that is taken: the other may be about a resource that is not there.
func callIf(f *frame, c *call) (any, error) {
	v, err := f.node(c.args[0])
	if err != nil {
		return nil, err
	}
	yes, err := asBool(v)
	if err != nil {
		return nil, fmt.Errorf("the condition of the template function 'if': %w", err)
	}
	if yes {
		return f.node(c.args[1])
	}
	return f.node(c.args[2])
}

// junction is and, or or: it ends at the first argument that decides.
func junction(f *frame, c *call, decides bool) (any, error) {
	for _, n := range c.args {
		v, err := f.node(n)
		if err != nil {
			return nil, err
		}
		b, err := asBool(v)
		if err != nil {
			return nil, fmt.Errorf("an argument of the template function '%s': %w", c.name, err)
		}
		if b == decides {
			return decides, nil
		}
	}
	return !decides, nil
}

func coalesce(f *frame, c *call) (any, error) {
	for _, n := range c.args {
		if v, err := f.node(n); err != nil || v != nil {
			return v, err
		}
	}
	return nil, nil
}

func not(args []any) (any, error) {
	b, err := asBool(args[0])
	return !b, err
}

func toBool(args []any) (any, error) {
	switch v := args[0].(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case string:
		switch strings.ToLower(v) {
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
	}
	return nil, fmt.Errorf("%s is neither true nor false", shown(document.Text(args[0])))
}

// compared compares two numbers, or two strings.
func compared(args []any, judge func(int) bool) (any, error) {
	n, err := compare(args[0], args[1])
	return err == nil && judge(n), err
}

func compare(a, b any) (int, error) {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	}
	x, okX := asNumber(a)
	y, okY := asNumber(b)
	switch {
	case !okX || !okY:
		return 0, fmt.Errorf("%s and %s cannot be compared", kindOf(a), kindOf(b))
	case x < y:
		return -1, nil
	case x > y:
		return 1, nil
	}
	return 0, nil
}

func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}
