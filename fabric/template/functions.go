package template

import (
	"fmt"
	"strings"
)

// A function is one of the language. Either it gets its arguments evaluated, or it is special and evaluates them itself.
type function struct {
	least, most int // arguments; most is -1 without a bound
	plain       func(args []any) (any, error)
	special     func(f *frame, c *call) (any, error)
}

// counts says how many arguments there may be.
func (fn function) counts() string {
	switch {
	case fn.most < 0:
		return fmt.Sprintf("%d arguments or more", fn.least)
	case fn.least == fn.most:
		return fmt.Sprintf("%d arguments", fn.least)
	}
	return fmt.Sprintf("%d to %d arguments", fn.least, fn.most)
}

// functions is all of the language but the list functions, by lower-case name.
var functions map[string]function

func init() { // the special ones call back into evaluation, which looks here
	functions = make(map[string]function)
	for _, group := range []map[string]function{arrayFunctions, stringFunctions, numberFunctions, logicFunctions, dateFunctions,
		lambdaFunctions, deploymentFunctions, resourceFunctions} {
		for name, fn := range group {
			functions[strings.ToLower(name)] = fn
		}
	}
}

// lookup finds a function by its name in any case. Every other name that begins with list is an action of a resource's.
func lookup(name string) (function, bool) {
	key := strings.ToLower(name)
	if fn, ok := functions[key]; ok {
		return fn, true
	}
	if isList(key) {
		return function{least: 1, most: 3, special: callList}, true
	}
	return function{}, false
}

// isList reports whether a lower-case name is that of a list function, such as listkeys.
func isList(key string) bool { return strings.HasPrefix(key, "list") && len(key) > len("list") }

// fixed makes a function of a number of arguments.
func fixed(n int, f func(args []any) (any, error)) function {
	return function{least: n, most: n, plain: f}
}

// special makes one that evaluates its own arguments.
func special(least, most int, f func(f *frame, c *call) (any, error)) function {
	return function{least: least, most: most, special: f}
}
