package template

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

var numberFunctions = map[string]function{
	"add":   fixed(2, func(args []any) (any, error) { return arithmetic(args, add) }),
	"sub":   fixed(2, func(args []any) (any, error) { return arithmetic(args, sub) }),
	"mul":   fixed(2, func(args []any) (any, error) { return arithmetic(args, mul) }),
	"div":   fixed(2, func(args []any) (any, error) { return arithmetic(args, div) }),
	"mod":   fixed(2, func(args []any) (any, error) { return arithmetic(args, mod) }),
	"int":   fixed(1, toInt),
	"float": fixed(1, toFloat),
	"min":   {least: 1, most: -1, plain: func(args []any) (any, error) { return extreme(args, func(a, b int64) bool { return a < b }) }},
	"max":   {least: 1, most: -1, plain: func(args []any) (any, error) { return extreme(args, func(a, b int64) bool { return a > b }) }},
}

var (
	errOverflow = errors.New("the result is too large for an int of 64 bits")
	errDivision = errors.New("the divisor is zero")
)

func arithmetic(args []any, f func(a, b int64) (int64, error)) (any, error) {
	a, err := asInt(args[0])
	if err != nil {
		return nil, err
	}
	b, err := asInt(args[1])
	if err != nil {
		return nil, err
	}
	n, err := f(a, b)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func add(a, b int64) (int64, error) {
	n := a + b
	if (n > a) != (b > 0) && b != 0 {
		return 0, errOverflow
	}
	return n, nil
}

func sub(a, b int64) (int64, error) {
	n := a - b
	if (n < a) != (b > 0) && b != 0 {
		return 0, errOverflow
	}
	return n, nil
}

func mul(a, b int64) (int64, error) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	switch {
	case high != 0, !negative && low > math.MaxInt64, negative && low > 1<<63:
		return 0, errOverflow
	}
	return a * b, nil
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func div(a, b int64) (int64, error) {
	switch {
	case b == 0:
		return 0, errDivision
	case a == math.MinInt64 && b == -1:
		return 0, errOverflow
	}
	return a / b, nil
}

func mod(a, b int64) (int64, error) {
	switch b {
	case 0:
		return 0, errDivision
	case -1:
		return 0, nil
	}
	return a % b, nil
}

func toInt(args []any) (any, error) {
	switch v := args[0].(type) {
	case int64:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return int64(v), nil
		}
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is no int", shown(asText(args[0])))
}

func toFloat(args []any) (any, error) {
	switch v := args[0].(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("%s is no number", shown(asText(args[0])))
}

// extreme is min or max, of several ints or of one array of them.
func extreme(args []any, better func(a, b int64) bool) (any, error) {
	if a, ok := args[0].([]any); ok && len(args) == 1 {
		args = a
	}
	if len(args) == 0 {
		return nil, errors.New("the array is empty")
	}
	best, err := asInt(args[0])
	for _, v := range args[1:] {
		n, nErr := asInt(v)
		if err = errors.Join(err, nErr); better(n, best) {
			best = n
		}
	}
	if err != nil {
		return nil, err
	}
	return best, nil
}
