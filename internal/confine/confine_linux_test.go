package confine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// envRole makes the test binary a role that confines itself as told and then does one thing (see roles).
const envRole = "CAUSEWAY_TEST_ROLE"

// order is what a test asks of the role process.
type order struct {
	Do     string
	Policy Policy
	Arg    string
}

// outcome is what it answers on stdout.
type outcome struct {
	Report Report
	Err    string // of Apply
	Result map[string]string
}

func TestMain(m *testing.M) {
	if o := os.Getenv(envRole); o != "" {
		os.Exit(role(o))
	}
	os.Exit(m.Run())
}

func role(text string) int {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	stop := busyThreads() // so that there is more than one thread to confine
	var early net.Listener
	o.Policy.Listen = func() (err error) {
		early, err = net.Listen("unix", "early.sock")
		return err
	}
	report, err := Apply(o.Policy)
	out := outcome{Report: report, Result: map[string]string{}}
	if err != nil {
		out.Err = err.Error()
	} else {
		if early != nil {
			out.Result["listened before"] = listens(early)
		}
		roles[o.Do](o.Arg, out.Result)
	}
	stop()
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 2
	}
	return 0
}

// busyThreads keeps several threads in system calls while the process is confined.
func busyThreads() (stop func()) {
	end, hold, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	locked := make(chan struct{})
	for range 4 {
		fd, err := unix.Dup(int(end.Fd())) // blocking: each read takes a thread
		if err != nil {
			panic(err)
		}
		unix.SetNonblock(fd, false)
		all.Go(func() {
			runtime.LockOSThread() // and does not give it back: the thread ends here
			locked <- struct{}{}
			unix.Read(fd, make([]byte, 1))
			unix.Close(fd)
		})
		<-locked
	}
	return func() { hold.Close(); all.Wait() }
}

// roles are the things a role process can do once it is confined.
var roles = map[string]func(arg string, result map[string]string){
	"nothing": func(string, map[string]string) {},
	"files":   files,
	"network": network,
	"threads": threads,
	"run":     run,
	"signal":  signalOutside,
	"wait":    wait,
}

// listens is "ok" if ln takes connections.
func listens(ln net.Listener) (result string) {
	raw, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		return err.Error()
	}
	_ = raw.Control(func(fd uintptr) {
		if yes, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); yes != 1 {
			result = fmt.Sprint("it does not listen ", err)
			return
		}
		result = "ok"
	})
	return result
}

// say keeps an error, or "ok".
func say(result map[string]string, what string, err error) {
	result[what] = "ok"
	if err != nil {
		result[what] = err.Error()
	}
}

func files(other string, result map[string]string) {
	_, err := os.ReadFile(other)
	say(result, "read another role's key", err)
	_, err = os.ReadDir(filepath.Dir(other))
	say(result, "list another role's folder", err)
	say(result, "overwrite another role's key", os.WriteFile(other, []byte("mine"), 0o600))
	_, err = os.ReadFile("tls.key")
	say(result, "read own key", err)
	say(result, "write own file", os.WriteFile("new", []byte("x"), 0o600))
	say(result, "replace own file", os.Rename("new", "renamed"))
	say(result, "truncate own file", os.Truncate("renamed", 0))
	say(result, "remove own file", os.Remove("renamed"))
	say(result, "make own folder", os.Mkdir("logs", 0o700))
	ln, err := net.Listen("unix", "run.sock")
	say(result, "own socket", err)
	if err == nil {
		ln.Close()
	}
	say(result, "link to another role's key", os.Link(other, "stolen"))
	_, err = os.ReadFile("alias")
	say(result, "read through a symbolic link", err)
	_, err = os.ReadFile("/etc/resolv.conf")
	say(result, "resolv.conf", err)
	_, err = os.ReadFile("/etc/hosts")
	say(result, "hosts", err)
	_, err = os.ReadDir("/etc/ssl/certs")
	say(result, "certificates", err)
	_, err = os.ReadFile("/etc/shadow")
	say(result, "shadow", err)
	_, err = os.ReadFile("/proc/1/environ")
	say(result, "another process's environment", err)
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	say(result, "/dev/null", err)
	f.Close()
	f, err = os.Open("/dev/urandom")
	say(result, "/dev/urandom", err)
	f.Close()
	_, err = time.LoadLocation("Europe/Berlin")
	say(result, "time zone", err)
	_, err = os.ReadFile("/proc/sys/net/core/somaxconn")
	say(result, "somaxconn", err)
}

