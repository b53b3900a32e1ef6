package template

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
)

// maxRange is Azure's limit for range().
const maxRange = 10_000

var arrayFunctions = map[string]function{
	"array":           fixed(1, toArray),
	"concat":          {least: 0, most: -1, plain: concat},
	"contains":        fixed(2, contains),
	"createArray":     {least: 0, most: -1, plain: func(args []any) (any, error) { return args, nil }},
	"createObject":    {least: 0, most: -1, plain: createObject},
	"empty":           fixed(1, empty),
	"first":           fixed(1, func(args []any) (any, error) { return end(args[0], true) }),
	"last":            fixed(1, func(args []any) (any, error) { return end(args[0], false) }),
	"flatten":         fixed(1, flatten),
	"indexFromEnd":    fixed(2, indexFromEnd),
	"intersection":    {least: 2, most: -1, plain: intersection},
	"items":           fixed(1, items),
	"json":            fixed(1, fromJSON),
	"length":          fixed(1, length),
	"null":            fixed(0, func([]any) (any, error) { return nil, nil }),
	"objectKeys":      fixed(1, objectKeys),
	"range":           fixed(2, makeRange),
	"shallowMerge":    fixed(1, shallowMerge),
	"skip":            fixed(2, func(args []any) (any, error) { return part(args, true) }),
	"take":            fixed(2, func(args []any) (any, error) { return part(args, false) }),
	"tryGet":          {least: 2, most: -1, plain: tryGet},
	"tryIndexFromEnd": fixed(2, tryIndexFromEnd),
	"union":           {least: 2, most: -1, plain: union},
}

func toArray(args []any) (any, error) {
	if a, ok := args[0].([]any); ok {
		return a, nil
	}
	return []any{args[0]}, nil
}

// concat joins strings, and what can be written as one, or arrays.
func concat(args []any) (any, error) {
	if len(args) > 0 {
		if _, ok := args[0].([]any); ok {
			all := []any{}
			for _, v := range args {
				a, err := asArray(v)
				if err != nil {
					return nil, err
				}
				all = append(all, a...)
			}
			return all, nil
		}
	}
	var b strings.Builder
	for _, v := range args {
		switch v.(type) {
		case []any, *document.Object:
			return nil, fmt.Errorf("a string cannot be joined with a value that is %s", kindOf(v))
		}
		b.WriteString(asText(v))
	}
	return b.String(), nil
}

func contains(args []any) (any, error) {
	switch in := args[0].(type) {
	case []any:
		return slices.ContainsFunc(in, func(v any) bool { return document.Equal(v, args[1]) }), nil
	case *document.Object:
		return in.Has(asText(args[1])), nil
	case string:
		return strings.Contains(in, asText(args[1])), nil
	case nil:
		return false, nil
	}
	return nil, fmt.Errorf("an array, an object or a string is expected, and the value is %s", kindOf(args[0]))
}

func createObject(args []any) (any, error) {
	if len(args)%2 != 0 {
		return nil, errors.New("names and values come in pairs")
	}
	o := &document.Object{}
	for i := 0; i < len(args); i += 2 {
		name, err := asString(args[i])
		if err != nil {
			return nil, err
		}
		o.Set(name, args[i+1])
	}
	return o, nil
}

func empty(args []any) (any, error) {
	if args[0] == nil {
		return true, nil
	}
	n, err := length(args)
	return n == int64(0), err
}

func length(args []any) (any, error) {
	switch v := args[0].(type) {
	case []any:
		return int64(len(v)), nil
	case *document.Object:
		return int64(v.Len()), nil
	case string:
		return int64(len(units(v))), nil
	}
	return nil, fmt.Errorf("an array, an object or a string is expected, and the value is %s", kindOf(args[0]))
}

// end returns the first element or character, or the last: null and the empty string where there is none.
func end(v any, first bool) (any, error) {
	switch v := v.(type) {
	case []any:
		switch {
		case len(v) == 0:
			return nil, nil
		case first:
			return v[0], nil
		}
		return v[len(v)-1], nil
	case string:
		u := units(v)
		switch {
		case len(u) == 0:
			return "", nil
		case first:
			return fromUnits(u[:1]), nil
		}
		return fromUnits(u[len(u)-1:]), nil
	}
	return nil, fmt.Errorf("an array or a string is expected, and the value is %s", kindOf(v))
}

