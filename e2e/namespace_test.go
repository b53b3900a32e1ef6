//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inNamespaces runs the test again in a process with a network of its own and returns false; in that process it
// returns true. Nothing of the machine's own network is seen or changed, and no root is needed where users may make
// namespaces.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	const marker = "CAUSEWAY_E2E_NAMESPACE"
	if os.Getenv(marker) == "1" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+long(5*time.Minute, time.Hour).String())
	cmd.Env = append(os.Environ(), marker+"=1", "CAUSEWAY_E2E_BINARY="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	got := run(t, cmd)
	t.Log("\n" + got.stdout + got.stderr)
	if got.code != 0 || !strings.Contains(got.stdout, "--- PASS: "+t.Name()) {
		t.Errorf("in namespaces: exit status %d", got.code)
	}
	return false
}

// Addresses of the two hosts.
const (
	outsideIP = "10.77.0.1"
	insideIP  = "10.77.0.2"
)

// A host is a network namespace beside that of the test, joined to it by one cable.
type host struct{ pid int }

// newInsideHost makes the host on the premises. It refuses every connection from outside.
func newInsideHost(t *testing.T) *host {
	t.Helper()
	keeper := command(t, "sleep", "infinity")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	h := &host{start(t, keeper).cmd.Process.Pid}
	for _, line := range []string{
		"link set lo up",
		fmt.Sprintf("link add outside type veth peer name inside netns %d", h.pid),
		"addr add " + outsideIP + "/24 dev outside",
		"link set outside up",
	} {
		must(t, "", "ip", strings.Fields(line)...)
	}
	for _, line := range []string{
		"ip link set lo up",
		"ip addr add " + insideIP + "/24 dev inside",
		"ip link set inside up",
		"iptables --append INPUT --in-interface inside --protocol tcp --syn --jump DROP",
		"iptables --append INPUT --in-interface inside --protocol udp --jump DROP",
	} {
		fields := strings.Fields(line)
		h.must(t, fields[0], fields[1:]...)
	}
	return h
}

// command prepares a program that runs on the host.
func (h *host) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	return command(t, "nsenter", append([]string{"--net=/proc/" + strconv.Itoa(h.pid) + "/ns/net", tool(t, name)}, args...)...)
}

func (h *host) must(t *testing.T, name string, args ...string) string {
	t.Helper()
	got := run(t, h.command(t, name, args...))
	if got.code != 0 {
		t.Fatalf("%s %s: exit status %d\n%s%s", name, strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	return got.stdout
}
