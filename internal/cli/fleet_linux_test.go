package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/supervise"
)

func TestOurEndOfAFailedStartIsClosed(t *testing.T) {
	var ours ourEnd
	start := func() {
		t.Helper()
		files, err := ours.pair("x")
		if err != nil {
			t.Fatal(err)
		}
		if err := files[0].File.Close(); err != nil { // as the supervisor does it, whatever came of the start
			t.Fatal(err)
		}
	}
	start()
	first := ours.file
	start()
	if err := first.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("our end of a start that failed was left open (%v)", err)
	}
	taken := ours.take()
	start()
	if err := taken.Close(); err != nil {
		t.Errorf("our end of a start that went well was closed: %v", err)
	}
	if err := ours.take().Close(); err != nil {
		t.Error(err)
	}
}

// TestInstanceMeetsTheBalancerAgain takes a channel port from a new balancer, so that it cannot take the instance, and
// gives it back.
func TestInstanceMeetsTheBalancerAgain(t *testing.T) {
	r := startUp(t, t.TempDir(), testAddress(), "--instances", "1")
	address := net.JoinHostPort(r.address, "10124")
	taken := takeFromBalancer(t, r, address)
	// A balancer runs when it has been told of every instance.
	eventually(t, "the next balancer runs and has no instance", func() error {
		var st console.Status
		out, err := exec.Command("causeway", "status", "--state", string(r.dir), "-o", "json").Output()
		if jsonErr := json.Unmarshal(out, &st); jsonErr != nil {
			return jsonErr
		}
		if err == nil || st.Balancer.State != string(supervise.Running) || st.Balancer.PID == r.ready.Balancer.PID {
			return fmt.Errorf("%v, balancer is %+v", err, st.Balancer)
		}
		return nil
	})
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the site is healthy again", func() error {
		return exec.Command("causeway", "status", "--state", string(r.dir)).Run()
	})
	r.mustAnswer(t, "after the channel port was free again")
}

// takeFromBalancer kills the balancer and listens on one of its ports before the next one does.
func takeFromBalancer(t *testing.T, r *running, address string) net.Listener {
	t.Helper()
	for range 50 {
		pid := r.ready.Balancer.PID
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); {
			if ln, err := net.Listen("tcp", address); err == nil {
				return ln
			}
		}
		eventually(t, "ready.json names the new balancer", func() error {
			if err := r.reread(); err != nil {
				return err
			}
			if now := r.ready.Balancer.PID; now == pid || now == 0 {
				return errors.New("it does not")
			}
			return nil
		})
	}
	t.Fatal("the balancer was always faster")
	return nil
}
