package template

import (
	"fmt"
	"strconv"
	"strings"
)

// maxExpressionBytes is Azure's limit for one expression.
const maxExpressionBytes = 24_576

// maxNesting bounds how deep calls may lie within each other, so that an expression cannot exhaust the stack.
const maxNesting = 200

// A node is a part of an expression: literal, *call or *access.
type node any

// A literal is a string (string), a number (int64), or the name of a property (string).
type literal struct{ value any }

// A call is name(args), or namespace.name(args) for a function that the template defines.
type call struct {
	namespace, name string
	args            []node
}

// An access is of.name, of[key], or one of them with a question mark: null where there is no such thing.
type access struct {
	of, key node
	safe    bool
}

// isExpression reports whether a string of a template is an expression.
func isExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' && s[1] != '['
}

// unescape returns what a string that is no expression stands for: a second bracket keeps the first from being one.
func unescape(s string) string {
	if strings.HasPrefix(s, "[[") && strings.HasSuffix(s, "]") {
		return s[1:]
	}
	return s
}

// parseExpression reads an expression with its brackets.
func parseExpression(text string) (n node, err error) {
	if len(text) > maxExpressionBytes {
		return nil, fmt.Errorf("the expression has %d characters, and %d are allowed", len(text), maxExpressionBytes)
	}
	p := &expressionParser{text: text[1 : len(text)-1]}
	defer func() {
		if r := recover(); r != nil {
			bad, ok := r.(badExpression)
			if !ok {
				panic(r)
			}
			n, err = nil, fmt.Errorf("the expression %s is not valid at character %d: %s", shown(text), bad.at+2, bad.problem)
		}
	}()
	n = p.term(0)
	if p.space(); p.at < len(p.text) {
		p.fail("the end is expected here")
	}
	return n, nil
}

// shown is an expression as an error may quote it.
func shown(text string) string {
	const most = 200
	if len(text) > most {
		text = text[:most] + "…"
	}
	return "'" + text + "'"
}

// badExpression is what the parser panics with.
type badExpression struct {
	at      int // in the text between the brackets
	problem string
}

type expressionParser struct {
	text string
	at   int
}

func (p *expressionParser) fail(format string, args ...any) {
	panic(badExpression{p.at, fmt.Sprintf(format, args...)})
}

func (p *expressionParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// next passes c, and white space before it, if it stands here.
func (p *expressionParser) next(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// term reads a literal or a call, and what of it is accessed.
func (p *expressionParser) term(depth int) node {
	if depth > maxNesting {
		p.fail("it is nested deeper than %d", maxNesting)
	}
	p.space()
	if p.at >= len(p.text) {
		p.fail("a value is missing")
	}
	var n node
	switch c := p.text[p.at]; {
	case c == '\'':
		n = literal{p.str()}
	case c == '-' || c == '+' || isDigit(c):
		return literal{p.number()}
	case isLetter(c):
		n = p.call(depth)
	default:
		p.fail("a value cannot begin with %q", c)
	}
	for range maxExpressionBytes {
		switch {
		case p.next('.'):
			safe := p.at < len(p.text) && p.text[p.at] == '?' && p.next('?')
			p.space()
			n = &access{n, literal{p.word()}, safe}
		case p.next('['):
			safe := p.next('?')
			n = &access{n, p.term(depth + 1), safe}
			if !p.next(']') {
				p.fail("a closing bracket is missing")
			}
		default:
			return n
		}
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// word reads a name.
func (p *expressionParser) word() string {
	begin := p.at
	for p.at < len(p.text) && (isLetter(p.text[p.at]) || p.at > begin && isDigit(p.text[p.at])) {
		p.at++
	}
	if p.at == begin {
		p.fail("a name is missing")
	}
	return p.text[begin:p.at]
}

func (p *expressionParser) call(depth int) node {
	c := &call{name: p.word()}
	if p.next('.') {
		p.space()
		c.namespace, c.name = c.name, p.word()
	}
	if !p.next('(') {
		p.fail("%s is not a function call; a string stands in single quotes", c.name)
	}
	if p.next(')') {
		return c
	}
	for {
		c.args = append(c.args, p.term(depth+1))
		switch {
		case p.next(','):
		case p.next(')'):
			return c
		default:
			p.fail("a comma or a closing parenthesis is missing")
		}
	}
}

// str reads a string in single quotes, in which two of them stand for one.
func (p *expressionParser) str() string {
	begin := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		if p.text[p.at] != '\'' {
			b.WriteByte(p.text[p.at])
			continue
		}
		if p.at++; p.at >= len(p.text) || p.text[p.at] != '\'' {
			return b.String()
		}
		b.WriteByte('\'')
	}
	p.at = begin
	p.fail("a string does not end")
	return ""
}

func (p *expressionParser) number() int64 {
	begin := p.at
	p.at++
	for p.at < len(p.text) && isDigit(p.text[p.at]) {
		p.at++
	}
	n, err := strconv.ParseInt(p.text[begin:p.at], 10, 64)
	if err != nil || p.at < len(p.text) && (p.text[p.at] == '.' && p.at+1 < len(p.text) && isDigit(p.text[p.at+1])) {
		p.at = begin
		p.fail("only whole numbers of 64 bits are literals; float('1.5') makes another")
	}
	return n
}

// walk calls f for n and everything in it.
func walk(n node, f func(node)) {
	f(n)
	switch n := n.(type) {
	case *call:
		for _, a := range n.args {
			walk(a, f)
		}
	case *access:
		walk(n.of, f)
		walk(n.key, f)
	}
}
