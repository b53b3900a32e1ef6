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
	run         func(context.Context, *lab, *target, time.Duration) (result, error)
	skip        func(*target) bool
}

// A result is what the devices saw.
type result struct {
	Requests   float64
	Seconds    float64
	P50, P99   float64 // milliseconds
	MB         float64 // carried, in millions of bytes
	KBPerIdle  float64 // gateway's memory per idle connection, in thousands of bytes
	Background float64 // MB/s of the downloads beside an open loop
}

func plainTarget(t *target) bool { return t.plain }
func noH2(t *target) bool        { return !t.h2 }

// workloads are all there are, in the order in which a round runs them.
var workloads = []workload{
	{name: "a", what: "GET 1 KiB, 64 keep-alive connections (wrk)", connections: 64, run: wrkLoad(64, "GET", "/files/1k")},
	{name: "a-h2", what: "the same over HTTP/2, 64 streams on one connection (h2load)", connections: 1, run: h2Load, skip: noH2},
	{name: "a512", what: "GET 1 KiB, 512 connections (wrk)", connections: 512, run: wrkLoad(512, "GET", "/files/1k")},
	{name: "b", what: "POST 4 KiB, answer 2 KiB, 256 connections (wrk)", connections: 256, run: wrkLoad(256, "POST", "/files/post")},
	{name: "c1", what: "64 MiB download, 1 stream", connections: 1, perGB: true, run: downloads(1)},
	{name: "c16", what: "64 MiB download, 16 streams", connections: 16, perGB: true, run: downloads(16)},
	{name: "u1", what: "64 MiB upload, 1 stream", connections: 1, perGB: true, run: upload},
	{name: "fix", what: "open loop, 500 requests/s of 1 KiB on 32 connections, latency from the due time", run: openLoop(quiet)},
	{name: "fixbulk", what: "the same beside 8 downloads held to 8 MB/s each", run: openLoop(cappedBulk)},
	{name: "fixfull", what: "the same beside 8 downloads as fast as they go", run: openLoop(fullBulk)},
	{name: "fixstall", what: "the same beside 4 downloads whose reader stopped", run: openLoop(stalledBulk)},
	{name: "hs", what: "a new TLS connection per request, 16 at once, P-256", run: handshakes(false, false), skip: plainTarget},
	{name: "hs-resume", what: "the same, resumed sessions", run: handshakes(false, true), skip: plainTarget},
	{name: "hs-cert", what: "a new TLS connection per request, client certificate (P-256)", run: handshakes(true, false), skip: plainTarget},
	{name: "hs-cert-resume", what: "the same, resumed sessions", run: handshakes(true, true), skip: plainTarget},
	{name: "idle", what: "idle keep-alive connections after one GET each: memory per connection on the gateway's side", skip: plainTarget},
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

// measure runs w against t once: a short start that does not count, then the measurement between two readings of
// the processes' books.
func measure(ctx context.Context, o options, l *lab, w workload, t *target) row {
	row := row{Workload: w.name, Target: t.name}
	duration := o.duration
	if w.connections >= 256 {
		duration *= 2
	}
	run := w.run
	if run == nil {
		run = idle(o.idle)
	} else {
		// What goes wrong here shows again below, save what only a start does: on a busy machine 512 handshakes may
		// take longer than this.
		_, _ = run(ctx, l, t, min(duration, time.Second))
	}
	before := l.books(t)
	got, err := run(ctx, l, t, duration)
	after := l.books(t)
	if err != nil {
		row.Void = err.Error()
		return row
	}
	row.fill(w, got, before, after)
	return row
}

// books are the sums of one moment.
type books struct {
	gateway, connector, backend      float64 // processor seconds
	gatewayMallocs, connectorMallocs float64
	gatewayCounts, connectorCounts   bool
	gatewayPSS, connectorPSS         float64 // KiB
}

func (l *lab) books(t *target) (b books) {
	b.gatewayPSS, b.connectorPSS = pssKiB(t.gateway()), pssKiB(t.connector())
	if t.gatewayMetrics != nil {
		b.gatewayMallocs, b.gatewayCounts = mallocs(t.gatewayMetrics())
	}
	if t.connectorMetrics != nil {
		b.connectorMallocs, b.connectorCounts = mallocs(t.connectorMetrics())
	}
	b.gateway, b.connector, b.backend = cpuSeconds(t.gateway()), cpuSeconds(t.connector()), cpuSeconds(l.backend())
	return b
}
