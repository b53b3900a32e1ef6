package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// maxLogTail is how much of one file is looked at: what two full log files hold.
	maxLogTail = 16 << 20
	// maxLogLine bounds one record; a longer one is passed over.
	maxLogLine = 1 << 20
	// followEvery is how often -f looks for more.
	followEvery = 250 * time.Millisecond
)

func (a *app) logsCmd() *cobra.Command {
	var follow, asJSON bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "show the logs of all roles, merged by time",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.stateDir()
			if err != nil {
				return err
			}
			if !dir.mine() {
				return notMine(dir)
			}
			if _, err := os.Stat(dir.site()); err != nil {
				return notRunning(dir)
			}
			return a.showLogs(cmd.Context(), dir, lines, follow, asJSON)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is logged, until interrupted")
	cmd.Flags().IntVarP(&lines, "lines", "n", 1000, "at most so many of the newest lines; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the records as JSON lines")
	return cmd
}

func (a *app) showLogs(ctx context.Context, dir state, lines int, follow, asJSON bool) error {
	var tails logTails
	records := tails.read(dir)
	if lines > 0 && len(records) > lines {
		records = records[len(records)-lines:]
	}
	w := bufio.NewWriter(a.stdout)
	show := func(records []logRecord) error {
		for _, r := range records {
			r.print(w, asJSON)
		}
		return w.Flush()
	}
	if err := show(records); err != nil || !follow {
		return err
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := show(tails.read(dir)); err != nil {
			return err
		}
	}
}

// logFolders returns the folders of all roles that have logs, by the role's name.
func logFolders(dir state) map[string]string {
	folders := map[string]string{"site": dir.site(), "balancer": dir.path("balancer"), "sample-server": dir.path("sample-server")}
	for _, kind := range []struct{ name, folder string }{{"gateway", "instances"}, {"connection-point", "connection-points"}} {
		entries, err := os.ReadDir(dir.path(kind.folder))
		if err != nil {
			continue // none of them has been there yet
		}
		for _, e := range entries {
			folders[kind.name+"/"+e.Name()] = dir.path(kind.folder, e.Name())
		}
	}
	return folders
}

// A logTail is how far one log file was read. Files are told apart by what they are, not by name: a rotated file
// goes on under another.
type logTail struct {
	info   fs.FileInfo
	offset int64
	rest   []byte // the beginning of a line whose end is not there yet
}

type logTails []*logTail

// of returns the tail of a file, a new one for a new file.
func (t *logTails) of(info fs.FileInfo) *logTail {
	for _, tail := range *t {
		if os.SameFile(tail.info, info) {
			tail.info = info
			return tail
		}
	}
	tail := &logTail{info: info, offset: max(0, info.Size()-maxLogTail)}
	*t = append(*t, tail)
	return tail
}

// read returns what is new in all log files, by time.
func (t *logTails) read(dir state) []logRecord {
	var records []logRecord
	for role, folder := range logFolders(dir) {
		names, err := filepath.Glob(filepath.Join(folder, "logs", "*.json*"))
		if err != nil {
			continue
		}
		for _, path := range names {
			records = append(records, t.readFile(role, folder, filepath.Base(path))...)
		}
	}
	slices.SortStableFunc(records, func(a, b logRecord) int {
		return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.role, b.role))
	})
	return records
}

// readFile returns the records that were added since the last time. The role could be broken: nothing but a regular
// file inside its own folder is opened.
func (t *logTails) readFile(role, folder, name string) []logRecord {
	f, err := openLogFile(folder, name)
	if err != nil {
		return nil // rotated away, or not what it should be
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return parseRecords(role, t.of(info).read(f))
}

// read returns the whole lines that were added.
func (t *logTail) read(f io.ReaderAt) []byte {
	if t.info.Size() < t.offset {
		t.offset, t.rest = 0, nil // begun again in place
	}
	data, err := io.ReadAll(io.NewSectionReader(f, t.offset, min(t.info.Size()-t.offset, maxLogTail)))
	if err != nil {
		return nil
	}
	t.offset += int64(len(data))
	data = append(t.rest, data...)
	end := bytes.LastIndexByte(data, '\n') + 1
	if t.rest = slices.Clone(data[end:]); len(t.rest) > maxLogLine {
		t.rest = nil
	}
	return data[:end]
}

func openLogFile(folder, name string) (*os.File, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	path := filepath.Join("logs", name)
	if info, err := root.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fs.ErrInvalid)
	}
	return root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func parseRecords(role string, data []byte) (records []logRecord) {
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if len(line) == 0 || len(line) > maxLogLine {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(line, &fields) != nil {
			continue // the first line of a tail may be cut
		}
		r := logRecord{role: role, fields: fields}
		if text, ok := fields["time"].(string); ok {
			r.time, _ = time.Parse(time.RFC3339Nano, text)
		}
		records = append(records, r)
	}
	return records
}

// A logRecord is one line of a role's JSON log.
type logRecord struct {
	role   string
	time   time.Time
	fields map[string]any
}

// print writes the record on one line, free of anything that could steer a terminal.
func (r logRecord) print(w io.Writer, asJSON bool) {
	if asJSON {
		r.fields["role"] = r.role
		line, err := json.Marshal(r.fields)
		if err == nil {
			fmt.Fprintf(w, "%s\n", line)
		}
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-20s %-5v %v", r.time.UTC().Format("2006-01-02 15:04:05.000"), r.role, r.fields["level"], r.fields["msg"])
	for _, key := range sortedKeys(r.fields) {
		if key != "time" && key != "level" && key != "msg" {
			fmt.Fprintf(&b, " %s=%s", key, plain(r.fields[key]))
		}
	}
	fmt.Fprintln(w, oneLine(b.String()))
}

// plain renders a value as it stands in a log line.
func plain(v any) string {
	s, ok := v.(string)
	if !ok {
		raw, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		return string(raw)
	}
	if s == "" || strings.ContainsAny(s, " \"=") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
