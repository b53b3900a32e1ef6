package cmtrace

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// NewJSON returns the handler of the twin: the same records, one JSON object a line, times in UTC, texts cut at
// MaxMessageBytes. nil means slog.LevelInfo.
func NewJSON(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: tame})
}

func tame(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value; v.Kind() {
	case slog.KindTime:
		a.Value = slog.TimeValue(v.Time().UTC())
	case slog.KindString:
		a.Value = slog.StringValue(cut(v.String()))
	case slog.KindAny:
		if err, ok := v.Any().(error); ok && err != nil {
			a.Value = slog.StringValue(cut(err.Error()))
		}
	}
	return a
}

func cut(s string) string {
	if len(s) <= MaxMessageBytes {
		return s
	}
	return s[:MaxMessageBytes-len(cutMark)] + cutMark
}

// Tee returns a handler that gives each record to all handlers that want it. One that fails keeps none of the
// others from writing.
func Tee(handlers ...slog.Handler) slog.Handler { return slog.NewMultiHandler(handlers...) }

// Open returns a handler that writes <dir>/<name>.log and its twin <dir>/<name>.json, and what closes both files. dir is made if it is missing.
func Open(dir, name string, maxBytes int64, o Options) (slog.Handler, io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	log, err := OpenFile(filepath.Join(dir, name+".log"), maxBytes)
	if err != nil {
		return nil, nil, err
	}
	twin, err := OpenFile(filepath.Join(dir, name+".json"), maxBytes)
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return Tee(NewHandler(log, o), NewJSON(twin, o.Level)), both{log, twin}, nil
}

type both [2]*File

func (b both) Close() error { return errors.Join(b[0].Close(), b[1].Close()) }
