package storage

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A $filter is OData's, as far as Azure Storage has it:
//
//	or  = and {"or" and}
//	and = not {"and" not}
//	not = ["not"] one
//	one = "(" or ")" | operand [("eq"|"ne"|"gt"|"ge"|"lt"|"le") operand]
//
// An operand is a property or a literal. A comparison of what an entity has not, or of things of different types, does
// not hold.

const (
	maxFilterDepth   = 32
	maxFilterOperand = 200
)

// An expression holds for a row, or does not.
type expression interface{ holds(r row) bool }

// A row has values by name.
type row interface {
	value(name string) (literal, bool)
}

type (
	andExpression []expression
	orExpression  []expression
	notExpression struct{ e expression }
	comparison    struct {
		left, right operand
		op          string // "" for an operand by itself, which is a boolean
	}
)

func (a andExpression) holds(r row) bool {
	for _, e := range a {
		if !e.holds(r) {
			return false
		}
	}
	return true
}

func (o orExpression) holds(r row) bool {
	for _, e := range o {
		if e.holds(r) {
			return true
		}
	}
	return false
}

func (n notExpression) holds(r row) bool { return !n.e.holds(r) }

func (c comparison) holds(r row) bool {
	a, ok := c.left.of(r)
	if c.op == "" {
		return ok && a.kind == kindBool && a.bool
	}
	b, ok2 := c.right.of(r)
	if !ok || !ok2 {
		return false
	}
	order, ok := a.compare(b)
	if !ok {
		return false
	}
	switch c.op {
	case "eq":
		return order == 0
	case "ne":
		return order != 0
	case "gt":
		return order > 0
	case "ge":
		return order >= 0
	case "lt":
		return order < 0
	}
	return order <= 0
}

// An operand is a property, or a literal when name is "".
type operand struct {
	name string
	literal
}

func (o operand) of(r row) (literal, bool) {
	if o.name == "" {
		return o.literal, true
	}
	return r.value(o.name)
}

// Kinds of literals.
const (
	kindString = iota + 1
	kindBool
	kindInt
	kindFloat
	kindTime
	kindGUID
	kindBinary
)

// A literal is a value of one of the kinds.
type literal struct {
	kind  int
	text  string // of strings, GUIDs in lower case, and the bytes of binary ones
	bool  bool
	int   int64
	float float64
	time  time.Time
}

// compare orders two literals, if they can be compared.
func (l literal) compare(o literal) (order int, ok bool) {
	switch {
	case l.kind == kindInt && o.kind == kindFloat:
		return compareFloats(float64(l.int), o.float)
	case l.kind == kindFloat && o.kind == kindInt:
		return compareFloats(l.float, float64(o.int))
	case l.kind != o.kind:
		return 0, false
	}
	switch l.kind {
	case kindBool:
		return cmp.Compare(b2i(l.bool), b2i(o.bool)), true
	case kindInt:
		return cmp.Compare(l.int, o.int), true
	case kindFloat:
		return compareFloats(l.float, o.float)
	case kindTime:
		return l.time.Compare(o.time), true
	case kindBinary:
		return bytes.Compare([]byte(l.text), []byte(o.text)), true
	}
	return cmp.Compare(l.text, o.text), true
}

func compareFloats(a, b float64) (int, bool) { return cmp.Compare(a, b), a == a && b == b }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A filterParser reads a filter from its front.
type filterParser struct {
	rest     string
	depth    int
	operands int
}

func errFilter(format string, args ...any) error {
	return azure.Errorf(400, "InvalidInput", "One of the request inputs is not valid: in $filter, %s.", fmt.Sprintf(format, args...))
}

// parseFilter reads a $filter. How deep it may be is bounded, and how long by the query's length.
func parseFilter(text string) (expression, error) {
	p := &filterParser{rest: text}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, errFilter("something follows its end")
	}
	return e, nil
}

func (p *filterParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// word takes a word from the front if it is one of those given.
func (p *filterParser) word(words ...string) string {
	p.space()
	name := p.rest[:identifierLength(p.rest)]
	for _, w := range words {
		if name == w {
			p.rest = p.rest[len(w):]
			return w
		}
	}
	return ""
}

func identifierLength(s string) int {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= 0x80
		if !letter && (i == 0 || r < '0' || r > '9') {
			return i
		}
	}
	return len(s)
}

func (p *filterParser) or() (expression, error) {
	return p.chain("or", p.and, func(all []expression) expression { return orExpression(all) })
}

func (p *filterParser) and() (expression, error) {
	return p.chain("and", p.not, func(all []expression) expression { return andExpression(all) })
}