// network listens, and dials address, at which the test itself listens.
func network(address string, result map[string]string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	say(result, "listen", err)
	if err == nil {
		ln.Close()
	}
	c, err := net.Dial("tcp", address)
	say(result, "dial", err)
	if err == nil {
		c.Close()
	}
	_, err = net.LookupHost("localhost")
	say(result, "resolve", err)
	u, err := net.Dial("udp", "127.0.0.1:9")
	say(result, "udp", err)
	if err == nil {
		u.Close()
	}
	un, err := net.Listen("unix", "run.sock")
	say(result, "unix", err)
	if err == nil {
		un.Close()
	}
}

// threads reports in how many ways the threads of this process differ in what confines them.
func threads(_ string, result map[string]string) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		say(result, "list", err)
		return
	}
	kinds := map[string]bool{}
	for _, task := range tasks {
		status, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		var kind []string
		for line := range strings.Lines(string(status)) {
			for _, key := range []string{"Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapAmb:", "NoNewPrivs:"} {
				if strings.HasPrefix(line, key) {
					kind = append(kind, strings.Join(strings.Fields(line), " "))
				}
			}
		}
		kinds[strings.Join(kind, "; ")] = true
	}
	result["threads"] = strconv.Itoa(len(tasks))
	for kind := range kinds {
		result["kind "+strconv.Itoa(len(result))] = kind
	}
}

// run starts a program, which inherits the confinement.
func run(arg string, result map[string]string) {
	words := strings.Fields(arg)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	say(result, "run", err)
	result["output"] = strings.TrimSpace(string(out))
}

func signalOutside(arg string, result map[string]string) {
	pid, _ := strconv.Atoi(arg)
	say(result, "signal", syscall.Kill(pid, 0))
	say(result, "signal self", syscall.Kill(os.Getpid(), 0))
}

// wait tells who it is and stays until it is killed.
func wait(_ string, result map[string]string) {
	fmt.Println(os.Getpid())
	for {
		time.Sleep(time.Hour)
	}
}

// confined runs the test binary as a role and returns what came of it.
func confined(t *testing.T, o order) outcome {
	t.Helper()
	cmd := roleCommand(t, o)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("role: %v\n%s", err, stderr.String())
	}
	var out outcome
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Fatalf("role said %q: %v", stdout.String(), err)
	}
	if out.Err != "" {
		t.Fatalf("Apply: %s", out.Err)
	}
	return out
}

func roleCommand(t *testing.T, o order) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+string(text), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// site makes a state folder with two roles, each with a key.
func site(t *testing.T) (own, other string) {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"own", "other"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name, "tls.key"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, other = filepath.Join(root, "own"), filepath.Join(root, "other", "tls.key")
	if err := os.Symlink(other, filepath.Join(own, "alias")); err != nil {
		t.Fatal(err)
	}
	return own, other
}

const roleUID = 61999

// users runs a test as root that becomes a user of its own, where we are root, and without changing the user.
func users(t *testing.T, test func(t *testing.T, uid int)) {
	t.Run("same user", func(t *testing.T) { test(t, 0) })
	if os.Getuid() == 0 {
		t.Run("own user", func(t *testing.T) { test(t, roleUID) })
	}
}

func (o outcome) want(t *testing.T, allowed, denied []string) {
	t.Helper()
	for _, what := range allowed {
		if o.Result[what] != "ok" {
			t.Errorf("%s: %q, want it to work", what, o.Result[what])
		}
	}
	for _, what := range denied {
		if got := o.Result[what]; !strings.Contains(got, "permission denied") && !strings.Contains(got, "cross-device link") && !strings.Contains(got, "not permitted") {
			t.Errorf("%s: %q, want it denied", what, got)
		}
	}
}

func TestRoleKeepsItsOwnFilesAndNoOthers(t *testing.T) {
	users(t, func(t *testing.T, uid int) {
		own, other := site(t)
		out := confined(t, order{Do: "files", Arg: other, Policy: Policy{Dir: own, UID: uid}})
		out.want(t,
			[]string{"read own key", "write own file", "replace own file", "truncate own file", "remove own file", "make own folder",
				"own socket", "resolv.conf", "hosts", "certificates", "/dev/null", "/dev/urandom", "time zone", "somaxconn"},
			[]string{"read another role's key", "list another role's folder", "overwrite another role's key",
				"link to another role's key", "read through a symbolic link", "shadow", "another process's environment"})
		if key, err := os.ReadFile(other); err != nil || string(key) != "other" {
			t.Errorf("the other role's key is now %q, %v", key, err)
		}
	})
}

