package template

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/causeway-gateway/causeway/fabric/document"
)

// maxPadding bounds the length that padLeft makes.
const maxPadding = 131_072

var stringFunctions = map[string]function{
	"base64":               textual(func(s string) (any, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
	"base64ToString":       textual(func(s string) (any, error) { return decode64(s) }),
	"base64ToJson":         textual(base64ToJSON),
	"dataUri":              fixed(1, dataURI),
	"dataUriToString":      textual(func(s string) (any, error) { return fromDataURI(s) }),
	"endsWith":             pair(func(s, t string) any { return strings.HasSuffix(strings.ToLower(s), strings.ToLower(t)) }),
	"startsWith":           pair(func(s, t string) any { return strings.HasPrefix(strings.ToLower(s), strings.ToLower(t)) }),
	"format":               {least: 1, most: -1, plain: format},
	"guid":                 {least: 1, most: -1, plain: func(args []any) (any, error) { return nameGUID(texts(args)), nil }},
	"uniqueString":         {least: 1, most: -1, plain: func(args []any) (any, error) { return uniqueString(texts(args)), nil }},
	"newGuid":              special(0, 0, newGUID),
	"indexOf":              fixed(2, func(args []any) (any, error) { return position(args, false) }),
	"lastIndexOf":          fixed(2, func(args []any) (any, error) { return position(args, true) }),
	"join":                 fixed(2, join),
	"padLeft":              {least: 2, most: 3, plain: padLeft},
	"replace":              fixed(3, replace),
	"split":                fixed(2, split),
	"string":               fixed(1, func(args []any) (any, error) { return asText(args[0]), nil }),
	"substring":            {least: 2, most: 3, plain: substring},
	"toLower":              textual(func(s string) (any, error) { return strings.ToLower(s), nil }),
	"toUpper":              textual(func(s string) (any, error) { return strings.ToUpper(s), nil }),
	"trim":                 textual(func(s string) (any, error) { return strings.TrimSpace(s), nil }),
	"uri":                  fixed(2, uri),
	"uriComponent":         textual(func(s string) (any, error) { return escapeComponent(s), nil }),
	"uriComponentToString": textual(func(s string) (any, error) { return url.PathUnescape(s) }),
}

// textual makes a function of one string.
func textual(f func(s string) (any, error)) function {
	return fixed(1, func(args []any) (any, error) {
		s, err := asString(args[0])
		if err != nil {
			return nil, err
		}
		return f(s)
	})
}

// pair makes a function of two strings.
func pair(f func(s, t string) any) function {
	return fixed(2, func(args []any) (any, error) {
		s, err := asString(args[0])
		if err != nil {
			return nil, err
		}
		t, err := asString(args[1])
		if err != nil {
			return nil, err
		}
		return f(s, t), nil
	})
}

func decode64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return "", errors.New("it is not base64 of text")
	}
	return string(b), nil
}

func base64ToJSON(s string) (any, error) {
	text, err := decode64(s)
	if err != nil {
		return nil, err
	}
	return document.ParseLenient([]byte(text))
}

func dataURI(args []any) (any, error) {
	return "data:text/plain;charset=utf8;base64," + base64.StdEncoding.EncodeToString([]byte(asText(args[0]))), nil
}

func fromDataURI(s string) (string, error) {
	rest, ok := strings.CutPrefix(s, "data:")
	kind, body, found := strings.Cut(rest, ",")
	if !ok || !found {
		return "", errors.New("it is not a data URI")
	}
	if strings.HasSuffix(strings.ToLower(kind), ";base64") {
		return decode64(body)
	}
	return url.PathUnescape(body)
}

func newGUID(f *frame, _ *call) (any, error) {
	if !f.initial || f.x.request.NewGUID == nil {
		return nil, errors.New("the template function 'newGuid' is allowed in the default value of a parameter only")
	}
	return f.x.request.NewGUID(), nil
}

// position is indexOf or lastIndexOf: -1 when there is none. Strings are compared in any case, as Azure does.
func position(args []any, last bool) (any, error) {
	if a, ok := args[0].([]any); ok {
		found := -1
		for i, v := range a {
			if document.Equal(v, args[1]) {
				found = i
				if !last {
					break
				}
			}
		}
		return int64(found), nil
	}
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	t, err := asString(args[1])
	if err != nil {
		return nil, err
	}
	s, t = strings.ToLower(s), strings.ToLower(t)
	i := strings.Index(s, t)
	if last {
		i = strings.LastIndex(s, t)
	}
	if i < 0 {
		return int64(-1), nil
	}
	return int64(len(units(s[:i]))), nil
}

func join(args []any) (any, error) {
	a, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	by, err := asString(args[1])
	if err != nil {
		return nil, err
	}
	if err := fits(0, len(a), len(by)); err != nil {
		return nil, err
	}
	return strings.Join(texts(a), by), nil
}

func padLeft(args []any) (any, error) {
	switch args[0].(type) {
	case string, int64:
	default:
		return nil, fmt.Errorf("a string or an int is expected, and the value is %s", kindOf(args[0]))
	}
	n, err := asInt(args[1])
	if err != nil {
		return nil, err
	}
	with := " "
	if len(args) > 2 {
		if with, err = asString(args[2]); err != nil {
			return nil, err
		}
	}
	if len(units(with)) != 1 || n < 0 || n > maxPadding {
		return nil, fmt.Errorf("a length of 0 to %d and one character are expected", maxPadding)
	}
	s := asText(args[0])
	return strings.Repeat(with, int(max(0, n-int64(len(units(s)))))) + s, nil
}

