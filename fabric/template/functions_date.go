package template

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var dateFunctions = map[string]function{
	"utcNow":            special(0, 1, utcNow),
	"dateTimeAdd":       {least: 2, most: 3, plain: dateTimeAdd},
	"dateTimeFromEpoch": fixed(1, dateTimeFromEpoch),
	"dateTimeToEpoch":   fixed(1, dateTimeToEpoch),
}

// Formats of .NET that are used without being asked for.
const (
	utcNowFormat  = "yyyyMMddTHHmmssZ"
	dateAddFormat = "M/d/yyyy h:mm:ss tt"
)

func utcNow(f *frame, c *call) (any, error) {
	if !f.initial {
		return nil, errors.New("the template function 'utcNow' is allowed in the default value of a parameter only")
	}
	layout := utcNowFormat
	if len(c.args) > 0 {
		v, err := f.node(c.args[0])
		if err != nil {
			return nil, err
		}
		if layout, err = asString(v); err != nil {
			return nil, err
		}
	}
	return formatTime(f.x.request.Now.UTC(), layout)
}

func dateTimeAdd(args []any) (any, error) {
	base, err := parseTime(args[0])
	if err != nil {
		return nil, err
	}
	text, err := asString(args[1])
	if err != nil {
		return nil, err
	}
	then, err := addDuration(base, text)
	if err != nil {
		return nil, err
	}
	layout := dateAddFormat
	if len(args) > 2 {
		if layout, err = asString(args[2]); err != nil {
			return nil, err
		}
	}
	return formatTime(then, layout)
}

func dateTimeFromEpoch(args []any) (any, error) {
	n, err := asInt(args[0])
	if err != nil {
		return nil, err
	}
	t := time.Unix(n, 0).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, fmt.Errorf("%d seconds lead to no year of four digits", n)
	}
	return t.Format("2006-01-02T15:04:05Z"), nil
}

func dateTimeToEpoch(args []any) (any, error) {
	t, err := parseTime(args[0])
	if err != nil {
		return nil, err
	}
	return t.Unix(), nil
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "20060102T150405Z",
	"2006-01-02", "1/2/2006 3:04:05 PM", time.RFC1123}

func parseTime(v any) (time.Time, error) {
	s, err := asString(v)
	if err != nil {
		return time.Time{}, err
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is no date and time", shown(s))
}

// isoDuration is a duration of ISO 8601, such as P1Y2M10DT2H30M.
var isoDuration = regexp.MustCompile(`^(-)?P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,7})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,9}))?S)?)?$`)

func addDuration(t time.Time, text string) (time.Time, error) {
	m := isoDuration.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		return t, fmt.Errorf("%s is no duration of ISO 8601, such as P1DT12H", shown(text))
	}
	sign := 1
	if m[1] != "" {
		sign = -1
	}
	n := func(i int) int {
		k, _ := strconv.Atoi(m[i]) // digits, or nothing
		return sign * k
	}
	t = t.AddDate(n(2), n(3), 7*n(4)+n(5))
	t = t.Add(time.Duration(n(6))*time.Hour + time.Duration(n(7))*time.Minute + time.Duration(n(8))*time.Second)
	if m[9] != "" {
		nanos, _ := strconv.Atoi((m[9] + "000000000")[:9])
		t = t.Add(time.Duration(sign * nanos))
	}
	if t.Year() < 1 || t.Year() > 9999 {
		return t, fmt.Errorf("%s leads to no year of four digits", shown(text))
	}
	return t, nil
}

// standardFormats are .NET's formats of one letter, spelled out.
var standardFormats = map[string]string{
	"d": "MM/dd/yyyy", "D": "dddd, dd MMMM yyyy", "f": "dddd, dd MMMM yyyy HH:mm", "F": "dddd, dd MMMM yyyy HH:mm:ss", "g": "MM/dd/yyyy HH:mm", "G": "MM/dd/yyyy HH:mm:ss",
	"m": "MMMM dd", "M": "MMMM dd", "o": "yyyy-MM-ddTHH:mm:ss.fffffffZ", "O": "yyyy-MM-ddTHH:mm:ss.fffffffZ", "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
	"s": "yyyy-MM-ddTHH:mm:ss", "t": "HH:mm", "T": "HH:mm:ss", "u": "yyyy-MM-dd HH:mm:ssZ", "y": "yyyy MMMM", "Y": "yyyy MMMM",
}

// pieces of a custom format of .NET, and what they are in Go's.
var pieces = map[string]string{
	"yyyy": "2006", "yy": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1", "dddd": "Monday", "ddd": "Mon", "dd": "02", "d": "2",
	"HH": "15", "hh": "03", "h": "3", "mm": "04", "m": "4", "ss": "05", "s": "5", "tt": "PM", "zzz": "-07:00", "K": "Z07:00",
}

// formatTime writes a time in a format of .NET.
func formatTime(t time.Time, layout string) (string, error) {
	if spelled, ok := standardFormats[layout]; ok {
		layout = spelled
	}
	var b strings.Builder
	for layout != "" {
		c := layout[0]
		switch {
		case c == '\'' || c == '"':
			end := strings.IndexByte(layout[1:], c)
			if end < 0 {
				return "", fmt.Errorf("a quote does not end in the format %s", shown(layout))
			}
			b.WriteString(layout[1 : end+1])
			layout = layout[end+2:]
			continue
		case c == '\\' && len(layout) > 1:
			b.WriteByte(layout[1])
			layout = layout[2:]
			continue
		}
		n := 1
		for n < len(layout) && layout[n] == c {
			n++
		}
		run := layout[:n]
		layout = layout[n:]
		switch {
		case run == "H": // Go has no hour of 24 without its zero
			b.WriteString(strconv.Itoa(t.Hour()))
		case c == 'f' && n <= 7:
			b.WriteString(fmt.Sprintf("%09d", t.Nanosecond())[:n])
		case pieces[run] != "":
			b.WriteString(t.Format(pieces[run]))
		case strings.IndexByte("yMdHhmsftzKgF%", c) >= 0:
			return "", fmt.Errorf("the format %s of a date is not known", shown(run))
		default:
			b.WriteString(run)
		}
	}
	return b.String(), nil
}
