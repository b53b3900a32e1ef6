package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/causeway-gateway/causeway/fabric/document"
)

// kindOf names a value's type as templates do.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "string"
	case []any:
		return "array"
	case *document.Object:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

// as returns v as the type wanted, or an error that says which it is.
func as[V any](v any, wanted string) (V, error) {
	t, ok := v.(V)
	if !ok {
		return t, fmt.Errorf("%s is expected, and the value is %s: %s", wanted, kindOf(v), shown(document.Text(v)))
	}
	return t, nil
}

func asString(v any) (string, error)           { return as[string](v, "a string") }
func asInt(v any) (int64, error)               { return as[int64](v, "an int") }
func asBool(v any) (bool, error)               { return as[bool](v, "a bool") }
func asArray(v any) ([]any, error)             { return as[[]any](v, "an array") }
func asObject(v any) (*document.Object, error) { return as[*document.Object](v, "an object") }

// asText returns a value as string() and concat() have it.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return document.Text(v)
}

// texts returns the arguments as text, as uniqueString and guid want them.
func texts(args []any) []string {
	all := make([]string, len(args))
	for i, a := range args {
		all[i] = asText(a)
	}
	return all
}

// Azure counts the characters of a string in units of UTF-16.
func units(s string) []uint16     { return utf16.Encode([]rune(s)) }
func fromUnits(u []uint16) string { return string(utf16.Decode(u)) }

// names lists the properties of an object for an error.
func names(o *document.Object) string {
	var all []string
	for name := range o.All() {
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}
