package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

const (
	// maxRefusalLines is how many refusals of one source are written in full in one second; the rest is counted.
	maxRefusalLines = 10
	// maxRefusalSources bounds the sources counted apart; beyond it they share one count.
	maxRefusalSources = 4096
	// maxShown bounds every value of a request that is written to a log.
	maxShown = 200
)

// refusalLog writes one line for each refusal, or other line that strangers can cause, and above maxRefusalLines per
// second and source one line for all the rest: they must not be able to write our log full.
type refusalLog struct {
	log  *slog.Logger
	now  func() time.Time
	more string // message of the line for the rest

	mu      sync.Mutex // guards windows
	windows map[netip.Addr]*refusalWindow
}

// A refusalWindow is one second of one source.
type refusalWindow struct {
	began  time.Time
	lines  int
	hidden int
	last   causeway.Code // CodeNone where nothing was refused
}

// A refused is what the log says about a refusal.
type refused struct {
	id      causeway.RequestID
	source  netip.Addr
	address string // with the port
	device  causeway.DeviceID
	method  string
	host    string
	path    string // without the query, which can hold secrets
	err     error
	code    causeway.Code
	status  int
	message string // "request refused" when empty
}

func newRefusalLog(log *slog.Logger, now func() time.Time, more string) *refusalLog {
	return &refusalLog{log: log, now: now, more: more, windows: make(map[netip.Addr]*refusalWindow)}
}

// write logs the refusal, or counts it when its source has had its lines for this second.
func (l *refusalLog) write(ctx context.Context, r *refused) {
	if !l.may(r.source, r.code) {
		return
	}
	level := slog.LevelInfo
	if r.status >= 500 {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("request_id", r.id.String()),
		slog.String("code", r.code.String()),
		slog.Int("status", r.status),
		slog.String("source", r.address),
		slog.String("device_id", shown(string(r.device))),
		slog.String("method", shown(r.method)),
		slog.String("host", shown(r.host)),
		slog.String("path", shown(r.path)),
		slog.String("err", shown(reasonOf(r.err))),
	}
	if hint := causeway.Hint(r.err); hint != "" {
		attrs = append(attrs, slog.String("hint", hint))
	}
	l.log.LogAttrs(ctx, level, cmp.Or(r.message, "request refused"), attrs...)
}

// may reports whether the source has lines left in this second, and counts the line that it has not. Whoever cannot
// name a source shares the zero address.
func (l *refusalLog) may(source netip.Addr, code causeway.Code) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	key := source
	w := l.windows[key]
	if w == nil && len(l.windows) >= maxRefusalSources {
		key = netip.Addr{}
		w = l.windows[key]
	}
	if w == nil {
		w = &refusalWindow{began: now}
		l.windows[key] = w
	}
	if now.Sub(w.began) >= time.Second {
		l.tellLocked(key, w)
		*w = refusalWindow{began: now}
	}
	w.last = code
	if w.lines < maxRefusalLines {
		w.lines++
		return true
	}
	w.hidden++
	return false
}

// flush writes the counts of seconds that are over. Run calls it every second.
func (l *refusalLog) flush(all bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, w := range l.windows {
		if all || now.Sub(w.began) >= time.Second {
			l.tellLocked(addr, w)
			delete(l.windows, addr)
		}
	}
}

func (l *refusalLog) tellLocked(addr netip.Addr, w *refusalWindow) {
	if w.hidden == 0 {
		return
	}
	source := "several"
	if addr.IsValid() {
		source = addr.String()
	}
	log := l.log.With("source", source, "suppressed", w.hidden)
	if w.last != causeway.CodeNone {
		log = log.With("last_code", w.last.String())
	}
	log.Info(l.more)
}

// reasonOf is the inner side of a refusal: it stays in the log.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	if r, ok := err.(*causeway.Refusal); ok { // the code has an attribute of its own
		switch {
		case r.Err == nil:
			return r.Reason
		case r.Reason == "":
			return r.Err.Error()
		}
		return r.Reason + ": " + r.Err.Error()
	}
	return err.Error()
}

// shown makes a value that a stranger chose safe to write: printable ASCII as it is, everything else escaped, cut
// at maxShown.
func shown(s string) string {
	clean := len(s) <= maxShown
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= 0x20 && s[i] < 0x7f && s[i] != '\\'
	}
	if clean {
		return s
	}
	const hexDigits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if b.Len() >= maxShown {
			b.WriteString("...")
			break
		}
		switch c := s[i]; {
		case c == '\\':
			b.WriteString(`\\`)
		case c < 0x20 || c >= 0x7f:
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// withoutQuery cuts a request target before the query.
func withoutQuery(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