func TestFurtherFilesAsThePolicySays(t *testing.T) {
	own, other := site(t)
	out := confined(t, order{Do: "files", Arg: other, Policy: Policy{Dir: own, ReadOnly: []string{other, "/nowhere/at/all"}}})
	out.want(t, []string{"read another role's key"}, []string{"list another role's folder", "overwrite another role's key"})
	out = confined(t, order{Do: "files", Arg: other, Policy: Policy{Dir: own, ReadWrite: []string{filepath.Dir(other)}}})
	out.want(t, []string{"read another role's key", "list another role's folder", "overwrite another role's key"}, nil)
}

func TestNetworkStays(t *testing.T) {
	server := listen(t)
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		confined(t, order{Do: "network", Arg: server, Policy: Policy{Dir: own, UID: uid}}).want(t, []string{"listen", "dial", "resolve"}, nil)
	})
}

func listen(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func TestEveryThreadIsConfined(t *testing.T) {
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		out := confined(t, order{Do: "threads", Policy: Policy{Dir: own, UID: uid, KillWithParent: true}})
		if n, _ := strconv.Atoi(out.Result["threads"]); n < 5 || len(out.Result) != 2 {
			t.Fatalf("want one kind among at least five threads: %v", out.Result)
		}
		kind := fmt.Sprint(out.Result)
		wants := []string{"NoNewPrivs: 1"}
		if uid != 0 {
			wants = append(wants, fmt.Sprintf("Uid: %[1]d %[1]d %[1]d %[1]d", uid), fmt.Sprintf("Gid: %[1]d %[1]d %[1]d %[1]d", uid),
				"CapPrm: 0000000000000000", "CapEff: 0000000000000000", "CapAmb: 0000000000000000", "Groups:;")
		}
		for _, want := range wants {
			if !strings.Contains(kind, want) {
				t.Errorf("threads have %s, want %s", kind, want)
			}
		}
	})
}

func TestRoleWorksBelowClosedParents(t *testing.T) {
	needRoot(t)
	root := t.TempDir() // 0700 root's
	own := filepath.Join(root, "closed", "role")
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "tls.key"), []byte("own"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(root, "closed", "secret")
	if err := os.WriteFile(other, []byte("secret"), 0o644); err != nil { // open to all, but for its parents
		t.Fatal(err)
	}
	for _, dir := range []string{root, filepath.Dir(own)} {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out := confined(t, order{Do: "files", Arg: other, Policy: Policy{Dir: own, UID: roleUID, GID: roleUID + 1}})
	out.want(t, []string{"read own key", "write own file", "replace own file", "own socket"}, []string{"read another role's key"})
	if out.Report.UID != roleUID || out.Report.GID != roleUID+1 {
		t.Errorf("report %+v", out.Report)
	}
	info, err := os.Stat(own)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != roleUID || st.Gid != roleUID+1 || info.Mode().Perm() != 0o700 {
		t.Errorf("role folder belongs to %d:%d, mode %v", st.Uid, st.Gid, info.Mode())
	}
}

// needRoot: what a process can only do as root is tried as root, and makes no sense otherwise.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
}

func TestSetuidProgramGivesNothing(t *testing.T) {
	needRoot(t)
	own, _ := site(t)
	bin, err := os.MkdirTemp("/var/tmp", "confine") // /tmp is nosuid on many machines
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(bin)
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	setuid := filepath.Join(bin, "id")
	program, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setuid, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(setuid, os.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	// It would give root to anybody …
	cmd := exec.Command(setuid, "-u")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: roleUID, Gid: roleUID}}
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Fatalf("unconfined: %q, %v; want 0", out, err)
	}
	// … but a role cannot even start it,
	out := confined(t, order{Do: "run", Arg: setuid + " -u", Policy: Policy{Dir: own, UID: roleUID, ReadOnly: []string{"/"}}})
	out.want(t, nil, []string{"run"})
	// and without Landlock it would still gain nothing.
	withoutLandlock(t)
	out = confined(t, order{Do: "run", Arg: setuid + " -u", Policy: Policy{Dir: own, UID: roleUID}})
	if got := out.Result["output"]; got != strconv.Itoa(roleUID) {
		t.Errorf("the setuid program runs as %q (%s), want %d", got, out.Result["run"], roleUID)
	}
}

// envNoLandlock makes the role process one on a kernel without Landlock.
const envNoLandlock = "CAUSEWAY_TEST_NO_LANDLOCK"

