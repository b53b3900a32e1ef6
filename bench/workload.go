//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A workload is one kind of use. Its run reports what the devices saw; measure adds what it cost.
type workload struct {
	name, what  string
	connections int
	perGB       bool // processor time is given per GB carried, not per 10,000 requests
	steady      bool // a closed loop of small requests: allocations are counted in the middle of it
	run         func(context.Context, *lab, *target, options) (result, error)
	skip        func(*target) bool
	fresh       bool // measures memory: on processes just started, without a start that does not count
	rounds      int  // run in so many of the rounds; zero means all
	turns       int  // its targets alternate so often within a round (measureTurns); zero: each is measured once
}

// A result is what the devices saw.
type result struct {
	Requests   float64
	Seconds    float64
	P50, P99   float64 // milliseconds
	MB         float64 // carried, in millions of bytes
	KBPerIdle  float64 // gateway's memory per idle connection or channel, in thousands of bytes
	Background float64 // MB/s of the downloads beside an open loop
}

func plainTarget(t *target) bool { return t.plain }
func noH2(t *target) bool        { return !t.h2 }
func noChannel(t *target) bool   { return t.name != measured }

// noPart leaves out what differs from the measured target by more than one part.
func noPart(t *target) bool { return !slices.Contains(goalTargets[costs], t.name) }

// memoryRounds is how often memory is measured: processes are started for it, and it varies little.
const memoryRounds = 3

// workloads are all there are, in the order in which a round runs them.
var workloads = []workload{
	{name: "a", what: "GET 1 KiB, 64 keep-alive connections (wrk)", connections: 64, steady: true, run: timed(wrkLoad(64, "GET", "/files/1k"))},
	{name: costs, what: "workload a in turns of 1.5 s, for targets that differ by little", connections: 64, turns: 8,
		run: timed(wrkLoad(64, "GET", "/files/1k")), skip: noPart},
	{name: "a-h2", what: "the same over HTTP/2, 64 streams on one connection (h2load)", connections: 1, steady: true, run: timed(h2Load), skip: noH2},
	{name: "a512", what: "GET 1 KiB, 512 connections (wrk)", connections: 512, steady: true, run: timed(wrkLoad(512, "GET", "/files/1k"))},
	{name: "b", what: "POST 4 KiB, answer 2 KiB, 256 connections (wrk)", connections: 256, steady: true, run: timed(wrkLoad(256, "POST", "/files/post"))},
	{name: "c1", what: "64 MiB download, 1 stream", connections: 1, perGB: true, run: timed(downloads(1))},
	{name: "c16", what: "64 MiB download, 16 streams", connections: 16, perGB: true, run: timed(downloads(16))},
	{name: "u1", what: "64 MiB upload, 1 stream", connections: 1, perGB: true, run: timed(upload)},
	{name: "fix", what: "open loop, 500 requests/s of 1 KiB on 32 connections, latency from the due time", run: timed(openLoop(quiet))},
	{name: "fixbulk", what: "the same beside 8 downloads held to 8 MB/s each", run: timed(openLoop(cappedBulk))},
	{name: "fixfull", what: "the same beside 8 downloads as fast as they go", run: timed(openLoop(fullBulk))},
	{name: "fixstall", what: "the same beside 4 downloads whose reader stopped", run: timed(openLoop(stalledBulk))},
	{name: "hs", what: "a new TLS connection per request, 16 at once, P-256; every target asks for a client certificate, gets none and answers 403 itself",
		run: timed(handshakes(false, false)), skip: plainTarget},
	{name: "hs-resume", what: "the same, resumed sessions", run: timed(handshakes(false, true)), skip: plainTarget},
	{name: "hs-cert", what: "a new TLS connection per request, client certificate (P-256), answer from the server", run: timed(handshakes(true, false)), skip: plainTarget},
	{name: "hs-cert-resume", what: "the same, resumed sessions", run: timed(handshakes(true, true)), skip: plainTarget},
	{name: "idle", what: "idle keep-alive connections after one GET each, on processes just started: memory per connection on the gateway's side",
		run: idleConnections, skip: plainTarget, fresh: true, rounds: memoryRounds},
	{name: "idle-channel", what: "channel sets of further connection points without a request: heap and stacks per set on the gateway's side",
		run: idleChannels, skip: noChannel, fresh: true, rounds: memoryRounds},
}

// timed is a workload that goes on for the time of one measurement.
func timed(run func(context.Context, *lab, *target, time.Duration) (result, error)) func(context.Context, *lab, *target, options) (result, error) {
	return func(ctx context.Context, l *lab, t *target, o options) (result, error) {
		return run(ctx, l, t, o.duration)
	}
}

func chooseWorkloads(names []string) ([]workload, error) {
	for _, name := range names {
		if !slices.ContainsFunc(workloads, func(w workload) bool { return w.name == name }) {
			return nil, fmt.Errorf("no workload is called %q", name)
		}
	}
	var chosen []workload
	for _, w := range workloads {
		if len(names) == 0 || slices.Contains(names, w.name) {
			chosen = append(chosen, w)
		}
	}
	return chosen, nil
}

// runs reports whether t takes part in w.
func (w *workload) runs(t *target) bool {
	return (w.skip == nil || !w.skip(t)) && (len(t.only) == 0 || slices.Contains(t.only, w.name))
}

// measure runs w against t once: a short start that does not count, then the measurement between two readings of
// the processes' books.
func measure(ctx context.Context, o options, l *lab, w workload, t *target) row {
	row := row{Workload: w.name, Target: t.name}
	if w.connections >= 256 {
		o.duration *= 2
	}
	if w.fresh {
		if err := l.renew(ctx, t); err != nil {
			row.Void = err.Error()
			return row
		}
	} else {
		// What goes wrong here shows again below, save what only a start does: on a busy machine 512 handshakes may
		// take longer than this.
		short := o
		short.duration = min(o.duration, time.Second)
		_, _ = w.run(ctx, l, t, short)
	}
	machine := readMachine()
	before := l.books(t)
	var middle <-chan allocations
	if w.steady {
		middle = countAllocations(t, o.duration)
	}
	got, err := w.run(ctx, l, t, o)
	after := l.books(t)
	row.Others = readMachine().othersSince(machine)
	if err != nil {
		row.Void = err.Error()
	} else {
		row.fill(w, got, before, after)
	}
	if middle != nil {
		row.allocate(<-middle)
	}
	return row
}

// books are the sums of one moment.
type books struct {
	gateway, connector, backend float64 // processor seconds
	gatewayPSS, connectorPSS    float64 // KiB
}

func (l *lab) books(t *target) (b books) {
	b.gatewayPSS, b.connectorPSS = pssKiB(t.gateway()), pssKiB(t.connector())
	b.gateway, b.connector, b.backend = cpuSeconds(t.gateway()), cpuSeconds(t.connector()), cpuSeconds(l.backend())
	return b
}
