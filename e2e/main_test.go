//go:build linux

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// binary is the program under test, built once.
var binary string

// soak says that the long forms run.
var soak = os.Getenv("CAUSEWAY_SOAK") == "1"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	// Processes whose parent died come to us, so that none can hide from the check at the end.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: become a subreaper:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "causeway-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	// A role that root starts becomes another user and must still be able to run the binary.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if binary = os.Getenv("CAUSEWAY_E2E_BINARY"); binary == "" {
		binary = filepath.Join(dir, "causeway")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "../cmd/causeway")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: build: %v\n%s", err, out)
			return 1
		}
	}
	shareTheWait()
	code := m.Run()
	if left := children(30 * time.Second); len(left) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "e2e: processes left behind:\n%s\n", strings.Join(left, "\n"))
		return 1
	}
	return code
}

// shareTheWait lets more tests run beside each other than there are processors: those that may, mostly wait. A soak keeps
// to what it is told.
func shareTheWait() {
	const tests = 4
	flag.Parse()
	parallel := flag.Lookup("test.parallel")
	if n, err := strconv.Atoi(parallel.Value.String()); err == nil && n < tests && !soak {
		_ = parallel.Value.Set(strconv.Itoa(tests)) // it takes any number
	}
}

// children lists our living child processes, after giving those that are ending the time to do so.
func children(patience time.Duration) (left []string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		// All tests are over, so what has ended and is not ours by os/exec came to us as an orphan.
		for pid := 1; pid > 0; {
			pid, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil)
		}
		left = nil
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
			if err != nil {
				continue
			}
			after := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
			if len(after) > 1 && after[0] != "Z" && after[1] == strconv.Itoa(os.Getpid()) {
				line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
				left = append(left, fmt.Sprintf("%d %s", pid, strings.ReplaceAll(string(line), "\x00", " ")))
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

var addresses atomic.Uint32

// address returns a loopback address that no other test uses, in this run or in one beside it.
func address() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()/250%128, os.Getpid()%250, n)
}

// eventually returns when ok is true, and fails the test when that takes too long.
func eventually(t *testing.T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
