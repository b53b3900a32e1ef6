package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Defaults of Process.
const (
	DefaultReadyTimeout = 10 * time.Second
	DefaultGrace        = 35 * time.Second // a role's drain of 30 s, and a little
	DefaultMinBackoff   = 200 * time.Millisecond
	DefaultMaxBackoff   = 5 * time.Second
	DefaultStableAfter  = 30 * time.Second
)

// A File is one descriptor for a child, which finds it by name.
type File struct {
	Name string
	File *os.File
}

// A Process is one child, started again whenever it exits. Set the fields before Run; do not change them after.
type Process struct {
	Name string   // for logs and Status
	Path string   // the program
	Args []string // without the program's name
	Env  []string // the whole environment; EnvInherited is added
	Dir  string   // working directory; "" means ours

	// Files makes what the child inherits, anew for each start. Its files are closed once the child has them, and when
	// the start fails. An error is treated as a failed start. nil means none.
	Files func() ([]File, error)
	// Started is called after each start, Ready with what the child said when it became ready, Exited after its end.
	// They are called one at a time and hold the process up. nil means none.
	Started func(pid int)
	Ready   func(payload json.RawMessage)
	Exited  func(err error)
	// Changed is called after every change of Status. nil means none.
	Changed func(Status)

	// MustStart makes Run return the error when the first start does not become ready, instead of trying again.
	MustStart bool

	ReadyTimeout time.Duration // a child that is not ready by then is killed; zero means DefaultReadyTimeout
	Grace        time.Duration // between TERM and KILL; zero means DefaultGrace
	MinBackoff   time.Duration // zero means DefaultMinBackoff
	MaxBackoff   time.Duration // zero means DefaultMaxBackoff
	StableAfter  time.Duration // a child that lived this long starts the backoff over; zero means DefaultStableAfter

	Logger *slog.Logger // nil means slog.Default()

	spawn func(p *Process, tail *tail) (child, error) // tests replace it; nil means spawn

	mu      sync.Mutex // guards the fields below
	status  Status
	tail    *tail
	current child
	ready   chan struct{} // closed while Running
}

// child is one life of a process.
type child interface {
	pid() int
	// ready yields the payload once, or an error when the child cannot become ready any more.
	ready() <-chan readiness
	// exited is closed after the child has ended and its output is read; err says how.
	exited() <-chan struct{}
	err() error
	terminate() error // asks
	kill() error      // does not ask; takes the whole group
	signal(os.Signal) error
}

type readiness struct {
	payload json.RawMessage
	err     error
}

