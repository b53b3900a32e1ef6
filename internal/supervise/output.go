package supervise

import (
	"bytes"
	"log/slog"
	"sync"
)

// What of a child's output is kept: a line's length and the number of lines that Status shows.
const (
	maxLineBytes = 8 << 10
	tailLines    = 20
)

// tail keeps the last lines of a child's output, across restarts.
type tail struct {
	mu   sync.Mutex
	kept []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) == tailLines {
		t.kept = append(t.kept[:0], t.kept[1:]...)
	}
	t.kept = append(t.kept, line)
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.kept...)
}

// lineWriter cuts a stream into lines for the logger. A line beyond maxLineBytes is cut short, so that a child cannot
// make the parent hold more than that.
type lineWriter struct {
	log    *slog.Logger
	tail   *tail
	stream string

	line    []byte
	skipped bool // the rest of this line is being dropped
}

// Write never fails: a child must not die because its output does not fit.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.keep(p)
			break
		}
		w.keep(p[:end])
		w.flush()
		p = p[end+1:]
	}
	return n, nil
}

func (w *lineWriter) keep(p []byte) {
	if room := maxLineBytes - len(w.line); len(p) > room {
		p, w.skipped = p[:room], true
	}
	w.line = append(w.line, p...)
}

// flush ends the current line. It is called at the end of the stream as well.
func (w *lineWriter) flush() {
	line := string(bytes.ToValidUTF8(bytes.TrimSuffix(w.line, []byte("\r")), []byte("?")))
	if w.skipped {
		line += " [cut]"
	}
	if line != "" {
		w.tail.add(line)
		w.log.Info("process output", "stream", w.stream, "line", line)
	}
	w.line, w.skipped = w.line[:0], false
}
