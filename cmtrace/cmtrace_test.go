package cmtrace

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

var at = time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.FixedZone("", 3600))

func TestLineForm(t *testing.T) {
	line := AppendLine(nil, Entry{Message: "channel up", Time: at, Component: "CMGService", Type: Warning, Thread: 42})
	want := `<![LOG[channel up]LOG]!><time="03:05:06.789+000" date="02-03-2026" component="CMGService" context="" type="2" thread="42" file="">` + "\r\n"
	if string(line) != want {
		t.Errorf("got  %q\nwant %q", line, want)
	}
	e, err := Parse(string(line))
	if err != nil || e.Message != "channel up" || !e.Time.Equal(at) || e.Component != "CMGService" || e.Type != Warning || e.Thread != 42 {
		t.Errorf("parsed %+v, %v", e, err)
	}
}

func TestMessageEscapes(t *testing.T) {
	for _, tt := range []struct{ message, want string }{
		{`C:\temp and \\server\share`, `C:\\temp and \\\server\share`},
		{`C:\Windows\CCM`, `C:\Windows\CCM`},
		{"a\r\nb\tc", `a\r\nb\tc`},
		{"\x1b[31mred", `\x1b[31mred`},
		{"]LOG]!><time=\"0\"", `]LOG]\x21><time="0"`},
		{"<![LOG[again", `<\x21[LOG[again`},
		{"hello! ]LOG]! >", `hello! ]LOG]! >`},
		{"bad \xff\xfe utf-8", `bad \xff\xfe utf-8`},
		{"turn \u202e around", `turn \u202e around`},
		{"line\u2028separator", `line\u2028separator`},
		{"tag \U000e0041", `tag \U000e0041`},
		{"\\\n", `\\\n`},
		{"ends in \\", `ends in \`},
		{"ümlaut 日本", "ümlaut 日本"},
	} {
		got := string(appendMessage(nil, tt.message))
		if got != tt.want {
			t.Errorf("%q is written as %s, want %s", tt.message, got, tt.want)
		}
		if back, err := unescape(got); err != nil || back != tt.message {
			t.Errorf("%s is read as %q, %v, want %q", got, back, err, tt.message)
		}
	}
}

// hostile draws texts made of what could break a line.
func hostile() *rapid.Generator[string] {
	pieces := rapid.SampledFrom([]string{"]LOG]!>", "<![LOG[", "!", "]LOG]", "\\", "n", "x21", "u202e", "\r", "\n", "\x1b[0m", "\x00", "\xff", "\u2028", "\u202e", "\U000e0001", `"`, "=", " ", "…"})
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOf(rapid.OneOf(pieces, rapid.String())).Draw(t, "pieces"), "")
	})
}

// TestOneRecordIsOneLine: whatever a message holds, it becomes one line that reads as the same message again.
func TestOneRecordIsOneLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := hostile().Draw(t, "message")
		line := string(AppendLine(nil, Entry{Message: message, Time: at, Component: "c", Type: Info}))
		body, ok := strings.CutSuffix(line, "\r\n")
		if !ok || strings.ContainsFunc(body, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("line %q holds unprintable characters", line)
		}
		e, err := Parse(line)
		if err != nil {
			t.Fatalf("%q does not parse: %v", line, err)
		}
		if before, cut := strings.CutSuffix(e.Message, cutMark); e.Message != message && !(cut && strings.HasPrefix(message, before)) {
			t.Fatalf("%q came back as %q", message, e.Message)
		}
	})
}

func TestLongMessageIsCut(t *testing.T) {
	for _, message := range []string{strings.Repeat("a", 1<<20), strings.Repeat("\n", 1<<20), strings.Repeat("日", 1<<20), strings.Repeat("\\n", 1<<20)} {
		var b bytes.Buffer
		slog.New(NewHandler(&b, Options{Component: "c"})).Info(message, "key", message)
		line := b.String()
		if len(line) > MaxMessageBytes+300 {
			t.Errorf("a line of %d bytes", len(line))
		}
		e, err := Parse(line)
		before, cut := strings.CutSuffix(e.Message, cutMark)
		if err != nil || !cut || !strings.HasPrefix(message, before) || len(before) < 1000 {
			t.Errorf("%.10q: %v, cut %v", message, err, cut)
		}
	}
	exact := strings.Repeat("a", MaxMessageBytes)
	if got := appendMessage(nil, exact); string(got) != exact {
		t.Errorf("a message that just fits is cut to %d bytes", len(got))
	}
}

func TestHandlerWritesAttributes(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(NewHandler(&b, Options{Component: "c", Thread: 7}))
	log.With("conn", 1).WithGroup("g").With("a", "x y").Error("lost", "err", errors.New(`said "no" k=v`), slog.Group("sub", "n", 1.5), "wait", time.Second, "empty", "", "secret", token("hunter2"))
	e, err := Parse(b.String())
	want := `lost conn=1 g.a="x y" g.err="said ""no"" k=v" g.sub.n=1.5 g.wait=1s g.empty="" g.secret=[token]`
	if err != nil || e.Message != want || e.Type != Error || e.Thread != 7 {
		t.Errorf("got  %q (%v)\nwant %q", e.Message, err, want)
	}
}

type token string

func (token) LogValue() slog.Value { return slog.StringValue("[token]") }

func TestHandlerLevels(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(NewHandler(&b, Options{Component: "c", Level: slog.LevelDebug}))
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	var types []Type
	for line := range strings.Lines(b.String()) {
		e, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, e.Type)
	}
	if len(types) != 4 || types[0] != Info || types[1] != Info || types[2] != Warning || types[3] != Error {
		t.Errorf("types %v", types)
	}
	if NewHandler(&b, Options{}).Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug is on by default")
	}
}

func TestHandlerIsConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.log")
	f, err := OpenFile(path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(NewHandler(f, Options{Component: "c"}))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				log.With("g", g).Info("line\nbreak", "i", i)
			}
		})
	}
	wg.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := countLines(t, path); n != 800 {
		t.Errorf("%d lines, want 800", n)
	}
}

// countLines parses every line of a file.
func countLines(t *testing.T, path string) (n int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := Parse(line); err != nil {
			t.Fatalf("line %d %q: %v", n+1, line, err)
		}
		n++
	}
	return n
}

func TestTeeWritesTheSameRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	h, files, err := Open(dir, "CMGService", 0, Options{Component: "CMGService"})
	if err != nil {
		t.Fatal(err)
	}
	slog.New(h).Info("request refused", "device", "pc\r\n17", "err", errors.New(strings.Repeat("x", 1<<20)))
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if n := countLines(t, filepath.Join(dir, "CMGService.log")); n != 1 {
		t.Errorf("%d lines", n)
	}
	twin := filepath.Join(dir, "CMGService.json")
	b, err := os.ReadFile(twin)
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Time   time.Time `json:"time"`
		Msg    string    `json:"msg"`
		Device string    `json:"device"`
		Err    string    `json:"err"`
	}
	if err := json.Unmarshal(b, &record); err != nil || record.Msg != "request refused" || record.Device != "pc\r\n17" || record.Time.Location() != time.UTC {
		t.Errorf("twin %.200q: %v", b, err)
	}
	if len(record.Err) != MaxMessageBytes {
		t.Errorf("a field of %d bytes", len(record.Err))
	}
	for _, name := range []string{"CMGService.log", "CMGService.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestTeeOutlivesAFailingHandler(t *testing.T) {
	var b bytes.Buffer
	h := Tee(NewHandler(failing{}, Options{Component: "c"}), NewHandler(&b, Options{Component: "c"}))
	if err := h.Handle(t.Context(), slog.NewRecord(at, slog.LevelInfo, "x", 0)); err == nil {
		t.Error("the failure is not reported")
	}
	if b.Len() == 0 {
		t.Error("the other handler was kept from writing")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "CMGService.log")
	f, err := OpenFile(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	h := slog.New(NewHandler(f, Options{Component: "c"}))
	for i := range 50 {
		h.Info("a message of some length", "i", i)
		if info, err := os.Stat(path); err != nil || info.Size() > 1000 {
			t.Fatalf("after %d: %v, %v", i, info.Size(), err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	now, before := countLines(t, path), countLines(t, RotatedName(path))
	if now == 0 || before == 0 || RotatedName(path) != strings.TrimSuffix(path, "log")+"lo_" {
		t.Errorf("%d lines now, %d before", now, before)
	}
	if _, err := f.Write([]byte("late")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestFileGoesOnWhereItCannotRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.log")
	if err := os.MkdirAll(filepath.Join(RotatedName(path), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := NewHandler(f, Options{Component: "c"})
	for i := range 100 {
		if err := h.Handle(t.Context(), slog.NewRecord(at, slog.LevelInfo, "a message of some length", 0)); err != nil {
			t.Fatalf("record %d is lost: %v", i, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() > 3000 {
			t.Fatalf("after %d: %v, %v", i, info.Size(), err)
		}
	}
	countLines(t, path)
}

func TestFileMendsHalfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.log")
	if err := os.WriteFile(path, []byte(`<![LOG[killed in the mid`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(NewHandler(f, Options{Component: "c"})).Info("back")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(b), "\r\n")
	if e, err := Parse(last); err != nil || e.Message != "back" {
		t.Errorf("got %q: %v", b, err)
	}
}

func TestParseIsStrict(t *testing.T) {
	good := `<![LOG[m]LOG]!><time="03:05:06.789+000" date="02-03-2026" component="c" context="" type="1" thread="42" file="">`
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"<![LOG[", ""}, {"]LOG]!>", ""}, {"m]", "m<![LOG[m]"}, {"m]", "m\x1b]"}, {"m]", "a\nb]"}, {"m]", `\u12]`}, {"m]", `\xzz]`},
		{"+000", "+060"}, {"03:05:06.789", "3:05:06.789"}, {"03:05", "25:05"}, {"02-03-2026", "02-30-2026"}, {"02-03-2026", "2026-02-03"},
		{`"c"`, `"c\"d"`}, {`type="1"`, `type="4"`}, {`type="1"`, `type="01"`}, {`"42"`, `"-1"`}, {`"42"`, `"+1"`}, {`"42"`, `""`},
		{` file=""`, ""}, {` context=""`, ""}, {`"">`, `"">x`}, {"m]", strings.Repeat("m", MaxMessageBytes+1) + "]"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if e, err := Parse(bad); !errors.Is(err, ErrLine) {
			t.Errorf("%.200q parses as %+v (%v)", bad, e, err)
		}
	}
}

// FuzzParse: what parses is written again as a line that parses as the same entry.
func FuzzParse(f *testing.F) {
	f.Add(string(AppendLine(nil, Entry{Message: "m", Time: at, Component: "c", Type: Info, Thread: 1})))
	f.Add(string(AppendLine(nil, Entry{Message: "]LOG]!>\n\\x", Time: at, Component: "c", Type: Error})))
	f.Fuzz(func(t *testing.T, line string) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		again, err := Parse(string(AppendLine(nil, e)))
		if err != nil || again.Message != e.Message && !strings.HasSuffix(again.Message, cutMark) {
			t.Fatalf("%q: %+v, then %+v, %v", line, e, again, err)
		}
		if again.Message = e.Message; again != e {
			t.Fatalf("%q: %+v, then %+v", line, e, again)
		}
	})
}
