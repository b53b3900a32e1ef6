package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/fabric/network"
	"github.com/causeway-gateway/causeway/internal/handoff"
	"github.com/causeway-gateway/causeway/internal/supervise"
)

const (
	// upDrain is how long requests in flight may take when `up` stops. Whoever waits at the terminal for the end is
	// not asked for more; a role that stands alone drains longer.
	upDrain = 5 * time.Second
	// upGrace is when a process that does not stop is killed.
	upGrace = upDrain + 3*time.Second
	// startTimeout bounds the wait for one process to become ready.
	startTimeout = 8 * time.Second
)

// A fleet is the processes of one site, in the order of their start.
type fleet struct {
	log     *slog.Logger
	exe     string
	env     []string
	changed func() // a process started or ended

	memoryBudget memorySize // of each gateway instance and connection point; zero means the default

	members network.Members
	apart   context.CancelFunc // ends keepTogether; nil while it does not run
	mending sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	processes []*member
}

// A member is one process with the goroutine that keeps it running.
type member struct {
	*supervise.Process
	stop context.CancelFunc
	done chan struct{}
	err  error // of Run; read after done
}

// process returns a process of ours in a role's folder.
func (f *fleet) process(name, dir string, args ...string) *supervise.Process {
	return &supervise.Process{
		Name: name, Path: f.exe, Args: args, Env: f.env, Dir: dir,
		MustStart: true, ReadyTimeout: startTimeout, Grace: upGrace, Logger: f.log,
		Changed: func(supervise.Status) { f.changed() },
	}
}

// keepTogether brings instances and balancer together again that lost each other, until stopAll.
func (f *fleet) keepTogether(ctx context.Context) {
	ctx, f.apart = context.WithCancel(context.WithoutCancel(ctx))
	f.mending.Go(func() {
		if err := f.members.Run(ctx); err != nil {
			f.log.Error("instances and balancer are not kept together any more", "err", err)
		}
	})
}

// start runs a process and waits until it is ready. ctx bounds the wait alone: the process runs until it is stopped.
func (f *fleet) start(ctx context.Context, p *supervise.Process) error {
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	m := &member{Process: p, stop: stop, done: make(chan struct{})}
	f.mu.Lock()
	f.processes = append(f.processes, m)
	f.mu.Unlock()
	go func() {
		defer close(m.done)
		m.err = p.Run(rctx)
	}()
	ready := make(chan error, 1)
	wctx, over := context.WithCancel(ctx)
	defer over()
	go func() {
		_, err := p.WaitReady(wctx)
		ready <- err
	}()
	select {
	case err := <-ready:
		return err
	case <-m.done:
		over()
		<-ready
		return startError(m)
	}
}

// startError puts what the process last said into the error: its own words name the cause.
func startError(m *member) error {
	err := m.err
	if err == nil {
		err = fmt.Errorf("start %s: stopped", m.Name)
	}
	var said []string
	hint := ""
	for _, line := range m.Status().Output {
		if text, ok := strings.CutPrefix(line, "causeway: error: "); ok {
			said = append(said, text)
		}
		if text, ok := strings.CutPrefix(line, "causeway: hint: "); ok {
			hint = text
		}
	}
	if len(said) > 0 {
		err = fmt.Errorf("start %s: %s", m.Name, strings.Join(said, "; "))
	}
	if hint != "" {
		err = causeway.WithHint(err, "%s", hint)
	}
	return err
}

// balancer returns the load balancer's process.
func (f *fleet) balancer(dir, address string, port, user int) *supervise.Process {
	p := f.process("balancer", dir, "balancer", "--address", address, "--port", strconv.Itoa(port), "--user", strconv.Itoa(user))
	var ours ourEnd
	p.Files = func() ([]supervise.File, error) { return ours.pair(controlName) }
	p.Started = func(int) {
		if err := f.members.BalancerStarted(context.Background(), ours.take()); err != nil {
			f.log.Error("balancer does not take the instances", "err", err)
		}
	}
	p.Exited = func(error) { f.members.BalancerStopped() }
	return p
}