// Run keeps the process running until ctx ends, then stops it: TERM, and KILL after Grace. When Run returns, the
// process and its group are gone.
func (p *Process) Run(ctx context.Context) error {
	defer p.set(func(s *Status) { s.State, s.PID, s.Payload = Stopped, 0, nil })
	for attempt, first := 0, true; ; first = false {
		began := time.Now()
		wasReady, err := p.live(ctx, first)
		if ctx.Err() != nil {
			return nil
		}
		if first && p.MustStart && !wasReady {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		if time.Since(began) >= or(p.StableAfter, DefaultStableAfter) {
			attempt = 0
		}
		wait := p.backoff(attempt)
		attempt++
		p.log().Warn("process ended", "process", p.Name, "err", err, "restart_in_ms", wait.Milliseconds())
		p.set(func(s *Status) { s.State, s.PID, s.Payload = Waiting, 0, nil })
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// live is one life: from start to exit. It reports whether the child ever was ready and why it ended.
func (p *Process) live(ctx context.Context, first bool) (wasReady bool, err error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	spawn := p.spawn
	if spawn == nil {
		spawn = start
	}
	c, err := spawn(p, p.output())
	if err != nil {
		p.set(func(s *Status) { s.LastExit = err.Error() })
		return false, err
	}
	p.set(func(s *Status) {
		s.State, s.PID, s.Payload = Starting, c.pid(), nil
		if !first {
			s.Restarts++
		}
	})
	p.setCurrent(c)
	defer p.setCurrent(nil)
	if p.Started != nil {
		p.Started(c.pid())
	}
	p.log().Info("process started", "process", p.Name, "pid", c.pid())
	wasReady, err = p.watch(ctx, c)
	p.set(func(s *Status) { s.LastExit = err.Error() })
	if p.Exited != nil {
		p.Exited(err)
	}
	return wasReady, err
}

// watch follows a started child until it has ended.
func (p *Process) watch(ctx context.Context, c child) (wasReady bool, err error) {
	deadline := time.NewTimer(or(p.ReadyTimeout, DefaultReadyTimeout))
	defer deadline.Stop()
	readiness := c.ready()
	for {
		select {
		case <-ctx.Done():
			return wasReady, p.stop(c)
		case <-c.exited():
			return wasReady, exitError(c.err())
		case r := <-readiness:
			readiness = nil
			if r.err != nil {
				return false, p.abandon(c, r.err)
			}
			wasReady = true
			deadline.Stop()
			p.set(func(s *Status) { s.State, s.Payload = Running, r.payload })
			p.log().Info("process ready", "process", p.Name, "pid", c.pid())
			if p.Ready != nil {
				p.Ready(r.payload)
			}
		case <-deadline.C:
			if !wasReady {
				return false, p.abandon(c, fmt.Errorf("not ready after %v", or(p.ReadyTimeout, DefaultReadyTimeout)))
			}
		}
	}
}

// abandon ends a child that will not become ready. If it exits by itself, that is the better reason.
func (p *Process) abandon(c child, why error) error {
	select {
	case <-c.exited():
		return exitError(c.err())
	case <-time.After(100 * time.Millisecond): // a child that dies closes its pipe a moment before
	}
	c.kill()
	<-c.exited()
	return why
}

// stop asks the child to end and makes sure that it does.
func (p *Process) stop(c child) error {
	p.set(func(s *Status) { s.State = Stopping })
	c.terminate()
	grace := time.NewTimer(or(p.Grace, DefaultGrace))
	defer grace.Stop()
	select {
	case <-c.exited():
	case <-grace.C:
		p.log().Warn("process does not stop, killing it", "process", p.Name, "pid", c.pid())
		c.kill()
		<-c.exited()
	}
	return exitError(c.err())
}

// WaitReady blocks until the process is ready and returns what it said, or until ctx ends.
func (p *Process) WaitReady(ctx context.Context) (json.RawMessage, error) {
	for {
		p.mu.Lock()
		ready, payload, state := p.readyLocked(), p.status.Payload, p.status.State
		p.mu.Unlock()
		if state == Running {
			return payload, nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is not ready: %w", p.Name, ctx.Err())
		}
	}
}

// Status returns a snapshot.
func (p *Process) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.snapshotLocked()
}

// Signal sends sig to the running child, for instance to make it read its configuration again.
func (p *Process) Signal(sig os.Signal) error {
	p.mu.Lock()
	c := p.current
	p.mu.Unlock()
	if c == nil {
		return fmt.Errorf("signal %s: not running", p.Name)
	}
	return c.signal(sig)
}

// set changes the status and tells who wants to know.
func (p *Process) set(change func(*Status)) {
	p.mu.Lock()
	before := p.status.State
	change(&p.status)
	if p.status.State != before {
		p.status.Since = time.Now()
	}
	ready := p.readyLocked()
	switch {
	case p.status.State == Running && before != Running:
		close(ready)
	case p.status.State != Running && before == Running:
		p.ready = make(chan struct{})
	}
	s := p.snapshotLocked()
	p.mu.Unlock()
	if p.Changed != nil {
		p.Changed(s)
	}
}

func (p *Process) readyLocked() chan struct{} {
	if p.ready == nil {
		p.ready = make(chan struct{})
	}
	return p.ready
}

func (p *Process) snapshotLocked() Status {
	s := p.status
	s.Name = p.Name
	if s.State == "" {
		s.State = Stopped
	}
	if p.tail != nil {
		s.Output = p.tail.lines()
	}
	return s
}

func (p *Process) setCurrent(c child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = c
}

func (p *Process) output() *tail {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tail == nil {
		p.tail = &tail{}
	}
	return p.tail
}

// backoff returns a random wait up to a bound that doubles with each attempt (full jitter): many children that died
// of one cause do not come back at one moment.
func (p *Process) backoff(attempt int) time.Duration {
	bound := or(p.MinBackoff, DefaultMinBackoff)
	for range attempt {
		bound *= 2
		if bound >= or(p.MaxBackoff, DefaultMaxBackoff) {
			bound = or(p.MaxBackoff, DefaultMaxBackoff)
			break
		}
	}
	return rand.N(bound + 1)
}

func (p *Process) log() *slog.Logger {
	if p.Logger == nil {
		return slog.Default()
	}
	return p.Logger
}

// exitError names a clean exit too: a role has no reason to end by itself.
func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// sleep waits and reports whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
