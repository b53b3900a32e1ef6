package template

import (
	"fmt"
	"math"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// A parameter is one that the template declares.
type parameter struct {
	name     string
	kind     string // lower case: string, securestring, int, bool, object, secureobject, array
	nullable bool
	raw      *document.Object // the declaration
}

func (p *parameter) secure() bool { return p.kind == "securestring" || p.kind == "secureobject" }

// readParameters reads the declarations, and gives each parameter its value.
func (x *expansion) readParameters() error {
	for name, v := range x.request.Template.Object("parameters").All() {
		p, err := x.declaration(name, v)
		if err != nil {
			return err
		}
		x.parameters = append(x.parameters, p)
		x.byName[strings.ToLower(name)] = p
	}
	if err := x.checkGiven(); err != nil {
		return err
	}
	for _, p := range x.parameters {
		if _, err := x.parameterValue(p); err != nil {
			return err
		}
	}
	return nil
}

// maxReferences bounds how many definitions may refer to each other.
const maxReferences = 32

// declaration reads one, following $ref to the template's definitions.
func (x *expansion) declaration(name string, v any) (*parameter, error) {
	raw, ok := v.(*document.Object)
	if !ok {
		return nil, invalid("The template parameter '%s' is not an object.", name)
	}
	for range maxReferences {
		ref := raw.String("$ref")
		if ref == "" {
			break
		}
		definition := x.request.Template.Object("definitions", strings.TrimPrefix(ref, "#/definitions/"))
		if definition == nil {
			return nil, invalid("The template parameter '%s' refers to %s, which is not defined.", name, shown(ref))
		}
		merged := document.Clone(definition)
		for key, value := range raw.All() {
			if key != "$ref" {
				merged.Set(key, value)
			}
		}
		raw = merged
	}
	p := &parameter{name: name, kind: strings.ToLower(raw.String("type")), raw: raw}
	p.nullable, _ = first(raw, "nullable").(bool)
	if !knownKind(p.kind) {
		return nil, invalid("The template parameter '%s' has the type %s, which is none.", name, shown(raw.String("type")))
	}
	return p, nil
}

func first(o *document.Object, name string) any {
	v, _ := o.Get(name)
	return v
}

func knownKind(kind string) bool {
	switch kind {
	case "string", "securestring", "int", "bool", "object", "secureobject", "array":
		return true
	}
	return false
}

// checkGiven refuses values for parameters that the template does not have.
func (x *expansion) checkGiven() error {
	var strangers []string
	for name, v := range x.request.Parameters.All() {
		if x.byName[strings.ToLower(name)] == nil {
			strangers = append(strangers, name)
		}
		if o, ok := v.(*document.Object); !ok || !o.Has("value") {
			return invalid("The value of the template parameter '%s' stands in a property 'value' of an object.", name)
		}
	}
	if strangers == nil {
		return nil
	}
	return invalid("The template parameters '%s' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. "+
		"The only supported parameters for this template are '%s'.", strings.Join(strangers, ", "), names(x.request.Template.Object("parameters")))
}

// parameterValue is what was given, else the default.
func (x *expansion) parameterValue(p *parameter) (any, error) {
	key := strings.ToLower(p.name)
	if v, ok := x.values[key]; ok {
		return v, nil
	}
	v, err := x.givenOrDefault(p, key)
	if err != nil {
		return nil, err
	}
	if v != nil || !p.nullable {
		if err := x.checkValue(p, v); err != nil {
			return nil, azure.Errorf(400, "InvalidTemplate", "Deployment template validation failed: The provided value for the template parameter '%s' is not valid: %s.", p.name, err)
		}
	}
	x.values[key] = v
	return v, nil
}

func (x *expansion) givenOrDefault(p *parameter, key string) (any, error) {
	if given := x.request.Parameters.Object(p.name); given != nil {
		return first(given, "value"), nil
	}
	initial, ok := p.raw.Get("defaultValue")
	switch {
	case !ok && p.nullable:
		return nil, nil
	case !ok:
		return nil, invalid("The value for the template parameter '%s' is not provided.", p.name)
	}
	if x.resolving["parameter "+key] {
		return nil, invalid("The default value of the template parameter '%s' depends on itself.", p.name)
	}
	x.resolving["parameter "+key] = true
	defer delete(x.resolving, "parameter "+key)
	v, err := (&frame{x: x, initial: true}).value(initial)
	if err != nil {
		return nil, invalidAt("parameters."+p.name+".defaultValue", err)
	}
	return v, nil
}

// checkValue holds a value to type, allowed values and bounds. What it says of a secure one does not show it.
func (x *expansion) checkValue(p *parameter, v any) error {
	if err := checkType(p.kind, v); err != nil {
		return err
	}
	if allowed, ok := first(p.raw, "allowedValues").([]any); ok && !p.allows(allowed, v) {
		if p.secure() {
			return fmt.Errorf("it is none of the allowed values")
		}
		return fmt.Errorf("%s is none of the allowed values %s", shown(asText(v)), document.Text(allowed))
	}
	size, isNumber := int64(0), false
	switch v := v.(type) {
	case int64:
		size, isNumber = v, true
	case string:
		size = int64(len(units(v)))
	case []any:
		size = int64(len(v))
	default:
		return nil
	}
	least, most, what := "minLength", "maxLength", "a length"
	if isNumber {
		least, most, what = "minValue", "maxValue", "a value"
	}
	low, ok := first(p.raw, least).(int64)
	if !ok {
		low = math.MinInt64
	}
	high, ok := first(p.raw, most).(int64)
	if !ok {
		high = math.MaxInt64
	}
	switch {
	case size < low:
		return fmt.Errorf("%s of %d or more is expected, and it is %d", what, low, size)
	case size > high:
		return fmt.Errorf("%s of %d or less is expected, and it is %d", what, high, size)
	}
	return nil
}

// allows reports whether v is allowed: an array is when all its elements are.
func (p *parameter) allows(allowed []any, v any) bool {
	if has(allowed, v) {
		return true
	}
	a, ok := v.([]any)
	if !ok || p.kind != "array" {
		return false
	}
	for _, e := range a {
		if !has(allowed, e) {
			return false
		}
	}
	return true
}

// checkType holds a value to a type of the template language.
func checkType(kind string, v any) (err error) {
	switch kind {
	case "string", "securestring":
		if _, ok := v.(string); !ok {
			err = fmt.Errorf("a string is expected, and the value is %s", kindOf(v))
		}
	case "int":
		if _, ok := v.(int64); !ok {
			err = fmt.Errorf("an int is expected, and the value is %s", kindOf(v))
		}
	case "bool":
		if _, ok := v.(bool); !ok {
			err = fmt.Errorf("a bool is expected, and the value is %s", kindOf(v))
		}
	case "object", "secureobject":
		if _, ok := v.(*document.Object); !ok {
			err = fmt.Errorf("an object is expected, and the value is %s", kindOf(v))
		}
	case "array":
		if _, ok := v.([]any); !ok {
			err = fmt.Errorf("an array is expected, and the value is %s", kindOf(v))
		}
	default:
		err = fmt.Errorf("the type %s is none", shown(kind))
	}
	return err
}
