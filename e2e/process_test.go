//go:build linux

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a server that a test started. It is stopped, and waited for, when the test ends.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
	err  error         // of Wait, once done is closed
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// forks starts every process from one thread that lives as long as the test binary: the kernel ties a child's
// parent-death signal to the thread, and a test binary that panics must not leave servers behind.
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func startCommand(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	result := make(chan error)
	forks() <- func() { result <- cmd.Start() }
	return <-result
}

// start starts a server.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: cmd.Path, cmd: cmd, out: new(output), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.WaitDelay = 10 * time.Second // a child that kept our pipe must not keep us
	if err := startCommand(cmd); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(cmd.Args, " "), p.out)
		}
	})
	return p
}

// stop ends the process as a person would, and by force if that does not help, which is a failure.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(40 * time.Second):
		t.Errorf("%s did not end within 40 s of SIGTERM", p.name)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// A finished is a program that ran to its end.
type finished struct {
	stdout, stderr string
	code           int
}

// run runs a program to its end; it may fail.
func run(t *testing.T, cmd *exec.Cmd) finished {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := startCommand(cmd); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	_ = cmd.Wait() // the exit status says it
	return finished{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that has to succeed, in dir, and returns its standard output.
func must(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	cmd := command(t, name, args...)
	cmd.Dir = dir
	got := run(t, cmd)
	if got.code != 0 {
		t.Fatalf("%s %s: exit status %d\n%s%s", name, strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	return got.stdout
}

// command prepares a program that ends with the test at the latest. Its language is English and its proxy is none.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), tool(t, name), args...)
	for _, kv := range os.Environ() {
		if key, _, _ := strings.Cut(kv, "="); !strings.HasSuffix(strings.ToLower(key), "_proxy") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	return cmd
}

// tool finds a program, also in the folders where Debian keeps daemons.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/local/sbin/", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not on this machine (tools/setup.sh test installs it)", name)
	return ""
}
