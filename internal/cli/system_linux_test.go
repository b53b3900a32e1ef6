package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A running is a `causeway up` of a test.
type running struct {
	cmd     *exec.Cmd
	dir     state
	ready   ready
	done    chan struct{}
	err     error
	mu      sync.Mutex // guards the fields below
	out     bytes.Buffer
	address string
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// startUp starts the program and waits until it serves.
func startUp(t *testing.T, dir, address string, args ...string) *running {
	t.Helper()
	r := &running{dir: state(dir), done: make(chan struct{}), address: address}
	r.cmd = exec.Command("causeway", append([]string{"up", "--state", dir, "--listen", address}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.err = r.cmd.Wait(); close(r.done) }()
	t.Cleanup(func() { r.cmd.Process.Kill(); <-r.done })
	eventually(t, "the site serves", func() error {
		select {
		case <-r.done:
			t.Fatalf("up ended: %v\n%s", r.err, r.output())
		default:
		}
		return r.reread()
	})
	return r
}

// reread reads ready.json again.
func (r *running) reread() error {
	raw, err := os.ReadFile(r.dir.ready())
	if err != nil {
		return err
	}
	r.ready = ready{}
	return json.Unmarshal(raw, &r.ready)
}

// pids are all processes of the site but the parent.
func (r *running) pids() []int {
	pids := []int{r.ready.Balancer.PID}
	for _, i := range r.ready.Instances {
		pids = append(pids, i.PID)
	}
	for _, c := range r.ready.ConnectionPoints {
		pids = append(pids, c.PID)
	}
	return pids
}

// line returns the n-th curl line that was printed, which may be a moment after ready.json was written.
func (r *running) line(t *testing.T, n int) (line string) {
	t.Helper()
	eventually(t, "curl lines are printed", func() error {
		var lines []string
		for line := range strings.SplitSeq(r.output(), "\n") {
			if strings.HasPrefix(line, "  curl ") {
				lines = append(lines, line)
			}
		}
		if len(lines) <= n {
			return fmt.Errorf("%d lines in:\n%s", len(lines), r.output())
		}
		line = lines[n]
		return nil
	})
	return line
}

// ask runs a printed line as a person would paste it.
func (r *running) ask(t *testing.T, n int) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", r.line(t, n)).Output()
	return string(out), err
}

func (r *running) mustAnswer(t *testing.T, when string) {
	t.Helper()
	eventually(t, "a device is answered "+when, func() error {
		out, err := r.ask(t, 0)
		if err == nil && !strings.Contains(out, "You are device-1") {
			err = errors.New(out)
		}
		return err
	})
}

// stop ends the site with a signal and waits for the end.
func (r *running) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		t.Fatalf("up is still there a minute after %v:\n%s", sig, r.output())
	}
}

// eventually tries until there is no error, and fails after a time that only a hang takes.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so after a minute: %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// alive reports whether a process is there, dead ones that nobody has waited for aside.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func mustBeGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() error {
			if alive(pid) {
				return errors.New("it is there")
			}
			return nil
		})
	}
}

func TestPrintedLinesWorkAsPasted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder's name") // which a shell would take apart
	r := startUp(t, dir, testAddress())
	r.mustAnswer(t, "by the line as printed")
	if out, err := r.ask(t, 1); err != nil || !strings.Contains(out, "CMGService_ClientCertificateRequired") {
		t.Errorf("the line without a certificate = %q, %v; want its refusal", out, err)
	}
	pids := r.pids()
	r.stop(t, syscall.SIGTERM)
	if r.err != nil {
		t.Errorf("up ended with %v after SIGTERM, want status 0\n%s", r.err, r.output())
	}
	mustBeGone(t, pids)
	if _, err := os.Stat(r.dir.ready()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ready.json after the stop: %v, want it gone", err)
	}
}

func TestEveryProcessMayDie(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress(), "--connection-points", "2")
	for _, victim := range []struct {
		name string
		pid  func() int
	}{
		{"instance", func() int { return r.ready.Instances[0].PID }},
		{"connection point", func() int { return r.ready.ConnectionPoints[0].PID }},
		{"balancer", func() int { return r.ready.Balancer.PID }},
	} {
		pid := victim.pid()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "ready.json names the new "+victim.name, func() error {
			if err := r.reread(); err != nil {
				return err
			}
			if now := victim.pid(); now == pid || now == 0 {
				return fmt.Errorf("still %d", now)
			}
			return nil
		})
		r.mustAnswer(t, "after the "+victim.name+" was killed")
		eventually(t, "the site is healthy again", func() error {
			return exec.Command("causeway", "status", "--state", string(r.dir)).Run()
		})
	}
}

// A process that hangs is still there: nothing but its silence says so.
func TestAProcessThatHangsIsNoted(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress(), "--connection-points", "2")
	for note, pid := range map[string]int{
		"connection point cp-1":          r.ready.ConnectionPoints[0].PID,
		"gateway instance gw-1 (slot 0)": r.ready.Instances[0].PID,
	} {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("causeway", "status", "--state", string(r.dir)).Output()
		if text := string(out); err == nil || !strings.Contains(text, fmt.Sprintf("note: %s (pid %d) runs, but does not answer", note, pid)) ||
			!strings.Contains(text, "running, silent") || !strings.Contains(text, "cp-1 to slot 0") {
			t.Errorf("status with %s stopped: %v\n%s", note, err, text)
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the site is healthy again", func() error {
			return exec.Command("causeway", "status", "--state", string(r.dir)).Run()
		})
	}
}

