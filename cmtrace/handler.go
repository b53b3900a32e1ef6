package cmtrace

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Options of a Handler.
type Options struct {
	Component string       // who writes, as CMTrace shows it
	Level     slog.Leveler // nil means slog.LevelInfo
	Thread    int          // zero means the process id: goroutines have no number
}

// A Handler is a slog.Handler that writes one CMTrace line per record, in one Write.
type Handler struct {
	o      Options
	out    *output
	prefix string // of keys, from groups
	attrs  string // of WithAttrs, as they stand in a message
}

type output struct {
	mu sync.Mutex
	w  io.Writer
}

// NewHandler returns a handler that writes to w.
func NewHandler(w io.Writer, o Options) *Handler {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Thread == 0 {
		o.Thread = os.Getpid()
	}
	return &Handler{o: o, out: &output{w: w}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.o.Level.Level()
}

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	b := append(make([]byte, 0, 256), bounded(r.Message)...)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.prefix, a)
		return len(b) <= MaxMessageBytes
	})
	t := r.Time
	if t.IsZero() {
		t = time.Unix(0, 0) // a record without a time; the line form has no way to leave it out
	}
	line := AppendLine(nil, Entry{Message: string(b), Time: t, Component: h.o.Component, Type: typeOf(r.Level), Thread: h.o.Thread})
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(line)
	return err
}

func typeOf(l slog.Level) Type {
	switch {
	case l >= slog.LevelError:
		return Error
	case l >= slog.LevelWarn:
		return Warning
	}
	return Info
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	b := []byte(h.attrs)
	for _, a := range attrs {
		b = appendAttr(b, h.prefix, a)
	}
	next := *h
	next.attrs = string(b)
	return &next
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.prefix += name + "."
	return &next
}

// appendAttr writes " key=value".
func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() != slog.KindGroup {
		return b
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			if len(b) > MaxMessageBytes {
				break
			}
			b = appendAttr(b, prefix, member)
		}
		return b
	}
	b = append(b, ' ')
	b = appendWord(b, prefix+a.Key)
	b = append(b, '=')
	return appendWord(b, text(v))
}

func text(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindFloat64:
		return strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	}
	return v.String()
}

// appendWord quotes a text that could be taken for more than one word or for another key. Quotes within are
// doubled: a backslash would be escaped once more.
func appendWord(b []byte, s string) []byte {
	s = bounded(s)
	if s != "" && !strings.ContainsAny(s, " =\"\r\n\t") {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(s, `"`, `""`)...)
	return append(b, '"')
}

// bounded cuts a text before work is spent on it that the line has no room for. What it leaves is too long for a
// line still if it cut anything, so the line shows that it was cut.
func bounded(s string) string {
	const limit = MaxMessageBytes + utf8.UTFMax
	if len(s) <= limit {
		return s
	}
	return s[:limit]
}
