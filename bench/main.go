//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	causeway  string
	rounds    int
	duration  time.Duration
	targets   string
	workloads string
	idle      int
	out       string
	work      string
	goals     bool
}

func main() {
	if len(os.Args) > 1 && servers[os.Args[1]] != nil {
		if err := servers[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.causeway, "causeway", "bin/causeway", "the `binary` to measure; empty leaves Causeway out")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of one measurement; twice that from 256 connections on")
	flag.StringVar(&o.targets, "targets", "", "comma-separated `names` of targets (default: all that are here)")
	flag.StringVar(&o.workloads, "workloads", "", "comma-separated `names` of workloads (default: all)")
	flag.IntVar(&o.idle, "idle", 5000, "connections of the workload idle")
	flag.StringVar(&o.out, "out", "bench", "`folder` for RESULTS.md and results.json")
	flag.StringVar(&o.work, "work", "bench/work", "`folder` for configurations, logs and keys")
	from := flag.String("from", "", "measure nothing; write RESULTS.md again from this results.json `file`")
	quick := flag.Bool("quick", false, "one short round, to see that everything works")
	flag.BoolVar(&o.goals, "goals", false, "only what the table of goals needs (about 20 minutes; everything takes 75)")
	flag.Parse()
	if *quick {
		o.rounds, o.duration, o.idle = 1, time.Second, 500
	}
	if *from != "" {
		r, err := readReport(*from)
		if err == nil {
			err = r.write(o.out)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run starts every target, measures round by round and writes the results, also after an interruption.
func run(ctx context.Context, o options) error {
	raiseFileLimit()
	work, err := filepath.Abs(o.work)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	chosen, err := chooseWorkloads(split(o.workloads))
	if err != nil {
		return err
	}
	names := split(o.targets)
	if o.goals {
		chosen = slices.DeleteFunc(chosen, func(w workload) bool { return goalTargets[w.name] == nil })
		if names == nil {
			names = allGoalTargets()
		}
	}
	lab := &lab{dir: work, causeway: o.causeway}
	defer lab.stop()
	if err := lab.start(ctx, names); err != nil {
		return err
	}
	report := newReport(o, lab)
	runErr := measureAll(ctx, o, lab, chosen, report)
	report.LoadAfter = loadAverage()
	if len(report.Rows) == 0 {
		return runErr
	}
	return errors.Join(runErr, report.write(o.out))
}

// measureAll is the interleaving: rounds outside, then workloads, then targets.
func measureAll(ctx context.Context, o options, lab *lab, chosen []workload, report *report) error {
	for round := range o.rounds {
		report.Loads = append(report.Loads, loadAverage())
		for _, w := range chosen {
			if w.rounds > 0 && round >= w.rounds {
				continue
			}
			targets := slices.DeleteFunc(inTurn(lab.targets, round), func(t *target) bool {
				return !w.runs(t) || o.goals && !slices.Contains(goalTargets[w.name], t.name)
			})
			for row := range measureEach(ctx, o, lab, w, targets) {
				if ctx.Err() != nil {
					return errors.New("interrupted")
				}
				row.Round = round
				report.Rows = append(report.Rows, row)
				fmt.Fprintln(os.Stderr, row.line())
			}
		}
	}
	return nil
}

// measureEach yields a row for each target.
func measureEach(ctx context.Context, o options, lab *lab, w workload, targets []*target) iter.Seq[row] {
	if w.turns > 0 {
		return slices.Values(measureTurns(ctx, o, lab, w, targets))
	}
	return func(yield func(row) bool) {
		for _, t := range targets {
			if !yield(measure(ctx, o, lab, w, t)) {
				return
			}
		}
	}
}

// inTurn is the order of the targets in a round: every other one goes backwards. Neighbours work at the machine in waves
// that are as long as a round, so that who is always measured last would be compared with another machine each time.
func inTurn(targets []*target, round int) []*target {
	targets = slices.Clone(targets)
	if round%2 == 1 {
		slices.Reverse(targets)
	}
	return targets
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// raiseFileLimit asks for as many files as the system gives; idle connections need two each.
func raiseFileLimit() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // the connection workloads report it if it was not enough
	}
}
