package document

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// An Object is a JSON object: properties in the order in which they were set, found by names in any case. The zero
// Object is empty. It must not be changed while others read it.
type Object struct {
	properties []property
	index      map[string]int // of the name in lower case
}

type property struct {
	name  string
	value any
}

// NewObject returns an object of name, value, name, value …
func NewObject(pairs ...any) *Object {
	o := &Object{}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

// Len returns how many properties there are.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.properties)
}

// Get returns the property of that name, in any case.
func (o *Object) Get(name string) (value any, ok bool) {
	if o == nil {
		return nil, false
	}
	i, ok := o.index[strings.ToLower(name)]
	if !ok {
		return nil, false
	}
	return o.properties[i].value, true
}

// Has reports whether there is a property of that name.
func (o *Object) Has(name string) bool {
	_, ok := o.Get(name)
	return ok
}

// Set adds a property, or replaces the value of the one that has this name in any case.
func (o *Object) Set(name string, value any) {
	key := strings.ToLower(name)
	if i, ok := o.index[key]; ok {
		o.properties[i].value = value
		return
	}
	if o.index == nil {
		o.index = make(map[string]int)
	}
	o.index[key] = len(o.properties)
	o.properties = append(o.properties, property{name, value})
}

// Delete removes the property of that name.
func (o *Object) Delete(name string) {
	if o == nil {
		return
	}
	key := strings.ToLower(name)
	at, ok := o.index[key]
	if !ok {
		return
	}
	o.properties = append(o.properties[:at], o.properties[at+1:]...)
	delete(o.index, key)
	for k, i := range o.index {
		if i > at {
			o.index[k] = i - 1
		}
	}
}

// All yields the properties in order.
func (o *Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if o == nil {
			return
		}
		for _, p := range o.properties {
			if !yield(p.name, p.value) {
				return
			}
		}
	}
}

// At follows names from property to property. ok is false where one is missing, or is no object on the way.
func (o *Object) At(names ...string) (value any, ok bool) {
	value = o
	for _, name := range names {
		next, isObject := value.(*Object)
		if !isObject {
			return nil, false
		}
		if value, ok = next.Get(name); !ok {
			return nil, false
		}
	}
	return value, true
}

// String returns the string that At leads to, "" if it is none.
func (o *Object) String(names ...string) string {
	v, _ := o.At(names...)
	s, _ := v.(string)
	return s
}

// Object returns the object that At leads to, nil if it is none. A nil object has no properties.
func (o *Object) Object(names ...string) *Object {
	v, _ := o.At(names...)
	p, _ := v.(*Object)
	return p
}

// Array returns the array that At leads to, nil if it is none.
func (o *Object) Array(names ...string) []any {
	v, _ := o.At(names...)
	a, _ := v.([]any)
	return a
}

// Clone returns a copy that shares nothing with v.
func Clone[V any](v V) V {
	c, _ := clone(v).(V)
	return c
}

func clone(v any) any {
	switch v := v.(type) {
	case *Object:
		if v == nil {
			return v
		}
		o := &Object{}
		for name, value := range v.All() {
			o.Set(name, clone(value))
		}
		return o
	case []any:
		if v == nil {
			return v
		}
		a := make([]any, len(v))
		for i := range v {
			a[i] = clone(v[i])
		}
		return a
	}
	return v
}

// Equal reports whether two values are the same. Objects are, whatever the order of their properties and the case of
// their names; a number is whether written as 1 or as 1.0.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case *Object:
		b, ok := b.(*Object)
		if !ok || a.Len() != b.Len() {
			return false
		}
		for name, value := range a.All() {
			other, ok := b.Get(name)
			if !ok || !Equal(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !Equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case int64:
		if f, ok := b.(float64); ok {
			return float64(a) == f
		}
	case float64:
		if i, ok := b.(int64); ok {
			return a == float64(i)
		}
	}
	return a == b
}

// Key returns a text that is the same for all values that are Equal, and for no others.
func Key(v any) string { return string(appendKey(nil, v)) }

func appendKey(b []byte, v any) []byte {
	switch v := v.(type) {
	case float64:
		if i := int64(v); float64(i) == v {
			return strconv.AppendInt(b, i, 10)
		}
	case []any:
		b = append(b, '[')
		for i := range v {
			b = append(appendKey(b, v[i]), ',')
		}
		return append(b, ']')
	case *Object:
		names := make([]string, 0, v.Len())
		for name := range v.All() {
			names = append(names, strings.ToLower(name))
		}
		slices.Sort(names)
		b = append(b, '{')
		for _, name := range names {
			value, _ := v.Get(name)
			b = append(appendKey(append(appendString(b, name), ':'), value), ',')
		}
		return append(b, '}')
	}
	return Append(b, v)
}

// Size returns about how many bytes v has as JSON, or most if it has more: it stops counting there.
func Size(v any, most int) int {
	n := 8
	switch v := v.(type) {
	case string:
		n += len(v)
	case []any:
		for i := 0; i < len(v) && n < most; i++ {
			n += Size(v[i], most-n)
		}
	case *Object:
		for name, value := range v.All() {
			if n += len(name) + 4; n >= most {
				break
			}
			n += Size(value, most-n)
		}
	}
	return min(n, most)
}

// Append appends v as compact JSON.
func Append(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case string:
		return appendString(b, v)
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = Append(b, v[i])
		}
		return append(b, ']')
	case *Object:
		b = append(b, '{')
		first := true
		for name, value := range v.All() {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendString(b, name), ':')
			b = Append(b, value)
		}
		return append(b, '}')
	}
	panic("document: a value of a type that JSON has not")
}

// Text returns v as compact JSON.
func Text(v any) string { return string(Append(nil, v)) }

// MarshalJSON lets objects stand within what encoding/json writes.
func (o *Object) MarshalJSON() ([]byte, error) {
	if o == nil {
		return []byte("null"), nil
	}
	return Append(nil, o), nil
}

// UnmarshalJSON reads an object strictly.
func (o *Object) UnmarshalJSON(text []byte) error {
	v, err := Parse(text)
	if err != nil {
		return err
	}
	p, ok := v.(*Object)
	if !ok {
		return &SyntaxError{Line: 1, Column: 1, Problem: "it is not an object"}
	}
	*o = *p
	return nil
}

func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...) // JSON has no word for it
	}
	at := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	if bytes.ContainsAny(b[at:], ".e") {
		return b
	}
	return append(b, ".0"...) // it stays a float when it is read again
}

func appendString(b []byte, s string) []byte {
	buf := bytes.NewBuffer(b)
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string, into memory
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