func flatten(args []any) (any, error) {
	outer, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	all := []any{}
	for _, v := range outer {
		inner, err := asArray(v)
		if err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, nil
}

func indexFromEnd(args []any) (any, error) {
	a, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	i, err := asInt(args[1])
	if err != nil {
		return nil, err
	}
	if i < 1 || i > int64(len(a)) {
		return nil, fmt.Errorf("the index %d from the end is out of bounds of an array of %d", i, len(a))
	}
	return a[int64(len(a))-i], nil
}

func tryIndexFromEnd(args []any) (any, error) {
	if args[0] == nil {
		return nil, nil
	}
	v, err := indexFromEnd(args)
	if err != nil {
		return nil, nil
	}
	return v, nil
}

// tryGet follows names and indices, and is null where one leads nowhere.
func tryGet(args []any) (any, error) {
	v := args[0]
	for _, key := range args[1:] {
		var err error
		if v, err = member(v, key); err != nil {
			return nil, nil
		}
	}
	return v, nil
}

// intersection is what all arrays have, or all objects with the same value.
func intersection(args []any) (any, error) {
	if _, ok := args[0].(*document.Object); ok {
		return commonProperties(args)
	}
	common, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	for _, v := range args[1:] {
		other, err := asArray(v)
		if err != nil {
			return nil, err
		}
		in := make(map[string]bool, len(other))
		for _, e := range other {
			in[document.Key(e)] = true
		}
		kept := []any{}
		for _, e := range common {
			if key := document.Key(e); in[key] {
				kept = append(kept, e)
				delete(in, key) // once
			}
		}
		common = kept
	}
	return common, nil
}

func has(a []any, v any) bool {
	return slices.ContainsFunc(a, func(e any) bool { return document.Equal(e, v) })
}

func commonProperties(args []any) (any, error) {
	common := args[0].(*document.Object)
	for _, v := range args[1:] {
		other, err := asObject(v)
		if err != nil {
			return nil, err
		}
		kept := &document.Object{}
		for name, value := range common.All() {
			if o, ok := other.Get(name); ok && document.Equal(o, value) {
				kept.Set(name, value)
			}
		}
		common = kept
	}
	return common, nil
}

// union is all elements of all arrays once, or all properties of all objects: of two objects at one name their union, else
// the later value.
func union(args []any) (any, error) {
	if _, ok := args[0].(*document.Object); ok {
		all := &document.Object{}
		for _, v := range args {
			o, err := asObject(v)
			if err != nil {
				return nil, err
			}
			merge(all, o)
		}
		return all, nil
	}
	all := []any{}
	seen := make(map[string]bool)
	for _, v := range args {
		a, err := asArray(v)
		if err != nil {
			return nil, err
		}
		for _, e := range a {
			if key := document.Key(e); !seen[key] {
				seen[key] = true
				all = append(all, e)
			}
		}
	}
	return all, nil
}

func merge(into, from *document.Object) {
	for name, value := range from.All() {
		next, isObject := value.(*document.Object)
		old := into.Object(name)
		if !isObject || old == nil {
			into.Set(name, document.Clone(value))
			continue
		}
		merge(old, next)
	}
}

func shallowMerge(args []any) (any, error) {
	a, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	all := &document.Object{}
	for _, v := range a {
		o, err := asObject(v)
		if err != nil {
			return nil, err
		}
		for name, value := range o.All() {
			all.Set(name, value)
		}
	}
	return all, nil
}

// sorted returns the properties' names in the order of items(), objectKeys() and lambdas.
func sorted(o *document.Object) []string {
	var keys []string
	for name := range o.All() {
		keys = append(keys, name)
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return keys
}

func items(args []any) (any, error) {
	o, err := asObject(args[0])
	if err != nil {
		return nil, err
	}
	all := []any{}
	for _, key := range sorted(o) {
		v, _ := o.Get(key)
		all = append(all, document.NewObject("key", key, "value", v))
	}
	return all, nil
}

func objectKeys(args []any) (any, error) {
	o, err := asObject(args[0])
	if err != nil {
		return nil, err
	}
	all := []any{}
	for _, key := range sorted(o) {
		all = append(all, key)
	}
	return all, nil
}

func fromJSON(args []any) (any, error) {
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	return document.ParseLenient([]byte(s))
}

func makeRange(args []any) (any, error) {
	begin, err := asInt(args[0])
	if err != nil {
		return nil, err
	}
	n, err := asInt(args[1])
	if err != nil {
		return nil, err
	}
	if n < 0 || n > maxRange || begin > math.MaxInt32 || begin < math.MinInt32 || begin+n > math.MaxInt32 {
		return nil, fmt.Errorf("a range of 0 to %d ints of 32 bits is expected, and it is of %d from %d", maxRange, n, begin)
	}
	all := make([]any, n)
	for i := range all {
		all[i] = begin + int64(i)
	}
	return all, nil
}

// part is skip or take, of an array or a string.
func part(args []any, skip bool) (any, error) {
	n, err := asInt(args[1])
	if err != nil {
		return nil, err
	}
	cut := func(size int) (from, to int) {
		k := int(min(max(n, 0), int64(size)))
		if skip {
			return k, size
		}
		return 0, k
	}
	switch v := args[0].(type) {
	case []any:
		from, to := cut(len(v))
		return v[from:to:to], nil
	case string:
		u := units(v)
		from, to := cut(len(u))
		return fromUnits(u[from:to]), nil
	}
	return nil, fmt.Errorf("an array or a string is expected, and the value is %s", kindOf(args[0]))
}
