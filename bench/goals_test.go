//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// wholeReport has a good row for everything that `bench -goals` runs: the measured target's figures are half of the
// others'.
func wholeReport(rounds int) *report {
	r := &report{Rounds: rounds}
	for round := range rounds {
		for _, w := range workloads {
			for _, name := range goalTargets[w.name] {
				f := 100.0
				if name == measured {
					f = 50
				}
				r.Rows = append(r.Rows, row{Round: round, Workload: w.name, Target: name, RequestsPerSecond: f, MBPerSecond: f, P99: f,
					GatewayCPU: f, KBPerIdle: f, GatewayAllocs: &f, ConnectorAllocs: &f})
			}
		}
	}
	return r
}

func TestGoalsHaveAllTheyNeed(t *testing.T) {
	r := wholeReport(3)
	for i := range goals {
		if n := len(goals[i].values(r)); n != 3 {
			t.Errorf("%s: %d values of 3 rounds", goals[i].metric, n)
		}
	}
	for name, targets := range goalTargets {
		if !slices.ContainsFunc(workloads, func(w workload) bool { return w.name == name }) {
			t.Errorf("no workload is called %q", name)
		}
		for _, target := range targets {
			known := false
			for _, b := range builders {
				known = known || b.name == target
			}
			if !known {
				t.Errorf("%s: no target is called %q", name, target)
			}
		}
	}
	var b strings.Builder
	r.goalsTable(&b)
	for _, want := range []string{
		"| a: req/s / haproxy | ≥ 0.58 | ≥ 0.47 | 0.50 (0.50 to 0.50) | floor kept |",
		"| a: gateway CPU per request / haproxy's | ≤ 1.05 | ≤ 1.3 | 0.50 (0.50 to 0.50) | met |",
		"| fixbulk p99 / own quiet p99 | ≤ 2 | – | 1.00 (1.00 to 1.00) | met |",
		"| ≤ 10 % | ≤ 20 % | 50.0 % (50.0 % to 50.0 %) | **floor missed** |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestAGoalWithoutAFigureIsShown(t *testing.T) {
	r := wholeReport(2)
	r.Rows = slices.DeleteFunc(r.Rows, func(row row) bool { return row.Workload == "u1" })
	for i := range r.Rows {
		if r.Rows[i].Workload == "b" {
			r.Rows[i].Void = "1 socket error"
		}
	}
	var b strings.Builder
	r.goalsTable(&b)
	for _, want := range []string{
		"| u1: MB/s / haproxy | ≥ 0.62 | ≥ 0.5 |  | not measured |",
		"| b: req/s / haproxy | ≥ 0.45 | ≥ 0.35 |  | not measured |",
		"met, but only 2 of 3 rounds or more",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestVerdicts(t *testing.T) {
	least := goal{goal: 0.5, floor: 0.4}
	most := goal{goal: 2, floor: 3, most: true}
	free := goal{goal: 2, floor: math.NaN(), most: true}
	for _, tt := range []struct {
		g    goal
		f    float64
		want string
	}{
		{least, 0.5, "met"}, {least, 0.49, "floor kept"}, {least, 0.39, "**floor missed**"},
		{most, 2, "met"}, {most, 2.1, "floor kept"}, {most, 3.1, "**floor missed**"}, {free, 2.1, "**missed**"},
	} {
		if got := tt.g.verdict(tt.f); got != tt.want {
			t.Errorf("%v of %+v is %q, want %q", tt.f, tt.g, got, tt.want)
		}
	}
}

func TestAllocationsAreSharedOut(t *testing.T) {
	n := counters{mallocs: 1300, requests: 200}.perRequestSince(counters{mallocs: 1000, requests: 100})
	if n == nil || *n != 3 {
		t.Errorf("got %v, want 3", n)
	}
	if n := (counters{mallocs: 10}).perRequestSince(counters{}); n != nil {
		t.Errorf("%v allocations for each of no requests", *n)
	}
}

func TestUnrestIsTold(t *testing.T) {
	r := wholeReport(1)
	r.Loads = []string{"0.1 0.2 0.3"}
	if text := r.markdown(); strings.Contains(text, "not quiet") || !strings.Contains(text, "0.1 0.2 0.3") {
		t.Errorf("a quiet run is told as:\n%s", text[:800])
	}
	for i := range r.Rows {
		r.Rows[i].Others = 0.5
	}
	if text := r.markdown(); !strings.Contains(text, "not quiet") {
		t.Errorf("an unquiet run is told as:\n%s", text[:800])
	}
}

func TestWhatOthersUseIsKnown(t *testing.T) {
	before := moment{at: time.Unix(100, 0), busy: 50, ours: 20}
	after := moment{at: time.Unix(101, 0), busy: 50.5, ours: 20.25}
	if got, want := fmt.Sprint(after.othersSince(before) > 0, after.othersSince(before) < 1), "true true"; got != want {
		t.Errorf("%v of the machine", after.othersSince(before))
	}
	if m := readMachine(); m.busy <= 0 || m.ours < 0 || m.ours > m.busy {
		t.Errorf("read %+v", m)
	}
}
