package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// Each process under the race detector would otherwise rest a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=10")
	testscript.Main(m, map[string]func(){
		"causeway": func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs what a person would type, with the real program. Each script has an address of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("IP", testAddress())
			env.Setenv("STATE", filepath.Join(env.WorkDir, "state"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("PORT", "8443")
			env.Values[connsKey{}] = openConns{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": scriptReady, "gone": scriptGone, "serve": scriptServe, "occupy": scriptOccupy, "mode": scriptMode,
			"certificates": scriptCertificates, "request": scriptRequest, "audited": scriptAudited,
			"connect": func(ts *testscript.TestScript, neg bool, args []string) { connsOf(ts).connect(ts, neg, args) },
			"ask":     func(ts *testscript.TestScript, neg bool, args []string) { connsOf(ts).ask(ts, neg, args) },
		},
	})
}

var addresses atomic.Uint32

// testAddress returns a loopback address that no other test uses, so that all can have the same ports.
func testAddress() string {
	n := addresses.Add(1)
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 64+pid>>8&63, pid&255, 1+n)
}

// scriptReady waits until a state folder has a ready.json.
func scriptReady(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(filepath.Join(args[0], "ready.json"))
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
	ts.Fatalf("%s did not come", file)
}

// scriptGone waits until a file is gone.
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err != nil {
			return
		}
	}
	ts.Fatalf("%s is still there", args[0])
}

// scriptServe starts a server that says what it was asked, and puts its address into a variable.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %s as %s\n", r.Method, r.URL, r.Host, r.Header.Get("X-Causeway-Device-Id"))
	})}
	go srv.Serve(ln)
	ts.Defer(func() { srv.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// scriptOccupy takes an address.
func scriptOccupy(ts *testscript.TestScript, neg bool, args []string) {
	ln, err := net.Listen("tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
}

// scriptMode checks that a file has a mode.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	fi, err := os.Lstat(ts.MkAbs(args[1]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	if got := fi.Mode().Perm(); got != os.FileMode(want) {
		ts.Fatalf("%s has mode %04o, want %04o", args[1], got, want)
	}
}

// scriptRequest asks for a URL with curl as the device of a state folder: request STATE URL [curl arguments].
func scriptRequest(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	line := append([]string{"-sS", "--max-time", "10", "--cacert", filepath.Join(dir, "ca.crt"),
		"--cert", filepath.Join(dir, "devices/device-1/device.crt"), "--key", filepath.Join(dir, "devices/device-1/device.key"), args[1]}, args[2:]...)
	out, err := exec.Command("curl", line...).CombinedOutput()
	ts.Logf("%s", out)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), out, 0o600))
	if (err != nil) != neg {
		ts.Fatalf("curl %s: %v", strings.Join(line, " "), err)
	}
}
