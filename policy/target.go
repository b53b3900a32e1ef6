package policy

import "unicode/utf8"

// traits is what a path holds that needs care later.
type traits struct {
	slash     bool // an encoded "/"
	dot       bool // a literal "." segment
	semicolon bool // ";", also encoded
}

// pathOf returns the target without its query.
func pathOf(target []byte) []byte {
	for i, c := range target {
		if c == '?' {
			return target[:i]
		}
	}
	return target
}

// checkTarget refuses what no request target has: http1 does so too, but a HTTP/2 front may not.
func checkTarget(target []byte) (reason string) {
	for _, c := range target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return "target has a control character, a space or a fragment"
		}
	}
	return ""
}

// checkPath refuses every path that two programs are known to read in two ways, and says what is left to watch.
// The reason is empty when the path is good.
func checkPath(path []byte) (t traits, reason string) {
	if len(path) == 0 || path[0] != '/' {
		return t, "path does not begin with /"
	}
	if t, reason = checkBytes(path); reason != "" {
		return t, reason
	}
	// Once as it stands, once with encoded slashes as separators: ".." and "//" must appear in neither.
	for _, r := range [...]reading{{}, {slash: true}} {
		if r.slash && !t.slash {
			break
		}
		for rest, segment := path, []byte(nil); len(rest) > 0; {
			segment, rest = r.next(rest)
			switch classify(segment) {
			case segmentEmpty:
				if len(rest) > 0 {
					return t, "path has an empty segment"
				}
			case segmentDot:
				t.dot = true
			case segmentBad:
				return t, "path has a segment that means its parent or itself"
			}
		}
	}
	return t, ""
}

// checkBytes looks at each byte and each escape, and that the decoded form is UTF-8.
func checkBytes(path []byte) (t traits, reason string) {
	var text utf8Check
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if c = unescape(path[i:]); c == 0 {
				return t, "path has an invalid escape, or an encoded NUL"
			}
			i += 2
			switch c {
			case '\\', '.', '%':
				return t, "path has an encoded backslash, dot or percent sign"
			case '/':
				t.slash = true
			}
		}
		switch {
		case c < ' ' || c == 0x7f:
			return t, "path has a control character"
		case c == '\\':
			return t, "path has a backslash"
		case c == ';':
			t.semicolon = true
		}
		if !text.add(c) {
			return t, "path is not UTF-8"
		}
	}
	if text.n > 0 {
		return t, "path is not UTF-8"
	}
	return t, ""
}

// utf8Check takes text byte by byte.
type utf8Check struct {
	buf [utf8.UTFMax]byte
	n   int
}

func (u *utf8Check) add(c byte) bool {
	if u.n == 0 && c < utf8.RuneSelf {
		return true
	}
	u.buf[u.n] = c
	u.n++
	if !utf8.FullRune(u.buf[:u.n]) {
		return true
	}
	r, size := utf8.DecodeRune(u.buf[:u.n])
	u.n = 0
	return r != utf8.RuneError || size > 1
}

// unescape decodes the escape that b begins with; 0 if it is none or means NUL.
func unescape(b []byte) byte {
	if len(b) < 3 {
		return 0
	}
	hi, lo := unhex(b[1]), unhex(b[2])
	if hi > 15 || lo > 15 {
		return 0
	}
	return hi<<4 | lo
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// reading is one way in which servers cut a path into segments.
type reading struct {
	slash  bool // an encoded slash separates too
	params bool // ";" and what follows it is no part of a segment
}

// next takes the first segment off a checked path that begins with a separator.
func (r reading) next(path []byte) (segment, rest []byte) {
	begin := 1
	if path[0] == '%' {
		begin = 3
	}
	end := len(path)
	for i := begin; i < len(path); i++ {
		if path[i] == '/' || r.slash && path[i] == '%' && unescape(path[i:]) == '/' {
			end = i
			break
		}
	}
	segment, rest = path[begin:end], path[end:]
	if r.params {
		segment = cutParams(segment)
	}
	return segment, rest
}

// cutParams cuts ";", literal or encoded, and what follows it off a segment.
func cutParams(segment []byte) []byte {
	for i, c := range segment {
		if c == ';' || c == '%' && unescape(segment[i:]) == ';' {
			return segment[:i]
		}
	}
	return segment
}

type segmentKind uint8

const (
	segmentPlain segmentKind = iota
	segmentEmpty
	segmentDot
	segmentBad
)

// classify finds the segments that are not names. A segment is judged by what stands before a ";" too, because
// "..;x" is ".." to some servers, and with spaces cut off, because ".. " is ".." on Windows.
func classify(segment []byte) segmentKind {
	switch string(segment) {
	case "":
		return segmentEmpty
	case ".":
		return segmentDot
	case "..":
		return segmentBad
	}
	core := cutParams(segment)
	cut := len(core) < len(segment)
	dots, spaces := 0, 0
	for i := 0; i < len(core); i++ {
		c := core[i]
		if c == '%' {
			c = unescape(core[i:])
			i += 2
		}
		switch c {
		case '.':
			dots++
		case ' ':
			spaces++
		default:
			return segmentPlain
		}
	}
	if cut && dots == 0 || dots > 0 && dots <= 2 && (cut || spaces > 0) {
		return segmentBad
	}
	return segmentPlain
}

// equal compares a checked raw segment, decoded, with a decoded one.
func equal(segment []byte, want string, fold bool) bool {
	n := 0
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == '%' {
			c = unescape(segment[i:])
			i += 2
		}
		if n == len(want) || c != want[n] && (!fold || lower(c) != lower(want[n])) {
			return false
		}
		n++
	}
	return n == len(want)
}

// decode writes the decoded segment into buf; ok is false if it is longer.
func decode(segment, buf []byte) (n int, ok bool) {
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == '%' {
			c = unescape(segment[i:])
			i += 2
		}
		if n == len(buf) {
			return n, false
		}
		buf[n] = c
		n++
	}
	return n, true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// covers reports whether the rule's segments are the first of the path, "." segments counted as absent.
func (p *rulePath) covers(rest []byte, r reading, fold bool) bool {
	for _, want := range p.segments {
		var segment []byte
		for {
			if len(rest) == 0 {
				return false
			}
			if segment, rest = r.next(rest); string(segment) != "." {
				break
			}
		}
		if !equal(segment, want, fold) {
			return false
		}
	}
	return true
}
