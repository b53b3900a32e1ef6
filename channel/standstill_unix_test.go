//go:build unix

package channel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envStandstill makes TestProcessThatStoodStillLosesNothing the process that stands still.
const envStandstill = "CAUSEWAY_TEST_STANDSTILL"

// TestProcessThatStoodStillLosesNothing stops a process that has both ends of a channel, as a machine does that is
// suspended or has no time, for longer than after which a channel is dead. A request whose answer goes on and on, over the
// request plane and over a bulk connection, has to survive it.
func TestProcessThatStoodStillLosesNothing(t *testing.T) {
	if os.Getenv(envStandstill) != "" {
		standStill(t)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), envStandstill+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "under way") {
	}
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if signal == syscall.SIGSTOP {
			time.Sleep(DefaultDeadAfter + time.Second)
		}
	}
	time.Sleep(time.Second) // for who would give up
	in.Close()
	for lines.Scan() {
		if strings.Contains(lines.Text(), "_test.go:") {
			t.Error(lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// standStill has two answers under way until stdin ends, and wants them complete.
func standStill(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	drip := func(first int) handlerFunc { // then a byte now and then
		return func(in *Inbound) {
			if in.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n"), make([]byte, first), false) != nil {
				return
			}
			for ctx.Err() == nil {
				if in.Data([]byte("x"), false) != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			_ = in.Data(nil, true)
		}
	}
	plain := newBed(t, PoolConfig{})
	plain.join("cp", drip(1), SessionConfig{})
	bulky, _ := newBulkBed(t, drip(2*bulkAfter))
	bulky.warm(t)
	ended := make(chan error, 2)
	for _, b := range []*bed{plain, bulky.bed} {
		go func() {
			d := &recorder{}
			err := b.pool.Exchange(context.WithoutCancel(ctx), get("/"), d)
			if err == nil && !d.done {
				err = errors.New("the answer has no end")
			}
			ended <- err
		}()
	}
	waitFor(t, "answers under way", func() bool {
		return bulky.bulk.Status().Used == 1 && len(plain.pool.Status()) > 0 && plain.pool.Status()[0].Requests > 0
	})
	fmt.Println("under way")
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	bulky.idle(t)
}
