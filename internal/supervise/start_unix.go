//go:build unix

package supervise

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	firstInherited  = 3                      // after stdin, stdout and stderr
	maxReadyBytes   = 64 << 10               // of a readiness line
	outputAfterExit = 500 * time.Millisecond // how long output is still read when somebody else holds the pipe
)

// process is a child of the operating system.
type process struct {
	cmd      *exec.Cmd
	lifetime *os.File // our end; the child sees it close
	readyc   chan readiness
	done     chan struct{}
	waitErr  error // set before done is closed

	mu     sync.Mutex // guards reaped
	reaped bool       // the number may belong to another process from now on
}

// start starts one life of p.
func start(p *Process, tail *tail) (child, error) {
	inherited, ours, err := p.inherit()
	defer closeFiles(inherited)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir, cmd.Env = p.Dir, append(append([]string{}, p.Env...), EnvInherited+"="+inheritedList(inherited))
	for _, f := range inherited {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f.File)
	}
	log := p.log().With("process", p.Name)
	stdout := &lineWriter{log: log, tail: tail, stream: "stdout"}
	stderr := &lineWriter{log: log, tail: tail, stream: "stderr"}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, outputAfterExit
	cmd.SysProcAttr = processAttributes()

	c := &process{cmd: cmd, lifetime: ours.lifetime, readyc: make(chan readiness, 1), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel's "my parent died" means the thread that started the child: hold it for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.wait(stdout, stderr)
		}
	}()
	if err := <-started; err != nil {
		ours.lifetime.Close()
		ours.ready.Close()
		return nil, err
	}
	go c.readReady(ours.ready)
	return c, nil
}

// wait reaps the child, takes the rest of its group along and publishes how it ended.
func (c *process) wait(stdout, stderr *lineWriter) {
	if awaitExit(c.cmd.Process.Pid) { // not reaped yet: its number, and so its group's, belongs to nobody else
		c.kill()
		c.setReaped()
	}
	err := c.cmd.Wait()
	c.setReaped()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // somebody who left the group holds the output; the child itself ended well
	}
	stdout.flush()
	stderr.flush()
	c.lifetime.Close()
	c.waitErr = err
	close(c.done)
}

func (c *process) setReaped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reaped = true
}

// readReady waits for the readiness line.
func (c *process) readReady(f *os.File) {
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxReadyBytes)).ReadBytes('\n')
	line = bytes.TrimSpace(line)
	switch {
	case err != nil:
		c.readyc <- readiness{err: errors.New("it closed the readiness pipe without a word")}
	case !json.Valid(line):
		c.readyc <- readiness{err: fmt.Errorf("its readiness line is not JSON: %.80q", line)}
	default:
		c.readyc <- readiness{payload: line}
	}
}

func (c *process) pid() int                   { return c.cmd.Process.Pid }
func (c *process) ready() <-chan readiness    { return c.readyc }
func (c *process) exited() <-chan struct{}    { return c.done }
func (c *process) err() error                 { return c.waitErr }
func (c *process) signal(sig os.Signal) error { return c.cmd.Process.Signal(sig) }
func (c *process) terminate() error           { return c.signal(syscall.SIGTERM) }

// kill ends the child and everything left in its group.
func (c *process) kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return os.ErrProcessDone
	}
	return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
}

// parentEnds are the parent's ends of the pipes that every child gets.
type parentEnds struct{ lifetime, ready *os.File }

// inherit makes the files of one start. The caller closes what it returns first, also with an error.
func (p *Process) inherit() (files []File, ours parentEnds, err error) {
	if p.Files != nil {
		if files, err = p.Files(); err != nil {
			return files, ours, err
		}
	}
	for _, f := range files {
		if f.Name == "" || strings.ContainsAny(f.Name, ",= \n") || f.Name == lifetimeName || f.Name == readyName {
			return files, ours, fmt.Errorf("inherited file: bad name %q", f.Name)
		}
	}
	lifetime, lifetimeEnd, err := os.Pipe()
	if err != nil {
		return files, ours, err
	}
	files = append(files, File{lifetimeName, lifetime})
	readyEnd, ready, err := os.Pipe()
	if err != nil {
		lifetimeEnd.Close()
		return files, ours, err
	}
	files = append(files, File{readyName, ready})
	return files, parentEnds{lifetimeEnd, readyEnd}, nil
}

func inheritedList(files []File) string {
	var b strings.Builder
	for i, f := range files {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s=%d", f.Name, firstInherited+i)
	}
	return b.String()
}

func closeFiles(files []File) {
	for _, f := range files {
		f.File.Close()
	}
}
