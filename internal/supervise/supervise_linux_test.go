package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// envHelper makes the test binary one of the helpers below.
const envHelper = "CAUSEWAY_TEST_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(envHelper); name != "" {
		helpers[name]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var helpers = map[string]func(){
	"role":           role,
	"parent":         parent,
	"obedient":       obedient,
	"hangs":          hangs,
	"knows nothing":  knowsNothing,
	"ignores TERM":   ignoresTERM,
	"has a child":    hasAChild,
	"exits":          func() { fmt.Fprintln(os.Stderr, "cannot start: no key"); os.Exit(3) },
	"ready, no JSON": func() { f := must(Inherit(os.Getenv)).File("ready"); fmt.Fprintln(f, "hello"); forever() },
	"shut pipe":      func() { must(Inherit(os.Getenv)).File("ready").Close(); forever() },
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	return v
}

func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// helper is a Process that runs one of them.
func helper(t *testing.T, name string) *Process {
	t.Helper()
	return &Process{
		Name: name, Path: os.Args[0], Args: []string{"one", "two"}, Logger: quiet, Grace: 10 * time.Second,
		Env: append(os.Environ(), envHelper+"="+name, "GORACE=atexit_sleep_ms=0"),
	}
}

// running starts p and returns a function that stops it and returns what Run returned.
func running(t *testing.T, p *Process) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		return <-ran
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return stop
}

func waitReady(t *testing.T, p *Process) json.RawMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	payload, err := p.WaitReady(ctx)
	if err != nil {
		t.Fatalf("%v; status %+v", err, p.Status())
	}
	return payload
}

// role says everything that a child can see.
func role() {
	in := must(Inherit(os.Getenv))
	ctx, stop := in.Lifetime(context.Background())
	defer stop()
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer cancel()
	var seen struct {
		Args  []string
		Dir   string
		Note  string
		Group bool
		FDs   []string
	}
	seen.Args, seen.Dir = os.Args[1:], must(os.Getwd())
	seen.Note = string(must(io.ReadAll(in.File("note"))))
	seen.Group = unix.Getpgrp() == os.Getpid()
	for _, fd := range must(os.ReadDir("/proc/self/fd")) {
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if strings.HasPrefix(target, "pipe:") || strings.HasPrefix(target, "socket:") {
			seen.FDs = append(seen.FDs, fd.Name())
		}
	}
	fmt.Println("going to be ready")
	if err := in.Ready(seen); err != nil {
		os.Exit(1)
	}
	<-ctx.Done()
	fmt.Println("stopped by", context.Cause(ctx))
}

func TestChildGetsWhatItIsGiven(t *testing.T) {
	p := helper(t, "role")
	p.Dir = t.TempDir()
	starts := 0
	p.Files = func() ([]File, error) {
		starts++
		end, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		fmt.Fprint(write, "start ", starts)
		return []File{{"note", end}}, write.Close()
	}
	stop := running(t, p)
	var seen struct {
		Args  []string
		Dir   string
		Note  string
		Group bool
		FDs   []string
	}
	if err := json.Unmarshal(waitReady(t, p), &seen); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen.Args) != "[one two]" || !seen.Group || seen.Note != "start 1" {
		t.Errorf("the child saw %+v", seen)
	}
	if dir, _ := filepath.EvalSymlinks(p.Dir); seen.Dir != dir {
		t.Errorf("the child works in %s, want %s", seen.Dir, dir)
	}
	if got := fmt.Sprint(seen.FDs); got != "[1 2 3 4 5]" { // two outputs, note, lifetime, ready
		t.Errorf("the child has pipes %s", got)
	}
	first := p.Status()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for p.Status().Restarts == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := json.Unmarshal(waitReady(t, p), &seen); err != nil || seen.Note != "start 2" {
		t.Errorf("after a restart the child saw %+v, %v; want files of its own", seen, err)
	}
	if s := p.Status(); s.PID == first.PID || s.LastExit != "signal: killed" {
		t.Errorf("status %+v", s)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(p.Status().Output, "\n"); !strings.Contains(got, "stopped by") {
		t.Errorf("output %q", got)
	}
}

