//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Every server of a run has a loopback address of its own, so that ports never clash and one target's closed
// connections do not use up the port numbers of the next.
const (
	backendAddress = "127.77.0.2:8080"
	sinkAddress    = "127.77.0.3:8080"
)

// A target is one way to the backend.
type target struct {
	name    string
	address string // host and port that devices dial
	plain   bool   // http, not https
	h2      bool

	// mutual is where handshakes without a client certificate fail, refusing where they end in a 403; empty where
	// address asks every device for its certificate.
	mutual, refusing string
	// identity says that address asks every device for a client certificate and refuses those without.
	identity bool
	// only lists the workloads that the target is for; empty means all.
	only []string

	gateway, connector func() []int // processes on each side
	// Sockets on which each side shows its Go memory metrics, when it is a Go program that does.
	gatewayMetrics, connectorMetrics func() []string

	// point starts a further connection point of this target and returns the socket of its status; nil if it has none.
	point func(ctx context.Context, n int) (socket string, err error)

	build    func(context.Context, *lab) (*target, error)
	commands []*exec.Cmd // what build started
}

func (t *target) url(path string) string {
	if t.plain {
		return "http://" + t.address + path
	}
	return "https://" + t.address + path
}

// A lab is the set of servers of one run.
type lab struct {
	dir      string
	causeway string

	keys     *credentials
	preload  string // library that gives wrk and h2load a client certificate
	backend  func() []int
	targets  []*target
	versions []string
	started  []*exec.Cmd
}

// builders start the targets, in the order in which they are measured. One that returns nil is not on this machine.
var builders = []struct {
	name  string
	build func(context.Context, *lab) (*target, error)
}{
	{"backend", backendTarget},
	{"haproxy", haproxyTarget},
	{"nginx", nginxTarget},
	{"go-direct", goDirectTarget},
	{"tunnel-bare", bareTarget},
	{"causeway-instance", causewayInstanceTarget},
	{"causeway", causewayTarget},
	{"frp-tcp", frpTarget},
	{"chisel", chiselTarget},
}

// Processes started here die with this one, which the kernel ties to the thread that started them.
func init() { runtime.LockOSThread() }

func (l *lab) start(ctx context.Context, chosen []string) error {
	for _, name := range chosen {
		if !slices.ContainsFunc(builders, func(b struct {
			name  string
			build func(context.Context, *lab) (*target, error)
		}) bool {
			return b.name == name
		}) {
			return fmt.Errorf("no target is called %q", name)
		}
	}
	addresses := []net.IP{net.IPv4(127, 0, 0, 1)}
	for last := range 40 {
		addresses = append(addresses, net.IPv4(127, 77, 0, byte(last)))
	}
	var err error
	if l.keys, err = makeCredentials(l.dir, addresses); err != nil {
		return err
	}
	if err := l.buildPreload(ctx); err != nil {
		return err
	}
	if err := l.startBackends(ctx); err != nil {
		return err
	}
	for _, b := range builders {
		if len(chosen) > 0 && !slices.Contains(chosen, b.name) {
			continue
		}
		t := &target{name: b.name, build: b.build}
		switch found, err := l.make(ctx, t); {
		case err != nil:
			return err
		case found:
			l.targets = append(l.targets, t)
		default:
			fmt.Fprintf(os.Stderr, "bench: %s is not on this machine\n", b.name)
		}
	}
	return nil
}

// make starts t's processes. It reports false when t is not on this machine.
func (l *lab) make(ctx context.Context, t *target) (bool, error) {
	before := len(l.started)
	made, err := t.build(ctx, l)
	if err != nil {
		return false, fmt.Errorf("%s: %w", t.name, err)
	}
	if made == nil {
		return false, nil
	}
	made.name, made.build, made.commands = t.name, t.build, slices.Clone(l.started[before:])
	*t = *made
	return true, nil
}

// renew starts t's processes anew, for measurements of memory: what earlier work left in them is gone.
func (l *lab) renew(ctx context.Context, t *target) error {
	end(t.commands)
	l.started = slices.DeleteFunc(l.started, func(c *exec.Cmd) bool { return slices.Contains(t.commands, c) })
	_, err := l.make(ctx, t)
	return err
}

// stop ends every process of the lab.
func (l *lab) stop() { end(l.started) }

// end ends processes, last started first.
func end(commands []*exec.Cmd) {
	for _, cmd := range slices.Backward(commands) {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		gone := make(chan struct{})
		go func() { _ = cmd.Wait(); close(gone) }()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-gone
		}
	}
}

// run starts a server; its output goes to a log file of the work folder.
func (l *lab) run(name, program string, args ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l.started = append(l.started, cmd)
	return cmd, nil
}

// runAt starts a server and waits until it accepts connections.
func (l *lab) runAt(ctx context.Context, name string, addresses []string, program string, args ...string) (*exec.Cmd, error) {
	for _, address := range addresses {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return nil, fmt.Errorf("something listens at %s already: is another bench running?", address)
		}
	}
	cmd, err := l.run(name, program, args...)
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if err := waitFor(ctx, address); err != nil {
			return nil, fmt.Errorf("%w (see %s)", err, filepath.Join(l.dir, name+".log"))
		}
	}
	return cmd, nil
}

// waitFor returns when something accepts at address, which a starting server does within seconds.
func waitFor(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing accepts at %s: %w", address, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// write puts a configuration into the work folder and returns its path.
func (l *lab) write(name, text string) (string, error) {
	path := filepath.Join(l.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// buildPreload compiles the library that gives the C load tools a client certificate.
func (l *lab) buildPreload(ctx context.Context) error {
	source := filepath.Join("bench", "preload", "clientcert.c")
	l.preload = filepath.Join(l.dir, "clientcert.so")
	out, err := exec.CommandContext(ctx, "cc", "-O2", "-shared", "-fPIC", "-o", l.preload, source, "-ldl").CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile %s (run bench from the top of the tree): %w\n%s", source, err, out)
	}
	return nil
}

// version records what a program says of itself.
func (l *lab) version(program string, args ...string) {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if name := filepath.Base(program); !strings.Contains(strings.ToLower(first), name) {
		first = name + " " + first // some print nothing but a number
	}
	l.addVersion(first)
}

func (l *lab) addVersion(text string) {
	if !slices.Contains(l.versions, text) {
		l.versions = append(l.versions, text)
	}
}

// tree returns a function that lists cmd's process and those it started.
func tree(cmd *exec.Cmd) func() []int {
	return func() (pids []int) {
		for _, p := range descendants(cmd.Process.Pid) {
			pids = append(pids, p.pid)
		}
		return pids
	}
}

// lookTool finds a program, also in the folders where Debian keeps daemons.
func lookTool(name string) string {
	for _, dir := range []string{"", "/usr/local/sbin/", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	return ""
}

// fill writes size bytes to path that no hop can compress.
func fill(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	random, err := os.Open("/dev/urandom")
	if err != nil {
		f.Close()
		return err
	}
	defer random.Close()
	if _, err := io.CopyN(f, random, size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
