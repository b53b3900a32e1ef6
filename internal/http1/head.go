package http1

import (
	"bytes"

	"github.com/causeway-gateway/causeway"
)

// A Field is one field line. All three are spans of the head it was parsed from.
type Field struct {
	Name  []byte
	Value []byte // without the white space around it
	Line  []byte // the whole line as it came, CR LF included
}

// framing is what of the fields decides where a message ends and to whom it goes.
type framing struct {
	host, length, encoding, expect, upgrade, keepAlive []byte
	hosts, lengths, encodings, expects, upgrades       int
	close, persist, upgrading                          bool
	named                                              [][]byte  // values of Connection fields, reused
	one                                                [1][]byte // what named begins with: nearly always there is one
}

func bad(format string, args ...any) *causeway.Refusal {
	return causeway.Refuse(causeway.CodeBadRequest, format, args...)
}

// HeadEnd returns the index just behind the empty line that ends the head at the start of buf, or -1. Bytes before
// from were looked at by an earlier call that returned -1. A bare LF never ends a head.
func HeadEnd(buf []byte, from int) int {
	from = max(from-3, 0)
	if i := bytes.Index(buf[from:], crlfcrlf); i >= 0 {
		return from + i + 4
	}
	return -1
}

var crlfcrlf = []byte("\r\n\r\n")

// cutLine takes one line off b, without its CR LF.
func cutLine(b []byte) (line, rest []byte, r *causeway.Refusal) {
	i := bytes.IndexByte(b, '\n')
	switch {
	case i < 0:
		return nil, nil, bad("head ends inside a line")
	case i == 0 || b[i-1] != '\r':
		return nil, nil, bad("bare LF ends the line %.64q", b[:i])
	}
	return b[:i-1], b[i+1:], nil
}

// parseFields reads field lines up to and including the empty line, which must end b, and appends them to fields.
func parseFields(b []byte, fields []Field, maxFields int, fr *framing) ([]Field, *causeway.Refusal) {
	for {
		line, rest, r := cutLine(b)
		if r != nil {
			return fields, r
		}
		if len(line) == 0 {
			if len(rest) > 0 {
				return fields, bad("%d bytes behind the head", len(rest))
			}
			return fields, nil
		}
		if len(fields) == maxFields {
			return fields, causeway.Refuse(causeway.CodeHeadersTooLarge, "more than %d fields", maxFields)
		}
		f, r := parseField(line, b[:len(line)+2])
		if r != nil {
			return fields, r
		}
		if r := fr.note(&f); r != nil {
			return fields, r
		}
		fields = append(fields, f)
		b = rest
	}
}

func parseField(line, whole []byte) (Field, *causeway.Refusal) {
	if line[0] == ' ' || line[0] == '\t' {
		return Field{}, bad("folded field line")
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !all(line[:colon], isToken) {
		return Field{}, bad("field name is not a token in %.64q", line)
	}
	value := trim(line[colon+1:])
	if !all(value, isValue) {
		return Field{}, bad("control character in the value of %.64q", line[:colon])
	}
	return Field{Name: line[:colon], Value: value, Line: whole}, nil
}

// note remembers the fields that frame and route the message.
func (fr *framing) note(f *Field) *causeway.Refusal {
	switch len(f.Name) {
	case len("Host"):
		if EqualFold(f.Name, "host") {
			fr.host = f.Value
			fr.hosts++
		}
	case len("Expect"):
		if EqualFold(f.Name, "expect") {
			fr.expect = f.Value
			fr.expects++
		}
	case len("Upgrade"):
		if EqualFold(f.Name, "upgrade") {
			fr.upgrade = f.Value
			fr.upgrades++
		}
	case len("Connection"): // and Keep-Alive
		if EqualFold(f.Name, "connection") {
			return fr.noteConnection(f.Value)
		}
		if EqualFold(f.Name, "keep-alive") {
			fr.keepAlive = f.Value
		}
	case len("Content-Length"):
		if EqualFold(f.Name, "content-length") {
			fr.length = f.Value
			fr.lengths++
		}
	case len("Transfer-Encoding"):
		if EqualFold(f.Name, "transfer-encoding") {
			fr.encoding = f.Value
			fr.encodings++
		}
	}
	return nil
}

func (fr *framing) noteConnection(value []byte) *causeway.Refusal {
	if fr.named == nil {
		fr.named = fr.one[:0]
	}
	fr.named = append(fr.named, value)
	for list := value; ; {
		token, rest, more := cutList(list)
		if len(token) > 0 {
			if !all(token, isToken) {
				return bad("Connection names %.64q, which is no token", token)
			}
			fr.close = fr.close || EqualFold(token, "close")
			fr.persist = fr.persist || EqualFold(token, "keep-alive")
			fr.upgrading = fr.upgrading || EqualFold(token, "upgrade")
		}
		if !more {
			return nil
		}
		list = rest
	}
}

// cutList takes the first element off a comma-separated list.
func cutList(list []byte) (element, rest []byte, more bool) {
	i := bytes.IndexByte(list, ',')
	if i < 0 {
		return trim(list), nil, false
	}
	return trim(list[:i]), list[i+1:], true
}

// names reports whether a Connection field names this one.
func (fr *framing) names(name []byte) bool {
	for _, list := range fr.named {
		for more := true; more; {
			var token []byte
			token, list, more = cutList(list)
			if EqualFold(token, name) {
				return true
			}
		}
	}
	return false
}

// body settles how the message is framed, for a request and an answer alike.
func (fr *framing) body(minor int) (length int64, given, chunked bool, r *causeway.Refusal) {
	switch {
	case fr.encodings > 0 && fr.lengths > 0:
		return 0, false, false, bad("Content-Length beside Transfer-Encoding")
	case fr.encodings > 1:
		return 0, false, false, bad("%d Transfer-Encoding fields", fr.encodings)
	case fr.lengths > 1:
		return 0, false, false, bad("%d Content-Length fields", fr.lengths)
	case fr.encodings == 1 && minor == 0:
		return 0, false, false, bad("Transfer-Encoding in HTTP/1.0")
	case fr.encodings == 1:
		return -1, false, true, checkEncoding(fr.encoding)
	case fr.lengths == 1:
		n, ok := parseLength(fr.length)
		if !ok {
			return 0, false, false, bad("Content-Length %.64q", fr.length)
		}
		return n, true, false, nil
	}
	return 0, false, false, nil
}

// checkEncoding takes chunked alone. Other codings that exist are not implemented; anything else is broken.
func checkEncoding(value []byte) *causeway.Refusal {
	if EqualFold(value, "chunked") {
		return nil
	}
	for list, more := value, true; more; {
		var token []byte
		if token, list, more = cutList(list); !IsToken(token) || more && EqualFold(token, "chunked") {
			return bad("Transfer-Encoding %.64q", value)
		}
	}
	return causeway.Refuse(causeway.CodeNotImplemented, "Transfer-Encoding %.64q", value)
}

// parseLength reads a Content-Length: digits alone, at most 2^63-1.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if classes[c]&isDigit == 0 {
			return 0, false
		}
		n = n*10 + int64(c-'0') // 19 digits overflow to a negative number at most once
	}
	return n, n >= 0
}
