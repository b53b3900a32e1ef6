package http1

import "strings"

// A byte's classes.
const (
	isToken  = 1 << iota // tchar of RFC 9110 5.6.2
	isValue              // may stand in a field value: HTAB, SP, VCHAR, obs-text
	isTarget             // may stand in a request target: VCHAR without "#", and raw bytes from 0x80
	isHost               // may stand in a host name
	isDigit
	isHex
)

var classes = makeClasses()

func makeClasses() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		digit, upper, lower := c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z'
		if digit || upper || lower || c > ' ' && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			t[i] |= isToken
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[i] |= isValue
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[i] |= isTarget
		}
		if digit || upper || lower || c == '-' || c == '.' || c == '_' {
			t[i] |= isHost
		}
		if digit {
			t[i] |= isDigit
		}
		if digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			t[i] |= isHex
		}
	}
	return t
}

// all reports whether every byte of b is of the class; true for none.
func all[T ~string | ~[]byte](b T, class uint8) bool {
	for i := range len(b) {
		if classes[b[i]]&class == 0 {
			return false
		}
	}
	return true
}

// IsToken reports whether b can be a method or a field name.
func IsToken[T ~string | ~[]byte](b T) bool { return len(b) > 0 && all(b, isToken) }

// IsFieldValue reports whether b holds no byte that could end a field line or be read in two ways.
func IsFieldValue[T ~string | ~[]byte](b T) bool { return all(b, isValue) }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// EqualFold reports whether a and b are equal but for the case of ASCII letters. Unlike bytes.EqualFold it
// knows no Unicode folding, by which "K" (Kelvin) would be a "k".
func EqualFold[A, B ~string | ~[]byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// trim cuts optional white space (SP and HTAB) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