func TestNothingOutlivesTheParent(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress())
	pids := r.pids()
	for _, pid := range pids {
		if !alive(pid) {
			t.Fatalf("process %d of ready.json is not there", pid)
		}
	}
	r.stop(t, syscall.SIGKILL)
	mustBeGone(t, pids)

	// What it left does not keep the next one from starting.
	r = startUp(t, string(r.dir), r.address)
	r.mustAnswer(t, "after the parent was killed")
}

func TestSecondStartIsTheSameSite(t *testing.T) {
	dir, address := t.TempDir(), testAddress()
	remember := func() map[string]string {
		files := map[string]string{}
		for _, name := range []string{"ca.crt", "devices/device-1/device.crt", "devices/device-1/device.key", "site/service.crt",
			"site/service.key", "instances/0/tls.crt", "connection-points/cp-1/tls.key", "site/admin.port"} {
			raw, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(raw)
		}
		return files
	}
	r := startUp(t, dir, address)
	first, was := remember(), r.ready
	r.stop(t, syscall.SIGINT)
	r = startUp(t, dir, address)
	for name, text := range remember() {
		if text != first[name] {
			t.Errorf("%s changed from the first start to the second", name)
		}
	}
	if r.ready.GatewayURL != was.GatewayURL || r.ready.AdminURL != was.AdminURL || r.ready.Instances[0].ID != was.Instances[0].ID {
		t.Errorf("second start says %+v, the first said %+v", r.ready, was)
	}
	r.mustAnswer(t, "at the second start")
}

func TestTwoSitesSideBySide(t *testing.T) {
	a := startUp(t, t.TempDir(), testAddress())
	b := startUp(t, t.TempDir(), testAddress())
	a.mustAnswer(t, "by the first site")
	b.mustAnswer(t, "by the second site")
	// A device of one is a stranger to the other.
	line := strings.NewReplacer(a.ready.DeviceCertFile, b.ready.DeviceCertFile, a.ready.DeviceKeyFile, b.ready.DeviceKeyFile).Replace(a.line(t, 0))
	out, err := exec.Command("sh", "-c", line).Output()
	if err != nil || !strings.Contains(string(out), "CMGService_ClientCertificateUntrusted") {
		t.Errorf("a device of the other site got %q, %v; want a refusal", out, err)
	}
	a.stop(t, syscall.SIGTERM)
	b.mustAnswer(t, "after the first site stopped")
}

func TestSecondInterruptDoesNotWait(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress(), "--instances", "1")
	// A request that the sample server holds open keeps the drain going.
	wait := exec.Command("sh", "-c", strings.TrimSpace(r.line(t, 0))+"notifications?wait=60")
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	defer wait.Wait()
	eventually(t, "the request is on its way", func() error { return inFlight(t, r, 1) })
	pids := r.pids()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready.json is gone", func() error {
		if _, err := os.Stat(r.dir.ready()); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	r.stop(t, syscall.SIGINT)
	mustBeGone(t, pids)
}

// inFlight is nil when instance 0 has so many requests under way.
func inFlight(t *testing.T, r *running, want int64) error {
	var st struct {
		N int64 `json:"requests_in_flight"`
	}
	if err := askRole(t.Context(), runSocket(r.dir.instance(0)), &st); err != nil {
		return err
	}
	if st.N != want {
		return fmt.Errorf("%d are", st.N)
	}
	return nil
}

// TestRolesCannotReadEachOther looks at the processes as the kernel sees them.
func TestRolesCannotReadEachOther(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress())
	users := map[string]int{}
	for _, pid := range r.pids() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(status), "NoNewPrivs:\t1") {
			t.Errorf("process %d may gain privileges", pid)
		}
		for line := range strings.SplitSeq(string(status), "\n") {
			if uid, ok := strings.CutPrefix(line, "Uid:\t"); ok {
				users[uid]++
			}
		}
	}
	if os.Geteuid() == 0 {
		if len(users) != len(r.pids()) {
			t.Errorf("%d processes share %d users: %v", len(r.pids()), len(users), users)
		}
		for uid := range users {
			if strings.HasPrefix(uid, "0\t") {
				t.Error("a role runs as root")
			}
		}
	}
	err := filepath.WalkDir(string(r.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others (mode %04o)", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAConnectionPointListensNowhere: it dials out and nothing else.
func TestAConnectionPointListensNowhere(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress())
	inodes := map[string]bool{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.ready.ConnectionPoints[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", r.ready.ConnectionPoints[0].PID, fd.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok && err == nil {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			f := strings.Fields(line)
			const listening = "0A"
			if len(f) > 9 && inodes[f[9]] && (f[3] == listening || strings.HasPrefix(table, "udp")) {
				t.Errorf("the connection point listens: %s %s", table, line)
			}
		}
	}
	if c, err := net.Dial("tcp", net.JoinHostPort(r.address, "10126")); err == nil {
		c.Close()
		t.Error("a channel port is open for an instance that is not there")
	}
}
