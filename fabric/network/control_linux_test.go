package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// envBalancer makes the test binary a balancer process: "address port base" with the control socket as descriptor 3.
const envBalancer = "CAUSEWAY_TEST_BALANCER"

func balancerProcess() int {
	b := &Balancer{Control: os.NewFile(3, "control"), Logger: quiet, Probe: Probe{Interval: 100 * time.Millisecond}}
	if _, err := fmt.Sscan(os.Getenv(envBalancer), &b.Address, &b.Port, &b.NATPortBase); err != nil {
		return 2
	}
	if err := b.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startBalancerProcess starts one with the fixed ports and returns the supervisor's end of its control socket.
func startBalancerProcess(t *testing.T, settings string) (*exec.Cmd, *os.File) {
	t.Helper()
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envBalancer+"="+settings)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, ours
}

// withControl runs a balancer in this process and returns it with the supervisor's end.
func withControl(t *testing.T) (*Balancer, *os.File) {
	t.Helper()
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	return startBalancer(t, &Balancer{Control: theirs}), ours
}

func newControl(t *testing.T) (*Balancer, *Control) {
	t.Helper()
	b, ours := withControl(t)
	c, err := NewControl(ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return b, c
}

func TestControlAddsAsksAndRemoves(t *testing.T) {
	b, c := newControl(t)
	g := startInstance(t, "i")
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := handoff.Attach(g.attach, theirs); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	channel, err := c.Add(t.Context(), 5, "i", ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	waitHealthy(t, b, 5, true)
	dial(t, channel).wantAlive(t)
	s, err := c.Status(t.Context())
	if err != nil || len(s.Instances) != 1 || s.Instances[0].Instance != "i" || s.Instances[0].Channel != channel || !s.Instances[0].Healthy || s.FrontEnd != b.Addr().String() {
		t.Errorf("Status = %+v, %v", s, err)
	}
	if err := c.Remove(t.Context(), 5, "another"); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("Remove = %v, want ErrNotFound", err)
	}
	if err := c.Remove(t.Context(), 5, "i"); err != nil {
		t.Error(err)
	}
	wantRefused(t, b.Addr().String())
}

func TestControlRefusesNonsense(t *testing.T) {
	_, ours := withControl(t)
	s, err := handoff.NewSocket(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tt := range []struct{ name, message, want string }{
		{"no JSON", "add", "invalid character"},
		{"unknown operation", `{"id":7,"op":"drain"}`, "unknown operation"},
		{"add without end", `{"id":7,"op":"add"}`, "without a hand-over end"},
		{"add with a file", `{"id":7,"op":"add","slot":1}`, "hand-over"},
		{"status with a file", `{"id":7,"op":"status"}`, ""},
		{"bad slot", `{"id":7,"op":"remove","slot":99}`, "not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var pass *os.File
			var end *os.File
			if strings.Contains(tt.name, "with a file") {
				var err error
				if end, pass, err = os.Pipe(); err != nil {
					t.Fatal(err)
				}
				defer end.Close()
			}
			if err := s.Write([]byte(tt.message), pass); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, maxControlBytes+1)
			n, _, err := s.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			var answer controlAnswer
			if err := json.Unmarshal(buf[:n], &answer); err != nil {
				t.Fatal(err)
			}
			if (answer.Error == "") != (tt.want == "") || !strings.Contains(answer.Error, tt.want) {
				t.Errorf("answer %s, want an error with %q", buf[:n], tt.want)
			}
			if pass != nil {
				pass.Close()
				if n, err := end.Read(buf); n != 0 || err != io.EOF {
					t.Errorf("the balancer kept a descriptor: %d, %v", n, err)
				}
			}
		})
	}
}

