package document

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may lie within each other.
const MaxDepth = 128

// A SyntaxError is text that is not JSON, not even in a lenient reading.
type SyntaxError struct {
	Line, Column int // from 1; a column is a byte
	Problem      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Problem)
}

// Parse reads one value, as RFC 8259 has it.
func Parse(text []byte) (any, error) { return parse(text, false) }

// ParseLenient reads one value that may also have comments (// and /* */), strings in single quotes and over several
// lines, names without quotes, a comma after the last element, and a byte order mark.
func ParseLenient(text []byte) (any, error) {
	return parse([]byte(strings.TrimPrefix(string(text), "\ufeff")), true)
}

func parse(text []byte, lenient bool) (v any, err error) {
	p := &parser{text: text, lenient: lenient}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*SyntaxError)
			if !ok {
				panic(r)
			}
			v, err = nil, e
		}
	}()
	v = p.value(0)
	if p.space(); p.at < len(p.text) {
		p.fail("there is more after the value")
	}
	return v, nil
}

// A parser reads by recursive descent. It panics with a *SyntaxError.
type parser struct {
	text    []byte
	at      int
	lenient bool
}

func (p *parser) fail(format string, args ...any) {
	before := string(p.text[:min(p.at, len(p.text))])
	line := strings.Count(before, "\n")
	panic(&SyntaxError{Line: line + 1, Column: len(before) - strings.LastIndexByte(before, '\n'), Problem: fmt.Sprintf(format, args...)})
}

func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// space passes white space, and comments in a lenient reading.
func (p *parser) space() {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			p.at++
		case c == '/' && p.lenient:
			p.comment()
		default:
			return
		}
	}
}

func (p *parser) comment() {
	rest := string(p.text[p.at:])
	switch {
	case strings.HasPrefix(rest, "//"):
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			p.at += i
		} else {
			p.at = len(p.text)
		}
	case strings.HasPrefix(rest, "/*"):
		i := strings.Index(rest[2:], "*/")
		if i < 0 {
			p.fail("a comment does not end")
		}
		p.at += i + 4
	default:
		p.fail("a value cannot begin with '/'")
	}
}

func (p *parser) value(depth int) any {
	if depth > MaxDepth {
		p.fail("it is nested deeper than %d", MaxDepth)
	}
	p.space()
	switch c := p.peek(); {
	case p.at >= len(p.text):
		p.fail("a value is missing")
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"' || c == '\'' && p.lenient:
		return p.str()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, v := range map[string]any{"true": true, "false": false, "null": nil} {
		if strings.HasPrefix(string(p.text[p.at:min(len(p.text), p.at+5)]), word) {
			p.at += len(word)
			return v
		}
	}
	p.fail("a value cannot begin with %q", p.rune())
	return nil
}

func (p *parser) rune() rune {
	r, _ := utf8.DecodeRune(p.text[p.at:])
	return r
}

func (p *parser) object(depth int) *Object {
	o := &Object{}
	p.at++
	for {
		p.space()
		if p.peek() == '}' && (p.lenient || o.Len() == 0) {
			p.at++
			return o
		}
		name := p.name()
		if p.space(); p.peek() != ':' {
			p.fail("a colon is missing after %q", name)
		}
		p.at++
		o.Set(name, p.value(depth+1))
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case '}':
			p.at++
			return o
		default:
			p.fail("a comma or a closing brace is missing")
		}
	}
}

// name reads the name of a property.
func (p *parser) name() string {
	if c := p.peek(); c == '"' || c == '\'' && p.lenient {
		return p.str()
	}
	begin := p.at
	for p.lenient && p.at < len(p.text) && isWord(p.text[p.at]) {
		p.at++
	}
	if p.at == begin {
		p.fail("a property's name is missing")
	}
	return string(p.text[begin:p.at])
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) array(depth int) []any {
	a := []any{}
	p.at++
	for {
		p.space()
		if p.peek() == ']' && (p.lenient || len(a) == 0) {
			p.at++
			return a
		}
		a = append(a, p.value(depth+1))
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case ']':
			p.at++
			return a
		default:
			p.fail("a comma or a closing bracket is missing")
		}
	}
}

func (p *parser) number() any {
	begin := p.at
	for p.at < len(p.text) && strings.IndexByte("+-.eE0123456789", p.text[p.at]) >= 0 {
		p.at++
	}
	text := p.text[begin:p.at]
	if !json.Valid(text) {
		p.at = begin
		p.fail("%q is no number", text)
	}
	if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		p.at = begin
		p.fail("%s is too large for a number", text)
	}
	return f
}

// str reads a string, the quote before it included.
func (p *parser) str() string {
	quote := p.text[p.at]
	begin := p.at
	p.at++
	var b strings.Builder
	for {
		if p.at >= len(p.text) {
			p.at = begin
			p.fail("a string does not end")
		}
		c := p.text[p.at]
		switch {
		case c == quote:
			p.at++
			return b.String()
		case c == '\\':
			p.escape(&b)
		case c < ' ' && !p.lenient:
			p.fail("a string holds a control character")
		case c < utf8.RuneSelf:
			b.WriteByte(c)
			p.at++
		default:
			r, size := utf8.DecodeRune(p.text[p.at:])
			if r == utf8.RuneError && size == 1 {
				p.fail("a string is not UTF-8")
			}
			b.WriteRune(r)
			p.at += size
		}
	}
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', '\'': '\''}

// escape reads what begins with a backslash.
func (p *parser) escape(b *strings.Builder) {
	p.at++
	c := p.peek()
	if c == 'u' {
		r := p.unit()
		if utf16.IsSurrogate(r) && strings.HasPrefix(string(p.text[p.at:]), `\u`) {
			p.at++
			at := p.at
			if pair := utf16.DecodeRune(r, p.unit()); pair != utf8.RuneError {
				b.WriteRune(pair)
				return
			}
			p.at = at - 1 // what follows stands for itself
		}
		b.WriteRune(r) // a surrogate alone becomes U+FFFD
		return
	}
	to, ok := escapes[c]
	if !ok || c == '\'' && !p.lenient {
		p.fail("a string holds an unknown escape")
	}
	b.WriteByte(to)
	p.at++
}

// unit reads uXXXX.
func (p *parser) unit() rune {
	if p.at+5 > len(p.text) {
		p.fail("a string holds half an escape")
	}
	n, err := strconv.ParseUint(string(p.text[p.at+1:p.at+5]), 16, 16)
	if err != nil {
		p.fail("a string holds an escape that is no number")
	}
	p.at += 5
	return rune(n)
}
