//go:build linux

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// A fault is one way in which a process fails its site.
type fault struct {
	name string
	stop time.Duration // it is stopped for so long first
	kill bool          // and killed then; else it wakes up
}

// faults in turn: killed at once, stopped for longer than a channel may be silent, and stopped and never heard of again.
var faults = []fault{
	{name: "kill -9", kill: true},
	{name: "SIGSTOP for 7 s", stop: 7 * time.Second},
	{name: "kill -9", kill: true},
	{name: "SIGSTOP, then kill -9", stop: time.Second, kill: true},
}

// TestKillsLoseNothing kills and stops connection points and instances in turn, with at least 20 requests in flight.
// What a device asks safely, and once more on a new connection, it gets; nothing reaches the server more often than the
// contract says. The supervisor brings back what was killed.
func TestKillsLoseNothing(t *testing.T) {
	t.Parallel()
	const devices, inFlight = 48, 20
	l := startLedger(t, "")
	s := up(t, "--instances", "2", "--connection-points", "2", "--limits-off", "--publish", "app="+l.url)
	d := s.startLoad(t, l, "app", devices)
	kills, bound := 8, 5*time.Minute
	if soak {
		kills, bound = 200, 40*time.Minute
	}
	begin, done := time.Now(), 0
	for ; done < kills && time.Since(begin) < bound; done++ {
		s.waitConnected(t)
		d.settle(t)
		eventually(t, 30*time.Second, "20 requests are in flight", func() bool { return d.inFlight.Load() >= inFlight })
		s.strike(t, d, done)
		if done+1 == kills || t.Failed() {
			done++
			break
		}
	}
	s.waitConnected(t)
	d.check(t)
	t.Logf("%d kills in %s", done, time.Since(begin).Round(time.Second))
	if done < kills {
		t.Errorf("only %d of %d kills fitted into %s", done, kills, bound)
	}
}

// strike lets the n-th fault happen: to a connection point when n is even, to an instance when it is odd.
func (s *site) strike(t *testing.T, d *load, n int) {
	t.Helper()
	s.reread(t)
	f, which := faults[n/2%len(faults)], n/2%2
	name, pid := s.ConnectionPoints[which].ID, s.ConnectionPoints[which].PID
	over := func() {}
	if n%2 == 1 {
		name, pid = s.Instances[which].ID, s.Instances[which].PID
		over = d.instanceFault()
	}
	begin := time.Now()
	if f.stop > 0 {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatalf("stop %s: %v", name, err)
		}
		time.Sleep(f.stop) // the length of the stop is the fault
	}
	if f.kill {
		kill(t, pid)
		s.waitReplaced(t, pid)
	} else if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatalf("wake %s: %v", name, err)
	}
	took := s.waitConnected(t)
	over()
	t.Logf("%s: %s: all channels are back %s after it, %s in all", name, f.name, took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
}

// waitReplaced waits until the supervisor has started another process in place of one that was killed.
func (s *site) waitReplaced(t *testing.T, pid int) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("process %d is replaced", pid), func() bool {
		s.reread(t)
		for _, p := range s.pids() {
			if p == pid || p == 0 {
				return false
			}
		}
		return true
	})
}