func TestFailedStartSaysWhy(t *testing.T) {
	t.Run("exits", func(t *testing.T) {
		p := helper(t, "exits")
		p.MustStart = true
		err := p.Run(t.Context())
		if err == nil || err.Error() != "start exits: exit status 3" || fmt.Sprint(p.Status().Output) != "[cannot start: no key]" {
			t.Errorf("Run = %v, output %q", err, p.Status().Output)
		}
	})
	t.Run("no such program", func(t *testing.T) {
		p := helper(t, "role")
		p.Path, p.MustStart = "/nowhere/causeway", true
		if err := p.Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Run = %v, want ErrNotExist", err)
		}
	})
	t.Run("files", func(t *testing.T) {
		p := helper(t, "role")
		end, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()
		broken := errors.New("no socket")
		p.MustStart, p.Files = true, func() ([]File, error) { return []File{{"note", write}}, broken }
		if err := p.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("Run = %v, want %v", err, broken)
		}
		if _, err := end.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read = %v: the file is still open", err)
		}
	})
	for _, name := range []string{"", "lifetime", "ready", "a,b", "a=b"} {
		t.Run("file name "+name, func(t *testing.T) {
			p := helper(t, "role")
			p.MustStart, p.Files = true, func() ([]File, error) { return []File{{name, must(os.Open(os.DevNull))}}, nil }
			if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "bad name") {
				t.Errorf("Run = %v", err)
			}
		})
	}
	for _, name := range []string{"ready, no JSON", "shut pipe"} {
		t.Run(name, func(t *testing.T) {
			p := helper(t, name)
			p.MustStart = true
			if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "readiness") {
				t.Errorf("Run = %v", err)
			}
		})
	}
}

func ignoresTERM() {
	signal.Ignore(syscall.SIGTERM)
	in := must(Inherit(os.Getenv))
	in.Ready(nil)
	forever()
}

func TestProcessThatIgnoresTERMIsKilled(t *testing.T) {
	p := helper(t, "ignores TERM")
	p.Grace = 50 * time.Millisecond
	stop := running(t, p)
	waitReady(t, p)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := p.Status().LastExit; got != "signal: killed" {
		t.Errorf("last exit %q", got)
	}
}

// witnessed runs p with a pipe that ends when every process that inherited it is gone.
func witnessed(t *testing.T, p *Process) (gone <-chan struct{}) {
	t.Helper()
	end, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	p.Files = func() ([]File, error) { return []File{{"witness", write}}, nil }
	done := make(chan struct{})
	go func() { io.Copy(io.Discard, end); close(done) }()
	return done
}

func hasAChild() {
	in := must(Inherit(os.Getenv))
	cmd := exec.Command("/bin/sleep", "3600")
	cmd.ExtraFiles = []*os.File{in.File("witness")}
	if err := cmd.Start(); err != nil {
		os.Exit(1)
	}
	in.Ready(cmd.Process.Pid)
	<-must(lifetime(in)).Done()
}

func lifetime(in *Inheritance) (context.Context, error) {
	ctx, stop := in.Lifetime(context.Background())
	_ = stop // for as long as the process lives
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	_ = cancel
	return ctx, nil
}

func TestWhatTheChildStartedGoesWithIt(t *testing.T) {
	p := helper(t, "has a child")
	p.MinBackoff, p.MaxBackoff = time.Hour, time.Hour
	gone := witnessed(t, p)
	stop := running(t, p)
	waitReady(t, p)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	<-gone
}

// parent supervises the helper named by the environment and says when that is ready. It hands its own descriptor 3 on.
func parent() {
	p := &Process{
		Name: "child", Path: os.Args[0], Grace: time.Minute,
		Env:   append(os.Environ(), envHelper+"="+os.Getenv("CAUSEWAY_TEST_CHILD")),
		Files: func() ([]File, error) { return []File{{"witness", os.NewFile(3, "witness")}}, nil },
		Ready: func(pid json.RawMessage) { fmt.Println(string(pid)) },
	}
	p.Run(context.Background())
}

// obedient ends by the lifetime pipe alone: it told the kernel not to kill it.
func obedient() {
	in := must(Inherit(os.Getenv))
	ctx := must(lifetime(in))
	noParentDeathSignal()
	in.Ready(os.Getpid())
	<-ctx.Done()
	if context.Cause(ctx) != ErrParentGone {
		forever()
	}
}