// ourEnd is our end of a socket pair whose other end a child inherits.
type ourEnd struct{ file *os.File }

// pair makes a new pair for one start of the child. The end of a start that failed goes.
func (o *ourEnd) pair(name string) ([]supervise.File, error) {
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
	mine, theirs, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	o.file = mine
	return []supervise.File{{Name: name, File: theirs}}, nil
}

// take gives the end away to who looks after it while the child lives.
func (o *ourEnd) take() *os.File {
	f := o.file
	o.file = nil
	return f
}

// instance returns the process of a gateway instance.
func (f *fleet) instance(dir string, slot causeway.Slot, id causeway.InstanceID, user int) *supervise.Process {
	p := f.process("gateway/"+strconv.Itoa(int(slot)), dir, f.role("gateway", user)...)
	var ours ourEnd
	p.Files = func() ([]supervise.File, error) { return ours.pair(attachName) }
	p.Started = func(int) {
		if err := f.members.InstanceStarted(context.Background(), slot, id, ours.take()); err != nil {
			f.log.Error("balancer does not take the instance", "slot", int(slot), "instance", string(id), "err", err)
		}
	}
	p.Exited = func(error) {
		if err := f.members.InstanceStopped(context.Background(), slot, id); err != nil {
			f.log.Warn("balancer does not let the instance go", "slot", int(slot), "instance", string(id), "err", err)
		}
	}
	return p
}

// role returns the arguments of a role that carries requests.
func (f *fleet) role(name string, user int) []string {
	args := []string{name, "run", "--config", "config.yaml", "--user", strconv.Itoa(user)}
	if f.memoryBudget != 0 {
		args = append(args, "--memory-budget", f.memoryBudget.String())
	}
	return args
}

// connectionPoint returns the process of a connection point.
func (f *fleet) connectionPoint(dir string, id causeway.ConnectionPointID, user int) *supervise.Process {
	return f.process("connection-point/"+string(id), dir, f.role("connection-point", user)...)
}

// sampleServer returns the sample server's process, which serves ln. The socket outlives the process, so that
// requests wait while it is started again.
func (f *fleet) sampleServer(dir string, ln *net.TCPListener, user int) *supervise.Process {
	p := f.process("sample-server", dir, "sample-server", "--user", strconv.Itoa(user))
	p.Files = func() ([]supervise.File, error) {
		file, err := ln.File()
		return []supervise.File{{Name: listenerName, File: file}}, err
	}
	return p
}

// stop ends processes of one kind together and waits for them.
func (f *fleet) stop(kind string) {
	var wait []*member
	for _, m := range f.all() {
		if m.Name == kind || strings.HasPrefix(m.Name, kind+"/") {
			m.stop()
			wait = append(wait, m)
		}
	}
	for _, m := range wait {
		<-m.done
	}
}

// stopAll ends everything, in the order that loses nothing: instances first, which finish their requests while the
// connection points still carry them; then these; the balancer last, because its ports say that the site is there.
func (f *fleet) stopAll() {
	if f.apart != nil {
		f.apart() // before instances leave, or they would be introduced again on their way out
		f.mending.Wait()
	}
	for _, kind := range []string{"gateway", "connection-point", "sample-server", "balancer"} {
		f.stop(kind)
	}
	f.members.Close()
}

// kill ends everything at once.
func (f *fleet) kill() {
	for _, m := range f.all() {
		m.stop()
		_ = m.Signal(os.Kill) // gone already: just as well
	}
}

func (f *fleet) all() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.processes)
}

// find returns a process by name, nil when it never was started.
func (f *fleet) find(name string) *member {
	for _, m := range f.all() {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// childEnv is what of our environment children get: nothing that names a folder of ours or a secret.
func childEnv(getenv func(string) string) []string {
	var env []string
	for _, name := range []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GORACE", "GOCOVERDIR", "TZ"} {
		if v := getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}