// chain reads one or more of what next reads, with a word between them.
func (p *filterParser) chain(word string, next func() (expression, error), join func([]expression) expression) (expression, error) {
	var all []expression
	for {
		e, err := next()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if p.word(word) == "" {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return join(all), nil
}

func (p *filterParser) not() (expression, error) {
	if p.word("not") == "" {
		return p.one()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	e, err := p.not()
	return notExpression{e}, err
}

func (p *filterParser) enter() error {
	if p.depth++; p.depth > maxFilterDepth {
		return errFilter("there is more within each other than %d", maxFilterDepth)
	}
	return nil
}

func (p *filterParser) leave() { p.depth-- }

func (p *filterParser) one() (expression, error) {
	if p.space(); strings.HasPrefix(p.rest, "(") {
		return p.brackets()
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	op := p.word("eq", "ne", "gt", "ge", "lt", "le")
	if op == "" {
		return comparison{left: left}, nil
	}
	right, err := p.operand()
	return comparison{left, right, op}, err
}

func (p *filterParser) brackets() (expression, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.rest = p.rest[1:]
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); !strings.HasPrefix(p.rest, ")") {
		return nil, errFilter("a bracket is not closed")
	}
	p.rest = p.rest[1:]
	return e, nil
}

func (p *filterParser) operand() (o operand, err error) {
	if p.operands++; p.operands > maxFilterOperand {
		return o, errFilter("there are more operands than %d", maxFilterOperand)
	}
	p.space()
	switch {
	case p.rest == "":
		return o, errFilter("an operand is missing at its end")
	case p.rest[0] == '\'':
		text, err := p.quoted()
		return operand{literal: literal{kind: kindString, text: text}}, err
	case p.rest[0] == '-' || p.rest[0] == '+' || p.rest[0] == '.' || p.rest[0] >= '0' && p.rest[0] <= '9':
		return p.number()
	}
	name := p.rest[:identifierLength(p.rest)]
	p.rest = p.rest[len(name):]
	switch {
	case name == "":
		return o, errFilter("a character is unexpected")
	case slices.Contains([]string{"and", "or", "not", "eq", "ne", "gt", "ge", "lt", "le"}, name):
		return o, errFilter("an operand is missing before %q", name)
	case strings.HasPrefix(p.rest, "'"):
		return p.typed(name)
	case name == "true" || name == "false":
		return operand{literal: literal{kind: kindBool, bool: name == "true"}}, nil
	}
	return operand{name: name}, nil
}

// quoted reads a text between apostrophes, of which two stand for one.
func (p *filterParser) quoted() (string, error) {
	var b strings.Builder
	for rest := p.rest[1:]; ; {
		i := strings.IndexByte(rest, '\'')
		if i < 0 {
			return "", errFilter("an apostrophe is not closed")
		}
		b.WriteString(rest[:i])
		rest = rest[i+1:]
		if !strings.HasPrefix(rest, "'") {
			p.rest = rest
			return b.String(), nil
		}
		b.WriteByte('\'')
		rest = rest[1:]
	}
}

// typed reads a literal that has its type before it.
func (p *filterParser) typed(name string) (o operand, err error) {
	text, err := p.quoted()
	if err != nil {
		return o, err
	}
	switch strings.ToLower(name) {
	case "datetime":
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return o, errFilter("a time is none")
		}
		return operand{literal: literal{kind: kindTime, time: t}}, nil
	case "guid":
		if !azure.IsGUID(text) {
			return o, errFilter("a GUID is none")
		}
		return operand{literal: literal{kind: kindGUID, text: strings.ToLower(text)}}, nil
	case "x", "binary":
		raw, err := hex.DecodeString(text)
		if err != nil {
			return o, errFilter("bytes are none")
		}
		return operand{literal: literal{kind: kindBinary, text: string(raw)}}, nil
	}
	return o, errFilter("a type is not known")
}

// number reads a whole number, with L behind it or not, or one with a point or an exponent.
func (p *filterParser) number() (o operand, err error) {
	n := strings.IndexFunc(p.rest, func(r rune) bool { return !strings.ContainsRune("+-.eE0123456789", r) })
	if n < 0 {
		n = len(p.rest)
	}
	text := p.rest[:n]
	p.rest = strings.TrimPrefix(strings.TrimPrefix(p.rest[n:], "L"), "l")
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return operand{literal: literal{kind: kindInt, int: i}}, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return o, errFilter("a number is none")
	}
	return operand{literal: literal{kind: kindFloat, float: f}}, nil
}