func replace(args []any) (any, error) {
	var all [3]string
	for i := range all {
		var err error
		if all[i], err = asString(args[i]); err != nil {
			return nil, err
		}
	}
	if all[1] == "" {
		return nil, errors.New("the string to replace is empty")
	}
	if err := fits(len(all[0]), strings.Count(all[0], all[1]), len(all[2])); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(all[0], all[1], all[2]), nil
}

// split cuts a string at a delimiter, or at any of several.
func split(args []any) (any, error) {
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	delimiters, ok := args[1].([]any)
	if !ok {
		delimiters = []any{args[1]}
	}
	pieces := []string{s}
	for _, v := range delimiters {
		by, err := asString(v)
		if err != nil {
			return nil, err
		}
		if by == "" {
			continue
		}
		var next []string
		for _, p := range pieces {
			next = append(next, strings.Split(p, by)...)
		}
		pieces = next
	}
	all := make([]any, len(pieces))
	for i, p := range pieces {
		all[i] = p
	}
	return all, nil
}

func substring(args []any) (any, error) {
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	u := units(s)
	from, err := asInt(args[1])
	if err != nil {
		return nil, err
	}
	n := int64(len(u)) - from
	if len(args) > 2 {
		if n, err = asInt(args[2]); err != nil {
			return nil, err
		}
	}
	if from < 0 || n < 0 || from > int64(len(u)) || n > int64(len(u))-from {
		return nil, fmt.Errorf("%d characters from %d do not lie within a string of %d", n, from, len(u))
	}
	return fromUnits(u[from : from+n]), nil
}

func uri(args []any) (any, error) {
	base, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	relative, err := asString(args[1])
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil || !u.IsAbs() {
		return nil, fmt.Errorf("%s is not an absolute URI", shown(base))
	}
	r, err := u.Parse(relative)
	if err != nil {
		return nil, fmt.Errorf("%s is not a URI", shown(relative))
	}
	return r.String(), nil
}

// escapeComponent escapes everything but the unreserved characters of RFC 3986.
func escapeComponent(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// format fills in {0}, {1:D4} and their like. Of .NET's numeric formats it knows D, X, N and F.
func format(args []any) (any, error) {
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		if i+1 < len(s) && s[i+1] == s[i] { // doubled, for itself
			b.WriteByte(s[i])
			s = s[i+2:]
			continue
		}
		j := strings.IndexByte(s[i:], '}')
		if s[i] == '}' || j < 0 {
			return nil, fmt.Errorf("a brace stands alone in %s", shown(s))
		}
		text, err := hole(s[i+1:i+j], args[1:])
		if err != nil {
			return nil, err
		}
		if err := fits(b.Len(), 1, len(text)); err != nil {
			return nil, err
		}
		b.WriteString(text)
		s = s[i+j+1:]
	}
	return b.String(), nil
}

// hole formats what stands between braces: index[,width][:format].
func hole(h string, args []any) (string, error) {
	h, spec, _ := strings.Cut(h, ":")
	number, width, aligned := strings.Cut(h, ",")
	i, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || i < 0 || i >= len(args) {
		return "", fmt.Errorf("{%s} stands for none of %d arguments", h, len(args))
	}
	text := asText(args[i])
	if spec != "" {
		if text, err = formatNumber(args[i], spec); err != nil {
			return "", err
		}
	}
	if !aligned {
		return text, nil
	}
	w, err := strconv.Atoi(strings.TrimSpace(width))
	if err != nil || w < -maxPadding || w > maxPadding {
		return "", fmt.Errorf("%s is no width", shown(width))
	}
	pad := strings.Repeat(" ", max(0, max(w, -w)-len(units(text))))
	if w < 0 {
		return text + pad, nil
	}
	return pad + text, nil
}

func formatNumber(v any, spec string) (string, error) {
	digits := -1
	if len(spec) > 1 {
		n, err := strconv.Atoi(spec[1:])
		if err != nil || n < 0 || n > 99 {
			return "", fmt.Errorf("the format %s is not known", shown(spec))
		}
		digits = n
	}
	n, isInt := v.(int64)
	f, isNumber := asNumber(v)
	switch kind := spec[0]; {
	case (kind == 'D' || kind == 'd') && isInt:
		text := strconv.FormatInt(max(n, -n), 10)
		if n < 0 {
			return "-" + zeros(text, digits), nil
		}
		return zeros(text, digits), nil
	case kind == 'X' && isInt:
		return zeros(strings.ToUpper(strconv.FormatUint(uint64(n), 16)), digits), nil
	case kind == 'x' && isInt:
		return zeros(strconv.FormatUint(uint64(n), 16), digits), nil
	case (kind == 'F' || kind == 'f') && isNumber:
		return strconv.FormatFloat(f, 'f', decimals(digits), 64), nil
	case (kind == 'N' || kind == 'n') && isNumber:
		return grouped(strconv.FormatFloat(f, 'f', decimals(digits), 64)), nil
	}
	return "", fmt.Errorf("the format %s is not known for a value that is %s", shown(spec), kindOf(v))
}

func decimals(digits int) int {
	if digits < 0 {
		return 2
	}
	return digits
}

func zeros(text string, digits int) string {
	return strings.Repeat("0", max(0, digits-len(text))) + text
}

// grouped puts a comma between thousands.
func grouped(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	whole, fraction, found := strings.Cut(text, ".")
	b := []byte(whole)
	for i := len(b) - 3; i > 0; i -= 3 {
		b = slices.Insert(b, i, ',')
	}
	if found {
		return sign + string(b) + "." + fraction
	}
	return sign + string(b)
}
