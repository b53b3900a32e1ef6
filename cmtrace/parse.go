package cmtrace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ErrLine says that a text is not one line of this package.
var ErrLine = errors.New("not a CMTrace line")

// Parse reads one line, with or without its line break. It is strict: order, quotes and forms are those of
// AppendLine, so a line that an attacker bent does not parse.
func Parse(line string) (Entry, error) {
	e, err := parse(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrLine, err)
	}
	return e, nil
}

func parse(line string) (e Entry, err error) {
	rest, ok := strings.CutPrefix(line, head)
	if !ok {
		return e, fmt.Errorf("no %s at the start", head)
	}
	message, rest, ok := strings.Cut(rest, tail)
	switch {
	case !ok:
		return e, fmt.Errorf("no %s", tail)
	case len(message) > MaxMessageBytes:
		return e, fmt.Errorf("message of %d bytes", len(message))
	case strings.Contains(message, head), strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }):
		return e, errors.New("message holds what should be escaped")
	}
	if e.Message, err = unescape(message); err != nil {
		return e, err
	}
	values, err := attributes(rest)
	if err != nil {
		return e, err
	}
	e.Time, err = time.Parse(dateLayout+" "+timeLayout+"+000", values[1]+" "+values[0])
	if err != nil || len(values[0]) != len(timeLayout+"+000") {
		return e, fmt.Errorf("time %q on %q", values[0], values[1])
	}
	e.Component, e.Context, e.File = values[2], values[3], values[6]
	kind, err := strconv.Atoi(values[4])
	if e.Type = Type(kind); err != nil || e.Type < Info || e.Type > Error || len(values[4]) != 1 {
		return e, fmt.Errorf("type %q", values[4])
	}
	if e.Thread, err = strconv.Atoi(values[5]); err != nil || e.Thread < 0 || strconv.Itoa(e.Thread) != values[5] {
		return e, fmt.Errorf("thread %q", values[5])
	}
	return e, nil
}

var names = [...]string{"time", "date", "component", "context", "type", "thread", "file"}

// attributes reads <name="value" …> with exactly our names.
func attributes(s string) (values [len(names)]string, err error) {
	s, ok := strings.CutPrefix(s, "<")
	if !ok {
		return values, errors.New("nothing behind the message")
	}
	for i, name := range names {
		end := `" `
		if i == len(names)-1 {
			end = `">`
		}
		if s, ok = strings.CutPrefix(s, name+`="`); !ok {
			return values, fmt.Errorf("no %s", name)
		}
		if values[i], s, ok = strings.Cut(s, end); !ok {
			return values, fmt.Errorf("%s has no end", name)
		}
		if i >= 2 && strings.ContainsFunc(values[i], func(r rune) bool { return !plain(r) }) {
			return values, fmt.Errorf("%s=%q", name, values[i])
		}
	}
	if s != "" {
		return values, fmt.Errorf("%d bytes behind the line", len(s))
	}
	return values, nil
}
