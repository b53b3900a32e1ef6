package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// A progress shows the steps of a start as they happen: with a spinner on a terminal, as plain lines with times
// when piped. Both end each step with the time it took.
type progress struct {
	w     io.Writer
	tty   bool
	now   func() time.Time
	start time.Time
}

func (a *app) newProgress() *progress {
	return &progress{w: a.stderr, tty: isTerminal(a.stderr), now: a.now, start: a.now()}
}

// step runs do under a name and shows how it went.
func (p *progress) step(name string, do func() error) error {
	begin := p.now()
	stop := p.spin(name)
	err := do()
	stop()
	mark, took := "ok", p.now().Sub(begin)
	if err != nil {
		mark = "failed"
	}
	if p.tty {
		sign := "\x1b[32m✓\x1b[0m"
		if err != nil {
			sign = "\x1b[31m✗\x1b[0m"
		}
		fmt.Fprintf(p.w, "\r\x1b[K%s %s  %s\n", sign, name, seconds(took))
		return err
	}
	fmt.Fprintf(p.w, "[%7s] %s: %s in %s\n", seconds(p.now().Sub(p.start)), name, mark, seconds(took))
	return err
}

// note shows one line between steps.
func (p *progress) note(format string, args ...any) {
	if p.tty {
		fmt.Fprintf(p.w, "\r\x1b[K  %s\n", oneLine(fmt.Sprintf(format, args...)))
		return
	}
	fmt.Fprintf(p.w, "[%7s] %s\n", seconds(p.now().Sub(p.start)), oneLine(fmt.Sprintf(format, args...)))
}

// spin draws on a terminal until the returned func is called, which waits for the last drawing.
func (p *progress) spin(name string) (stop func()) {
	if !p.tty {
		return func() {}
	}
	done := make(chan struct{})
	var drawn sync.WaitGroup
	drawn.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			fmt.Fprintf(p.w, "\r\x1b[K%c %s", []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[i%10], name)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() { close(done); drawn.Wait() }
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
