package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeLog adds records to a role's log.
func writeLog(t *testing.T, dir state, role, file string, messages ...string) {
	t.Helper()
	folder := dir.path(role, "logs")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(folder, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, m := range messages {
		fmt.Fprintln(f, m)
	}
}

func record(second int, message string) string {
	return fmt.Sprintf(`{"time":"2026-01-02T03:04:%02dZ","level":"INFO","msg":%q,"n":%d}`, second, message, second)
}

func TestLogsOfAllRolesAreMergedByTime(t *testing.T) {
	dir := state(t.TempDir())
	writeLog(t, dir, "instances/0", "CMGService.json", record(1, "one"), record(4, "four"))
	writeLog(t, dir, "connection-points/cp-1", "SMS_Cloud_ProxyConnector.json", record(2, "two"), "not a record", record(5, "five"))
	writeLog(t, dir, "site", "CloudMgr.json", record(3, "three"))
	var out bytes.Buffer
	a := &app{stdout: &out}
	if err := a.showLogs(t.Context(), dir, 0, false, false); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Fields(line)[4])
	}
	if want := "one two three four five"; strings.Join(got, " ") != want {
		t.Errorf("logs = %q, want %s:\n%s", got, want, out.String())
	}
	if !strings.Contains(out.String(), "2026-01-02 03:04:01.000 gateway/0            INFO  one n=1") {
		t.Errorf("logs are not laid out as they should be:\n%s", out.String())
	}
}

func TestFollowingSurvivesRotation(t *testing.T) {
	dir := state(t.TempDir())
	var tails logTails
	read := func() string {
		var all []string
		for _, r := range tails.read(dir) {
			all = append(all, fmt.Sprint(r.fields["msg"]))
		}
		return strings.Join(all, " ")
	}
	const file = "CMGService.json"
	path := dir.path("instances", "0", "logs", file)
	writeLog(t, dir, "instances/0", file, record(1, "one"))
	if got := read(); got != "one" {
		t.Errorf("first look = %q", got)
	}
	writeLog(t, dir, "instances/0", file, record(2, "two"))
	if err := os.Rename(path, path+".lo_"); err != nil {
		t.Fatal(err)
	}
	writeLog(t, dir, "instances/0", file, record(3, "three"))
	if got := read(); got != "two three" {
		t.Errorf("look after a rotation = %q, want what came since", got)
	}
	if got := read(); got != "" {
		t.Errorf("look at nothing new = %q", got)
	}
	// Half a line is shown when it is whole.
	half := record(4, "four")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString(half[:20])
	if got := read(); got != "" {
		t.Errorf("half a line = %q", got)
	}
	f.WriteString(half[20:] + "\n")
	if got := read(); got != "four" {
		t.Errorf("the whole line = %q", got)
	}
}

// TestLogsOfABrokenRoleDoNoHarm: a role owns its folder, and root reads its logs.
func TestLogsOfABrokenRoleDoNoHarm(t *testing.T) {
	dir := state(t.TempDir())
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(record(1, "the secret")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeLog(t, dir, "site", "CloudMgr.json", record(1, "admin token"))
	logs := dir.path("instances", "0", "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out.json": secret, "site.json": "../../../site/logs/CloudMgr.json"} {
		if err := os.Symlink(target, filepath.Join(logs, name)); err != nil {
			t.Fatal(err)
		}
	}
	makeFIFO(t, filepath.Join(logs, "pipe.json"))
	if err := os.Mkdir(filepath.Join(logs, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeLog(t, dir, "instances/0", "CMGService.json",
		`{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"clear\u001b[2J\nand a second line","\u001b]0;title\u0007":"x"}`,
		`{"time":"2026-01-02T03:04:06Z","level":"INFO","msg":"`+strings.Repeat("x", maxLogLine)+`"}`)
	var out bytes.Buffer
	a := &app{stdout: &out, now: time.Now}
	if err := a.showLogs(t.Context(), dir, 0, false, false); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	if strings.Contains(got, "the secret") || strings.Contains(got, "gateway/0            INFO  admin token") {
		t.Errorf("a link was followed:\n%s", got)
	}
	if strings.ContainsAny(got, "\x1b\a") || strings.Count(got, "\n") != 2 {
		t.Errorf("a record steers the terminal: %q", got)
	}
}