// hangs watches the pipe but then does not come to its end.
func hangs() {
	in := must(Inherit(os.Getenv))
	must(lifetime(in))
	noParentDeathSignal()
	in.Ready(os.Getpid())
	forever()
}

// knowsNothing of the pipe: the kernel kills it.
func knowsNothing() {
	in := must(Inherit(os.Getenv))
	in.Ready(os.Getpid())
	forever()
}

func noParentDeathSignal() {
	if err := ll.AllThreadsPrctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		panic(err)
	}
}

func TestKilledParentLeavesNobody(t *testing.T) {
	for _, child := range []string{"obedient", "hangs", "knows nothing"} {
		t.Run(child, func(t *testing.T) {
			t.Parallel()
			end, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envHelper+"=parent", "CAUSEWAY_TEST_CHILD="+child)
			cmd.ExtraFiles = []*os.File{write}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			write.Close()
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, 0); err != nil {
				t.Fatalf("the child does not run: %v", err)
			}
			cmd.Process.Kill()
			cmd.Wait()
			if n, err := end.Read(make([]byte, 1)); n != 0 || err != io.EOF { // comes when the grandchild is gone
				t.Errorf("read = %d, %v", n, err)
			}
		})
	}
}

func TestNothingIsLeaked(t *testing.T) {
	count := func() int { return len(must(os.ReadDir("/proc/self/fd"))) }
	once := func() {
		p := helper(t, "exits")
		p.MustStart = true
		p.Run(t.Context())
		p = helper(t, "role")
		p.Files = func() ([]File, error) { return []File{{"note", must(os.Open(os.DevNull))}}, nil }
		stop := running(t, p)
		waitReady(t, p)
		stop()
	}
	once() // the runtime's own descriptors
	before := count()
	once()
	if got := count(); got != before {
		t.Errorf("%d descriptors open, want %d", got, before)
	}
}

func TestInherit(t *testing.T) {
	env := func(v string) func(string) string { return func(string) string { return v } }
	t.Run("nothing", func(t *testing.T) {
		in, err := Inherit(env(""))
		if in != nil || err != nil {
			t.Fatalf("Inherit = %v, %v", in, err)
		}
		ctx, stop := in.Lifetime(t.Context())
		if ctx.Err() != nil || in.Ready("x") != nil || in.File("x") != nil {
			t.Error("a process without inheritance does not work")
		}
		stop()
	})
	for _, bad := range []string{"lifetime", "lifetime=", "lifetime=x", "=3", "lifetime=2", "lifetime=-1", "lifetime=99999", "a=3,", ","} {
		t.Run(bad, func(t *testing.T) {
			if strings.Contains(bad, "=3") {
				fd := must(unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 100))
				bad = strings.ReplaceAll(bad, "=3", "="+strconv.Itoa(fd))
				defer unix.Close(fd) // closed by Inherit, where it got so far
			}
			if in, err := Inherit(env(bad)); err == nil {
				t.Errorf("Inherit(%q) = %v", bad, in)
			}
		})
	}
}

func TestLifetimeEndsWithThePipe(t *testing.T) {
	end, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in := &Inheritance{files: map[string]*os.File{lifetimeName: end}}
	ctx, stop := in.Lifetime(t.Context())
	if ctx.Err() != nil {
		t.Fatal("ended at once")
	}
	write.Close()
	<-ctx.Done()
	if got := context.Cause(ctx); got != ErrParentGone {
		t.Errorf("cause %v", got)
	}
	stop() // in time: nobody is killed
}

func TestStoppedLifetimeLeavesNothing(t *testing.T) {
	end, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	in := &Inheritance{files: map[string]*os.File{lifetimeName: end}}
	_, stop := in.Lifetime(t.Context())
	stop()
	if n, err := write.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write = %d, %v: the pipe is still open", n, err)
	}
}

func TestStrangersAreNotInherited(t *testing.T) {
	end, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	stranger := must(unix.FcntlInt(write.Fd(), unix.F_DUPFD, 200)) // without close-on-exec, as a careless shell leaves it
	p := helper(t, "role")
	p.Files = func() ([]File, error) { return []File{{"note", must(os.Open(os.DevNull))}}, nil }
	stop := running(t, p)
	waitReady(t, p)
	unix.Close(stranger)
	write.Close()
	if n, err := end.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read = %d, %v: the child has it", n, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
