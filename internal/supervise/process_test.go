package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// fake is a child without a process: it lives as its script says.
type fake struct {
	number int
	readyc chan readiness
	done   chan struct{}
	why    error
	deaf   bool // does not listen to TERM

	mu    sync.Mutex
	heard []string
}

func (f *fake) pid() int                { return 1000 + f.number }
func (f *fake) ready() <-chan readiness { return f.readyc }
func (f *fake) exited() <-chan struct{} { return f.done }
func (f *fake) err() error              { return f.why }
func (f *fake) hear(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, fmt.Sprintf("%s at %v", what, time.Now().Format("04:05.000")))
}
func (f *fake) signal(sig os.Signal) error { f.hear(sig.String()); return nil }
func (f *fake) terminate() error {
	f.hear("TERM")
	if !f.deaf {
		f.end(errors.New("terminated"))
	}
	return nil
}
func (f *fake) kill() error { f.hear("KILL"); f.end(errors.New("killed")); return nil }

func (f *fake) end(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
	default:
		f.why = why
		close(f.done)
	}
}

// stage starts fakes and remembers when.
type stage struct {
	mu      sync.Mutex
	fakes   []*fake
	started []time.Time
}

// spawner makes children that live out the script.
func (s *stage) spawner(script func(*fake)) func(*Process, *tail) (child, error) {
	return func(*Process, *tail) (child, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		f := &fake{number: len(s.fakes), readyc: make(chan readiness, 1), done: make(chan struct{})}
		s.fakes, s.started = append(s.fakes, f), append(s.started, time.Now())
		script(f)
		return f, nil
	}
}

func ready(f *fake) { f.readyc <- readiness{payload: json.RawMessage(`{"port":1}`)} }

func TestCrashLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		p := &Process{Name: "crashes", Logger: quiet, spawn: s.spawner(func(f *fake) { f.end(errors.New("boom")) })}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		bound := 200 * time.Millisecond
		for i := 1; i < len(s.started); i++ {
			if gap := s.started[i].Sub(s.started[i-1]); gap > bound {
				t.Errorf("start %d came %v after the one before, want at most %v", i, gap, bound)
			}
			bound = min(2*bound, 5*time.Second)
		}
		// 5 s of full jitter are 2.5 s on average: about 240 starts in 10 minutes.
		if n := len(s.started); n < 180 || n > 320 {
			t.Errorf("%d starts in 10 minutes, want about 240", n)
		}
		if st := p.Status(); st.State != Stopped || st.Restarts != len(s.started)-1 || st.LastExit != "boom" {
			t.Errorf("status %+v", st)
		}
	})
}

func TestBackoffStartsOverAfterAStableLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		p := &Process{Name: "flaps", Logger: quiet}
		p.spawn = s.spawner(func(f *fake) {
			if ready(f); f.number < 20 {
				f.end(errors.New("boom"))
				return
			}
			time.AfterFunc(31*time.Second, func() { f.end(errors.New("boom")) })
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		for i := 22; i < len(s.started); i++ {
			if wait := s.started[i].Sub(s.started[i-1]) - 31*time.Second; wait > 200*time.Millisecond {
				t.Errorf("start %d waited %v, want at most 200ms", i, wait)
			}
		}
		if len(s.started) < 30 {
			t.Errorf("%d starts", len(s.started))
		}
	})
}

func TestStopAsksBeforeItKills(t *testing.T) {
	for _, tt := range []struct {
		name string
		deaf bool
		want string
	}{
		{"listens", false, "TERM at 00:10.000"},
		{"deaf", true, "TERM at 00:10.000, KILL at 00:13.000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s stage
				var states []State
				p := &Process{Name: "stops", Logger: quiet, Grace: 3 * time.Second, Changed: func(s Status) { states = append(states, s.State) }}
				p.spawn = s.spawner(func(f *fake) { f.deaf = tt.deaf; ready(f) })
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := p.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(s.fakes[0].heard, ", "); got != tt.want {
					t.Errorf("heard %q, want %q", got, tt.want)
				}
				if got, want := fmt.Sprint(states), "[starting running stopping stopping stopped]"; got != want {
					t.Errorf("states %s, want %s", got, want)
				}
			})
		})
	}
}

func TestStopDuringTheBackoffIsImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		p := &Process{Name: "waits", Logger: quiet, MinBackoff: time.Hour, MaxBackoff: time.Hour}
		p.spawn = s.spawner(func(f *fake) { f.end(errors.New("boom")) })
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- p.Run(ctx) }()
		synctest.Wait()
		if st := p.Status(); st.State != Waiting || st.PID != 0 {
			t.Errorf("status %+v", st)
		}
		began := time.Now()
		cancel()
		if err := <-ran; err != nil || time.Since(began) != 0 {
			t.Errorf("Run = %v after %v", err, time.Since(began))
		}
	})
}

func TestChildThatIsNeverReadyIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		p := &Process{Name: "hangs", Logger: quiet, ReadyTimeout: 4 * time.Second, MustStart: true}
		p.spawn = s.spawner(func(f *fake) { f.deaf = true })
		began := time.Now()
		err := p.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "start hangs: not ready after 4s") {
			t.Errorf("Run = %v", err)
		}
		if got := fmt.Sprint(s.fakes[0].heard); !strings.Contains(got, "KILL") || len(s.fakes) != 1 {
			t.Errorf("heard %s, %d starts", got, len(s.fakes))
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestMustStartNamesTheExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		p := &Process{Name: "dies", Logger: quiet, MustStart: true}
		p.spawn = s.spawner(func(f *fake) { // as a process does: the pipe ends a moment before the exit is known
			f.readyc <- readiness{err: errors.New("closed the pipe")}
			time.AfterFunc(20*time.Millisecond, func() { f.end(errors.New("exit status 1")) })
		})
		if err := p.Run(t.Context()); err == nil || err.Error() != "start dies: exit status 1" {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestMustStartIsAboutTheFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		p := &Process{Name: "dies later", Logger: quiet, MustStart: true}
		p.spawn = s.spawner(func(f *fake) {
			if f.number != 1 {
				ready(f)
			}
			time.AfterFunc(time.Second, func() { f.end(nil) })
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil || len(s.fakes) < 10 {
			t.Errorf("Run = %v after %d starts", err, len(s.fakes))
		}
		if st := p.Status(); st.LastExit == "" {
			t.Errorf("status %+v: a clean exit is an exit too", st)
		}
	})
}

func TestWaitReadyFollowsRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stage
		var calls []string
		p := &Process{
			Name: "starts slowly", Logger: quiet,
			Started: func(pid int) { calls = append(calls, fmt.Sprint("started ", pid)) },
			Ready:   func(payload json.RawMessage) { calls = append(calls, "ready "+string(payload)) },
			Exited:  func(err error) { calls = append(calls, "exited "+err.Error()) },
		}
		p.spawn = s.spawner(func(f *fake) {
			if f.number == 0 {
				f.end(errors.New("boom"))
				return
			}
			time.AfterFunc(time.Second, func() { ready(f) })
		})
		if err := p.Signal(os.Interrupt); err == nil {
			t.Error("signalled a process that does not run")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- p.Run(ctx) }()
		payload, err := p.WaitReady(ctx)
		if err != nil || string(payload) != `{"port":1}` {
			t.Errorf("WaitReady = %s, %v", payload, err)
		}
		synctest.Wait()
		if err := p.Signal(os.Interrupt); err != nil || len(s.fakes[1].heard) != 1 {
			t.Errorf("Signal = %v, heard %v", err, s.fakes[1].heard)
		}
		if st := p.Status(); st.State != Running || st.PID != 1001 || st.Restarts != 1 || string(st.Payload) != `{"port":1}` {
			t.Errorf("status %+v", st)
		}
		cancel()
		<-ran
		want := `[started 1000 exited boom started 1001 ready {"port":1} exited terminated]`
		if got := fmt.Sprint(calls); got != want {
			t.Errorf("calls %s, want %s", got, want)
		}
		if _, err := p.WaitReady(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("WaitReady after the end = %v", err)
		}
	})
}

func TestOutputIsBounded(t *testing.T) {
	tail := &tail{}
	w := &lineWriter{log: quiet, tail: tail, stream: "stdout"}
	for _, chunk := range []string{"one\ntw", "o\r\n\n", strings.Repeat("x", 3*maxLineBytes), "more\nbad \xff\nlast"} {
		if n, err := w.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if len(w.line) > maxLineBytes {
			t.Fatalf("holds %d bytes", len(w.line))
		}
	}
	w.flush()
	want := []string{"one", "two", strings.Repeat("x", maxLineBytes) + " [cut]", "bad ?", "last"}
	if got := tail.lines(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lines %q", got)
	}
	for i := range 3 * tailLines {
		fmt.Fprintln(w, i)
	}
	if got := tail.lines(); len(got) != tailLines || got[tailLines-1] != fmt.Sprint(3*tailLines-1) {
		t.Errorf("tail %q", got)
	}
}