func init() {
	if os.Getenv(envNoLandlock) != "" {
		landlockVersion = func() (int, error) { return 0, syscall.EOPNOTSUPP }
	}
}

func withoutLandlock(t *testing.T) { t.Setenv(envNoLandlock, "1") }

func TestNoSignalLeavesTheRole(t *testing.T) {
	own, _ := site(t)
	out := confined(t, order{Do: "signal", Arg: strconv.Itoa(os.Getpid()), Policy: Policy{Dir: own}})
	if !out.Report.Signals {
		t.Skipf("this kernel cannot: %v", out.Report)
	}
	out.want(t, []string{"signal self"}, []string{"signal"})
}

func TestRoleCannotBeReadByItsNeighbours(t *testing.T) {
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		cmd := roleCommand(t, order{Do: "wait", Policy: Policy{Dir: own, UID: uid}})
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		if _, err := fmt.Fscan(stdout, new(int)); err != nil {
			t.Fatal(err)
		}
		pid := strconv.Itoa(cmd.Process.Pid)
		// A process that is not dumpable belongs to root in /proc, whoever it is.
		info, err := os.Stat("/proc/" + pid + "/environ")
		if err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
				t.Errorf("its environment belongs to %d, want root", st.Uid)
			}
		}
		limits, err := os.ReadFile("/proc/" + pid + "/limits")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0 bytes") {
			t.Errorf("core dumps are not off:\n%s", limits)
		}
		if uid == 0 {
			return
		}
		for _, read := range []string{"head -c 1 /proc/%s/mem", "head -c 1 /proc/%s/environ", "head -c 1 /proc/%s/maps", "ls /proc/%s/fd"} {
			reader := exec.Command("/bin/sh", "-c", fmt.Sprintf(read, pid)) // as its very own user
			reader.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
			if out, err := reader.CombinedOutput(); err == nil || !strings.Contains(string(out), "denied") {
				t.Errorf("a neighbour's %q: %q, %v", read, out, err)
			}
		}
	})
}

// TestDiesWithItsParent: the parent is killed, and nobody but the kernel tells the role.
func TestDiesWithItsParent(t *testing.T) {
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		role := roleCommand(t, order{Do: "wait", Policy: Policy{Dir: own, UID: uid, KillWithParent: true}})
		parent := exec.Command("/bin/sh", "-c", os.Args[0]+" & wait")
		parent.Env = role.Env
		stdout, err := parent.StdoutPipe() // ends with the last process that holds it
		if err != nil {
			t.Fatal(err)
		}
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(stdout, &pid); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGKILL)
		parent.Process.Kill()
		if rest, err := io.ReadAll(stdout); err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		parent.Wait()
	})
}

func TestReportSaysWhatIsInForce(t *testing.T) {
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		r := confined(t, order{Do: "nothing", Policy: Policy{Dir: own, UID: uid}}).Report
		if !r.Supported || !r.NoNewPrivileges || !r.NotDumpable || !r.Files || r.LandlockABI < 1 {
			t.Errorf("report %+v", r)
		}
		wantUID := os.Getuid()
		if uid != 0 {
			wantUID = uid
		}
		if r.UID != wantUID || (wantUID == 0) != strings.Contains(r.String(), "runs as root") {
			t.Errorf("report %q, want user %d", r, wantUID)
		}
	})
	withoutLandlock(t)
	own, _ := site(t)
	if r := confined(t, order{Do: "nothing", Policy: Policy{Dir: own}}).Report; r.Files || r.Signals || !strings.Contains(r.String(), "landlock") {
		t.Errorf("without Landlock: %+v", r)
	}
}

func TestGiveRefusesFilesWithASecondName(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	role, foreign := filepath.Join(dir, "role"), filepath.Join(dir, "foreign")
	if err := os.Mkdir(role, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(foreign, filepath.Join(role, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Give(role, roleUID, roleUID); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) uint32 {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	if owner(foreign) != 0 || owner(filepath.Join(role, "link")) != roleUID {
		t.Error("a symbolic link was followed")
	}
	if err := os.Link(foreign, filepath.Join(role, "second name")); err != nil {
		t.Fatal(err)
	}
	if err := Give(role, roleUID, roleUID); err == nil || owner(foreign) != 0 {
		t.Errorf("Give = %v; the file outside belongs to %d", err, owner(foreign))
	}
}

func TestApplyNamesTheMissingFolder(t *testing.T) {
	if _, err := Apply(Policy{Dir: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Apply = %v, want ErrNotExist", err)
	}
}
