package cli

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestTheSiteTellsSystemd keeps what units of Type=notify wait for.
func TestTheSiteTellsSystemd(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	said, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	wait := func(want string) {
		t.Helper()
		buf := make([]byte, 256)
		if err := said.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := said.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("the site said %q, %v; want %q", buf[:n], err, want)
		}
	}
	state := state(filepath.Join(dir, "state"))
	cmd := exec.Command("causeway", "site", "run", "--state", string(state), "--gateway-address", testAddress())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	wait("READY=1")
	if _, err := os.Stat(state.ready()); err != nil {
		t.Errorf("it is ready without ready.json: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait("STOPPING=1")
}
