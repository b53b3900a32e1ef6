package cmtrace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxMessageBytes bounds a message as it stands in a line.
const MaxMessageBytes = 8 << 10

// cutMark ends a message that was cut.
const cutMark = "…"

// Type is a line's severity as CMTrace colours it.
type Type int

// The types.
const (
	Info    Type = 1
	Warning Type = 2
	Error   Type = 3
)

// An Entry is one line.
type Entry struct {
	Message   string
	Time      time.Time // UTC, to the millisecond
	Component string
	Context   string
	Type      Type
	Thread    int
	File      string
}

// The marks around a message.
const (
	head = "<![LOG["
	tail = "]LOG]!>"
)

const timeLayout, dateLayout = "15:04:05.000", "01-02-2006"

// AppendLine appends an entry as one line with its CR LF.
func AppendLine(dst []byte, e Entry) []byte {
	t := e.Time.UTC()
	dst = append(dst, head...)
	dst = appendMessage(dst, e.Message)
	dst = append(dst, tail+`<time="`...)
	dst = t.AppendFormat(dst, timeLayout)
	dst = append(dst, `+000" date="`...)
	dst = t.AppendFormat(dst, dateLayout)
	dst = append(dst, `" component="`...)
	dst = appendPlain(dst, e.Component)
	dst = append(dst, `" context="`...)
	dst = appendPlain(dst, e.Context)
	dst = append(dst, `" type="`...)
	dst = strconv.AppendInt(dst, int64(e.Type), 10)
	dst = append(dst, `" thread="`...)
	dst = strconv.AppendInt(dst, int64(e.Thread), 10)
	dst = append(dst, `" file="`...)
	dst = appendPlain(dst, e.File)
	return append(dst, '"', '>', '\r', '\n')
}

// appendPlain writes a value between quotes. These come from our own code, so what is not plain is only replaced.
func appendPlain(dst []byte, s string) []byte {
	for _, r := range s {
		if !plain(r) {
			r = '_'
		}
		dst = append(dst, byte(r))
	}
	return dst
}

func plain(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.:-/ ", r)
}

// appendMessage escapes a message so that unescape gives it back:
//
//	line feed, carriage return, tab               \n \r \t
//	other bytes below 128, invalid UTF-8           \xNN
//	other characters that are not printable        \uNNNN \UNNNNNNNN (among them those that turn the text's direction)
//	"!" within a head or tail mark                 \x21
//	a backslash that could be read as one of these \\ (others stay single, so that most Windows paths stay readable)
func appendMessage(dst []byte, s string) []byte {
	limit := len(dst) + MaxMessageBytes
	end := len(dst) // up to here whole characters stand, with room for the mark
	for i := 0; i < len(s); {
		n := 1
		switch c := s[i]; {
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`nrtxuU\`, s[i+1]) >= 0:
			dst = append(dst, `\\`...)
		case c == '\\' && i+1 < len(s) && !printable(s[i+1:]):
			dst = append(dst, `\\`...) // an escape follows
		case c == '!' && inMark(s, i):
			dst = append(dst, `\x21`...)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			n = size
			switch {
			case r == utf8.RuneError && size == 1, r < 0x80 && !unicode.IsPrint(r):
				dst = fmt.Appendf(dst, `\x%02x`, c)
			case unicode.IsPrint(r):
				dst = append(dst, s[i:i+size]...)
			case r < 0x10000:
				dst = fmt.Appendf(dst, `\u%04x`, r)
			default:
				dst = fmt.Appendf(dst, `\U%08x`, r)
			}
		}
		if len(dst) > limit {
			return append(dst[:end], cutMark...)
		}
		if len(dst)+len(cutMark) <= limit {
			end = len(dst)
		}
		i += n
	}
	return dst
}

// printable says whether the next character of s will be written as it is.
func printable(s string) bool {
	r, size := utf8.DecodeRuneInString(s)
	return unicode.IsPrint(r) && (r != utf8.RuneError || size > 1)
}

// inMark says whether s[i], an exclamation mark, belongs to a head or tail mark.
func inMark(s string, i int) bool {
	const before = len("]LOG]")
	return i >= 1 && strings.HasPrefix(s[i-1:], head) || i >= before && strings.HasPrefix(s[i-before:], tail)
}

// unescape undoes appendMessage. Anything else behind a backslash is the backslash itself.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			i++
			continue
		}
		digits := 0
		switch s[i+1] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case '\\':
			b.WriteByte('\\')
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default:
			b.WriteByte('\\')
			i++
			continue
		}
		i += 2
		if digits == 0 {
			continue
		}
		if len(s)-i < digits {
			return "", errors.New("an escape is cut short")
		}
		n, err := strconv.ParseUint(s[i:i+digits], 16, 32)
		if err != nil || digits > 2 && !utf8.ValidRune(rune(n)) {
			return "", fmt.Errorf("bad escape %q", s[i-2:i+digits])
		}
		if digits == 2 {
			b.WriteByte(byte(n))
		} else {
			b.WriteRune(rune(n))
		}
		i += digits
	}
	return b.String(), nil
}