func TestControlEndsTheBalancer(t *testing.T) {
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	b := &Balancer{Address: "127.0.0.1", Port: -1, Control: theirs, Logger: quiet}
	go func() { ran <- b.Run(t.Context()) }()
	ours.Close()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestControlSurvivesAnAnswerThatCameTooLate(t *testing.T) {
	ours, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	balancer, err := handoff.NewSocket(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer balancer.Close()
	c, err := NewControl(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hung balancer: %v, want the deadline", err)
	}
	for id := range uint64(3) { // the late answer, and the one to the next question
		if err := reply(balancer, controlAnswer{ID: id, Status: &Status{Accepted: id}}); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := c.Status(t.Context()); err != nil || s.Accepted != 2 {
		t.Errorf("Status = %+v, %v; want the second answer", s, err)
	}
	balancer.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, handoff.ErrGone) {
		t.Errorf("a dead balancer: %v, want ErrGone", err)
	}
}

func TestMembersMeetInEveryOrder(t *testing.T) {
	m := &Members{Logger: quiet}
	defer m.Close()
	if _, err := m.Status(t.Context()); !errors.Is(err, causeway.ErrNotRunning) {
		t.Errorf("Status without balancer = %v, want ErrNotRunning", err)
	}
	first := startInstance(t, "first")
	if err := m.InstanceStarted(t.Context(), 0, "first", first.attach); err != nil {
		t.Fatal(err)
	}
	b, control := withControl(t)
	if err := m.BalancerStarted(t.Context(), control); err != nil { // an instance before the balancer
		t.Fatal(err)
	}
	second := startInstance(t, "second")
	if err := m.InstanceStarted(t.Context(), 1, "second", second.attach); err != nil { // and one after it
		t.Fatal(err)
	}
	waitHealthy(t, b, 0, true)
	waitHealthy(t, b, 1, true)
	dial(t, m.ChannelAddress(0)).wantAlive(t)

	first.kill() // and one that is started again
	again := startInstance(t, "again")
	if err := m.InstanceStarted(t.Context(), 0, "again", again.attach); err != nil {
		t.Fatal(err)
	}
	if err := m.InstanceStopped(t.Context(), 0, "first"); err != nil { // the news of its predecessor's end comes late
		t.Fatal(err)
	}
	if c := dial(t, m.ChannelAddress(0)); c.instance != "again" {
		t.Errorf("slot 0 is %s", c.instance)
	}
	if err := m.InstanceStopped(t.Context(), 1, "second"); err != nil {
		t.Fatal(err)
	}
	if s, err := m.Status(t.Context()); err != nil || len(s.Instances) != 1 || s.Instances[0].Instance != "again" {
		t.Errorf("Status = %+v, %v", s, err)
	}
	if err := m.InstanceStarted(t.Context(), 16, "many", os.NewFile(^uintptr(0), "none")); err == nil {
		t.Error("slot 16 was taken")
	}
}

func TestMembersMendWhatWasLost(t *testing.T) {
	m := &Members{Logger: quiet}
	defer m.Close()
	b, control := withControl(t)
	if err := m.BalancerStarted(t.Context(), control); err != nil {
		t.Fatal(err)
	}
	g := startInstance(t, "i")
	if err := m.InstanceStarted(t.Context(), 0, "i", g.attach); err != nil {
		t.Fatal(err)
	}
	waitHealthy(t, b, 0, true)
	old := dial(t, b.Addr().String())
	for name, lose := range map[string]func(){
		"hand-over end": func() { b.instanceIn(0).close() },
		"slot":          func() { b.Remove(0, "i") },
	} {
		lose()
		wantRefused(t, b.Addr().String())
		m.mend(t.Context())
		waitHealthy(t, b, 0, true)
		if c := dial(t, b.Addr().String()); c.instance != "i" {
			t.Errorf("after losing its %s: %s", name, c.instance)
		}
	}
	mended := b.instanceIn(0)
	if m.mend(t.Context()); b.instanceIn(0) != mended {
		t.Error("what was whole was mended")
	}
	old.wantAlive(t)
	g.kill()
	m.mend(t.Context()) // nothing to be done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestConnectionsSurviveTheBalancersDeath(t *testing.T) {
	const settings = "127.0.0.1 -1 -1"
	m := &Members{Logger: quiet}
	defer m.Close()
	for n, id := range []causeway.InstanceID{"a", "b"} {
		if err := m.InstanceStarted(t.Context(), causeway.Slot(n), id, startInstance(t, id).attach); err != nil {
			t.Fatal(err)
		}
	}
	process, control := startBalancerProcess(t, settings)
	if err := m.BalancerStarted(t.Context(), control); err != nil {
		t.Fatal(err)
	}
	healthy := func() (s Status) {
		eventually(t, "both instances healthy", func() bool {
			var err error
			s, err = m.Status(t.Context())
			return err == nil && len(s.Instances) == 2 && s.Instances[0].Healthy && s.Instances[1].Healthy
		})
		return s
	}
	front := healthy().FrontEnd
	var devices []call
	for range 20 {
		devices = append(devices, dial(t, front))
	}
	channel := dial(t, m.ChannelAddress(0))

	process.Process.Kill() // SIGKILL
	process.Wait()
	for _, c := range devices {
		c.wantAlive(t)
	}
	channel.wantAlive(t)
	if _, err := tryDial(front); err == nil {
		t.Error("somebody still listens")
	}

	// The next one gets the port of the first, which has connections of its own there.
	_, port, _ := strings.Cut(front, ":")
	_, control = startBalancerProcess(t, "127.0.0.1 "+port+" -1")
	if err := m.BalancerStarted(t.Context(), control); err != nil {
		t.Fatal(err)
	}
	if got := healthy().FrontEnd; got != front {
		t.Errorf("front end %s, want %s", got, front)
	}
	dial(t, front).wantAlive(t)
	for _, c := range devices {
		c.wantAlive(t)
	}
	channel.wantAlive(t)
}
