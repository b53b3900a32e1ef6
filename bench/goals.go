//go:build linux

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// measured is the target that the goals are for: an instance with identity, policy, mapping, limits, metrics and request
// ids, as on a host of its own. What the balancer in front of it costs is a goal by itself.
const measured = "causeway-instance"

// costs is the workload that tells what single parts of the path cost.
const costs = "a-turns"

// goalTargets says which targets a goal compares under which workload. Nothing else is run for the table.
var goalTargets = map[string][]string{
	"a":            {"haproxy", "nginx", "go-direct", measured},
	costs:          {"tunnel-bare", measured, "causeway"},
	"a-h2":         {"go-direct", measured},
	"a512":         {"haproxy", measured},
	"b":            {"haproxy", "go-direct", measured},
	"c1":           {"haproxy", measured},
	"c16":          {"haproxy", measured},
	"u1":           {"haproxy", measured},
	"fix":          {measured},
	"fixbulk":      {"go-direct", measured},
	"fixstall":     {measured},
	"hs":           {"haproxy", measured},
	"hs-cert":      {"haproxy", measured},
	"idle":         {measured},
	"idle-channel": {measured},
}

// allGoalTargets is every target of the table.
func allGoalTargets() []string {
	names := map[string]bool{}
	for _, list := range goalTargets {
		for _, name := range list {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// A goal is one line of the table.
type goal struct {
	metric      string
	goal, floor float64 // a floor of NaN says that there is none
	most        bool    // goal and floor are what it may be at most, else at least
	unit        string
	digits      int
	values      func(*report) []float64 // one for each round
}

// goals is the table. Where a figure is a share of another target's, both are of the same round.
var goals = []goal{
	{metric: "a: req/s / haproxy", goal: 0.58, floor: 0.47, values: over("a", "haproxy", perSecond)},
	{metric: "a: req/s / go-direct", goal: 1.1, floor: 0.9, values: over("a", "go-direct", perSecond)},
	{metric: "a: req/s / nginx", goal: 0.53, floor: 0.42, values: over("a", "nginx", perSecond)},
	{metric: "a over HTTP/2: req/s / go-direct over HTTP/2", goal: 0.9, floor: 0.7, values: over("a-h2", "go-direct", perSecond)},
	{metric: "b: req/s / haproxy", goal: 0.45, floor: 0.35, values: over("b", "haproxy", perSecond)},
	{metric: "b: req/s / go-direct", goal: 1.15, floor: 0.95, values: over("b", "go-direct", perSecond)},
	{metric: "a512: req/s / haproxy", goal: 0.58, floor: 0.47, values: over("a512", "haproxy", perSecond)},
	{metric: "a: gateway CPU per request / haproxy's", goal: 1.05, floor: 1.3, most: true, values: over("a", "haproxy", gatewayCPU)},
	{metric: "b: gateway CPU per request / haproxy's", goal: 1.3, floor: 1.7, most: true, values: over("b", "haproxy", gatewayCPU)},
	{metric: "a: p99 / haproxy's", goal: 1.8, floor: 2.5, most: true, values: over("a", "haproxy", p99)},
	{metric: "c1: MB/s / haproxy", goal: 0.66, floor: 0.55, values: over("c1", "haproxy", megabytes)},
	{metric: "c16: MB/s / haproxy", goal: 0.88, floor: 0.7, values: over("c16", "haproxy", megabytes)},
	{metric: "u1: MB/s / haproxy", goal: 0.62, floor: 0.5, values: over("u1", "haproxy", megabytes)},
	{metric: "fixbulk p99 / own quiet p99", goal: 2, floor: math.NaN(), most: true, values: between("fixbulk", measured, "fix", measured, p99)},
	{metric: "fixbulk p99 / go-direct's fixbulk p99", goal: 1.3, floor: 2, most: true, values: over("fixbulk", "go-direct", p99)},
	{metric: "fixstall p99 / own quiet p99", goal: 1.1, floor: 1.5, most: true, values: between("fixstall", measured, "fix", measured, p99)},
	{metric: "hs, P-256, with client certificate / haproxy", goal: 1.5, floor: 1.3, values: over("hs-cert", "haproxy", perSecond)},
	{metric: "hs, P-256, without / haproxy; both answer 403", goal: 0.9, floor: 0.8, values: over("hs", "haproxy", perSecond)},
	{metric: "idle device connection, KB of 1,000 B", goal: 16, floor: 20, most: true, digits: 1, values: own("idle", kilobytes)},
	{metric: "idle channel set, gateway side, KiB of heap and stacks", goal: 128, floor: 256, most: true, digits: 1, values: own("idle-channel", kibibytes)},
	{metric: "a: allocations per request, gateway", goal: 4, floor: 8, most: true, digits: 1, values: own("a", gatewayAllocations)},
	{metric: "a: allocations per request, connection point", goal: 1, floor: 3, most: true, digits: 1, values: own("a", connectorAllocations)},
	{metric: "a: cost of identity, mapping, audit counters and metrics (against tunnel-bare)", goal: 10, floor: 20, most: true, unit: " %", digits: 1,
		values: loss(costs, measured, "tunnel-bare")},
	{metric: "a: cost of the balancer (sockets handed over)", goal: 2, floor: 5, most: true, unit: " %", digits: 1, values: loss(costs, "causeway", measured)},
}

// What rows are compared by. A figure of NaN is not there.
func perSecond(r row) float64            { return r.RequestsPerSecond }
func megabytes(r row) float64            { return r.MBPerSecond }
func p99(r row) float64                  { return r.P99 }
func gatewayCPU(r row) float64           { return r.GatewayCPU }
func kilobytes(r row) float64            { return r.KBPerIdle }
func kibibytes(r row) float64            { return r.KBPerIdle * 1000 / 1024 }
func gatewayAllocations(r row) float64   { return orNaN(r.GatewayAllocs) }
func connectorAllocations(r row) float64 { return orNaN(r.ConnectorAllocs) }

func orNaN(f *float64) float64 {
	if f == nil {
		return math.NaN()
	}
	return *f
}

// over compares the measured target with another one.
func over(workload, with string, figure func(row) float64) func(*report) []float64 {
	return between(workload, measured, workload, with, figure)
}

// between divides what one target made of one workload by what another made of another, round by round.
func between(workload, target, other, with string, figure func(row) float64) func(*report) []float64 {
	return func(r *report) (ratios []float64) {
		mine, _ := r.of(workload, target)
		theirs, _ := r.of(other, with)
		for _, m := range mine {
			for _, t := range theirs {
				if base := figure(t); m.Round == t.Round && base > 0 {
					ratios = append(ratios, figure(m)/base)
				}
			}
		}
		return ratios
	}
}

// own is a figure of the measured target alone.
func own(workload string, figure func(row) float64) func(*report) []float64 {
	return func(r *report) (values []float64) {
		rows, _ := r.of(workload, measured)
		for _, row := range rows {
			if f := figure(row); !math.IsNaN(f) {
				values = append(values, f)
			}
		}
		return values
	}
}

// loss is how many percent of the requests a target makes fewer than another one.
func loss(workload, target, against string) func(*report) []float64 {
	ratios := between(workload, target, workload, against, perSecond)
	return func(r *report) []float64 {
		values := ratios(r)
		for i := range values {
			values[i] = (1 - values[i]) * 100
		}
		return values
	}
}

// verdict says what a figure is worth.
func (g *goal) verdict(f float64) string {
	reached := func(bound float64) bool { return g.most && f <= bound || !g.most && f >= bound }
	switch {
	case reached(g.goal):
		return "met"
	case math.IsNaN(g.floor):
		return "**missed**"
	case reached(g.floor):
		return "floor kept"
	}
	return "**floor missed**"
}

func (g *goal) number(f float64) string {
	digits := g.digits
	if digits == 0 {
		digits = 2
	}
	return fmt.Sprintf("%.*f%s", digits, f, g.unit)
}

// bound writes a goal or a floor as the issue of a goal would.
func (g *goal) bound(f float64) string {
	if math.IsNaN(f) {
		return "–"
	}
	text := strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".") + g.unit
	if g.most {
		return "≤ " + text
	}
	return "≥ " + text
}

// goalsTable writes the table of goals. A line without a figure says so: it is never left out.
func (r *report) goalsTable(b *strings.Builder) {
	b.WriteString("\n## Goals\n\n| metric | goal | floor | measured: median (range) | verdict |\n|---|---|---|---|---|\n")
	for i := range goals {
		g := &goals[i]
		values := g.values(r)
		slices.Sort(values)
		figure, verdict := "", "not measured"
		if n := len(values); n > 0 {
			verdict = g.verdict(middle(values))
			figure = g.number(middle(values))
			if n > 1 {
				figure += fmt.Sprintf(" (%s to %s)", g.number(values[0]), g.number(values[n-1]))
			}
			if n < 3 {
				verdict += fmt.Sprintf(", but only %d of 3 rounds or more", n)
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", g.metric, g.bound(g.goal), g.bound(g.floor), figure, verdict)
	}
}
