//go:build linux

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A row is one target under one workload in one round.
type row struct {
	Round    int    `json:"round"`
	Workload string `json:"workload"`
	Target   string `json:"target"`
	Void     string `json:"void,omitempty"` // why the row counts for nothing

	RequestsPerSecond float64 `json:"requests_per_second"`
	P50               float64 `json:"p50_ms"`
	P99               float64 `json:"p99_ms"`
	MBPerSecond       float64 `json:"mb_per_second"`
	Background        float64 `json:"background_mb_per_second,omitempty"`
	Others            float64 `json:"share_of_machine_used_by_others"`
	KBPerIdle         float64 `json:"kb_per_idle_connection,omitempty"`

	// Processor seconds per 10,000 requests, or per GB for the bulk workloads.
	GatewayCPU   float64 `json:"gateway_cpu_seconds"`
	ConnectorCPU float64 `json:"connector_cpu_seconds"`
	BackendCPU   float64 `json:"backend_cpu_seconds"`

	GatewayPSS      float64  `json:"gateway_pss_kib"`
	ConnectorPSS    float64  `json:"connector_pss_kib"`
	GatewayAllocs   *float64 `json:"gateway_allocations_per_request,omitempty"`
	ConnectorAllocs *float64 `json:"connector_allocations_per_request,omitempty"`
}

func (r *row) fill(w workload, got result, before, after books) {
	r.RequestsPerSecond = got.Requests / got.Seconds
	r.P50, r.P99 = got.P50, got.P99
	r.MBPerSecond, r.Background, r.KBPerIdle = got.MB/got.Seconds, got.Background, got.KBPerIdle
	units := got.Requests / 1e4
	if w.perGB {
		units = got.MB / 1e3
	}
	r.GatewayCPU = (after.gateway - before.gateway) / units
	r.ConnectorCPU = (after.connector - before.connector) / units
	r.BackendCPU = (after.backend - before.backend) / units
	r.GatewayPSS, r.ConnectorPSS = after.gatewayPSS, after.connectorPSS
}

func (r *row) allocate(a allocations) { r.GatewayAllocs, r.ConnectorAllocs = a.gateway, a.connector }

// line is what the terminal shows while a run goes on.
func (r *row) line() string {
	if r.Void != "" {
		return fmt.Sprintf("%2d %-14s %-18s void: %s", r.Round+1, r.Workload, r.Target, r.Void)
	}
	return fmt.Sprintf("%2d %-14s %-18s %9.0f req/s  p50 %8.2f ms  p99 %8.2f ms  %8.1f MB/s  cpu %.2f + %.2f",
		r.Round+1, r.Workload, r.Target, r.RequestsPerSecond, r.P50, r.P99, r.MBPerSecond, r.GatewayCPU, r.ConnectorCPU)
}

// A report is a whole run.
type report struct {
	Date       string   `json:"date"`
	Machine    string   `json:"machine"`
	Versions   []string `json:"versions"`
	Rounds     int      `json:"rounds"`
	Duration   string   `json:"duration"`
	LoadBefore string   `json:"load_before"`
	LoadAfter  string   `json:"load_after"`
	Loads      []string `json:"load_of_rounds"` // before each
	Rows       []row    `json:"rows"`

	targets []string
}

func newReport(o options, l *lab) *report {
	r := &report{
		Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Machine: machine(), Versions: l.versions,
		Rounds: o.rounds, Duration: o.duration.String(), LoadBefore: loadAverage(),
	}
	for _, t := range l.targets {
		r.targets = append(r.targets, t.name)
	}
	return r
}

// readReport reads what write wrote, to write it again in another form.
func readReport(file string) (*report, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	for _, row := range r.Rows {
		if !slices.Contains(r.targets, row.Target) {
			r.targets = append(r.targets, row.Target)
		}
	}
	return r, nil
}

func (r *report) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(r.markdown()), 0o644)
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measurements\n\nWritten by `make bench`. %s, %s. %d rounds of %s (twice that from 256 connections on). Load average before %s, after %s.\n",
		r.Date, r.Machine, r.Rounds, r.Duration, r.LoadBefore, r.LoadAfter)
	fmt.Fprintf(&b, "Software: %s.\n", strings.Join(r.Versions, "; "))
	r.unrest(&b)
	r.goalsTable(&b)
	b.WriteString(howMeasured)
	for _, w := range workloads {
		r.table(&b, w)
	}
	b.WriteString("\n" + strings.TrimSpace(notes) + "\n")
	return b.String()
}

// notes is what was found out by other means than a run of this program.
//
//go:embed NOTES.md
var notes string

const howMeasured = `
Device, target and server share the machine, so a ratio is worth more than a figure. Every round runs every target once per workload, every other round backwards.
Ratios are taken within a round; figures are medians over the rounds, with the (range). The goals are for causeway-instance, with identity, policy, mapping,
limits, metrics and request ids; tunnel-bare is the same channel and the same HTTP reader and writer, with deadlines, and without all of these and without
logs and the watch for devices that left. causeway is the whole path with the balancer; these three alternate in turns of 1.5 s, and a row is the sum of eight.
backend is the server itself, without TLS.

CPU is seconds of all processes of a side per 10,000 requests, or per GB for the bulk workloads: gateway side, connection point, server. PSS is memory after
the workload: gateway side, connection point. Allocations are per request, gateway and connection point, counted in the middle of a measurement. others is
the share of the machine that went to somebody else meanwhile. A row is void when one request was not answered as expected. Ratios are of req/s; of MB/s for
bulk; of p99 for the open loop (fix...).
`

// mostOthers is what others may have of the machine in the median row: the kernel's own work is among it.
const mostOthers = 0.1

// unrest says what the machine did beside the measurements.
func (r *report) unrest(b *strings.Builder) {
	var shares []float64
	for _, row := range r.Rows {
		shares = append(shares, row.Others)
	}
	slices.Sort(shares)
	if n := len(shares); n > 0 {
		fmt.Fprintf(b, "Others had %.0f %% of the machine in the median row and %.0f %% in the worst. Load average at the start of each round: %s.\n",
			middle(shares)*100, shares[n-1]*100, strings.Join(r.Loads, "; "))
	}
	if n := len(shares); n > 0 && middle(shares) > mostOthers {
		b.WriteString("\n**The machine was not quiet**: others used it all the time. No figure here is worth keeping.\n")
	}
	if spread := r.spread(); spread > 1.15 {
		fmt.Fprintf(b, "\n**The machine was not quiet**: go-direct over haproxy moved by a factor of %.2f between the rounds of workload a. Read the ranges.\n", spread)
	}
}

// table writes one workload, if it was measured.
func (r *report) table(b *strings.Builder, w workload) {
	if !slices.ContainsFunc(r.Rows, func(row row) bool { return row.Workload == w.name }) {
		return
	}
	fmt.Fprintf(b, "\n## %s: %s\n\n", w.name, w.what)
	b.WriteString("| target | req/s | MB/s | / haproxy | / go-direct | p50 ms | p99 ms | CPU gw, cp, server | PSS MiB gw, cp | allocs gw, cp | others | |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range r.targets {
		rows, void := r.of(w.name, name)
		if len(rows) == 0 && void == "" {
			continue
		}
		if len(rows) == 0 {
			fmt.Fprintf(b, "| %s | | | | | | | | | | | void: %s |\n", name, void)
			continue
		}
		note := ""
		if void != "" {
			note = "some rounds void: " + void
		}
		switch w.name {
		case "idle":
			note += fmt.Sprintf("**%.1f KB per connection** (KB of 1,000 B)", median(rows, kilobytes))
		case "idle-channel":
			note += fmt.Sprintf("**%.1f KiB per channel set**", median(rows, kibibytes))
		}
		if background := median(rows, func(r row) float64 { return r.Background }); background > 0 {
			note += fmt.Sprintf("beside %.0f MB/s", background)
		}
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %s | %s | %.2f | %.2f | %.2f, %.2f, %.2f | %.1f, %.1f | %s | %.0f %% | %s |\n", name,
			median(rows, func(r row) float64 { return r.RequestsPerSecond }), median(rows, func(r row) float64 { return r.MBPerSecond }),
			r.ratio(w, rows, "haproxy"), r.ratio(w, rows, "go-direct"),
			median(rows, func(r row) float64 { return r.P50 }), median(rows, func(r row) float64 { return r.P99 }),
			median(rows, func(r row) float64 { return r.GatewayCPU }), median(rows, func(r row) float64 { return r.ConnectorCPU }),
			median(rows, func(r row) float64 { return r.BackendCPU }),
			median(rows, func(r row) float64 { return r.GatewayPSS / 1024 }), median(rows, func(r row) float64 { return r.ConnectorPSS / 1024 }),
			allocationsOf(rows), median(rows, func(r row) float64 { return r.Others * 100 }), note)
	}
}

// of returns the good rows of a target under a workload, and why a bad one was void.
func (r *report) of(workload, target string) (rows []row, void string) {
	for _, row := range r.Rows {
		switch {
		case row.Workload != workload || row.Target != target:
		case row.Void != "":
			void = strings.ReplaceAll(strings.ReplaceAll(row.Void, "\n", " "), "|", "/")
		default:
			rows = append(rows, row)
		}
	}
	return rows, void
}

// figure is what two targets are compared by: how fast, or, where the pace is given, how late at the 99th percentile.
func figure(w workload, r row) float64 {
	switch {
	case w.perGB:
		return r.MBPerSecond
	case strings.HasPrefix(w.name, "fix"):
		return r.P99
	case w.fresh:
		return 0 // memory: a process that grows in steps has no ratio
	}
	return r.RequestsPerSecond
}

// ratio compares rows with those of another target in the same rounds.
func (r *report) ratio(w workload, rows []row, with string) string {
	others, _ := r.of(w.name, with)
	var ratios []float64
	for _, mine := range rows {
		for _, other := range others {
			if base := figure(w, other); other.Round == mine.Round && base > 0 {
				ratios = append(ratios, figure(w, mine)/base)
			}
		}
	}
	switch len(ratios) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("%.2f", ratios[0])
	}
	slices.Sort(ratios)
	return fmt.Sprintf("%.2f (%.2f-%.2f)", middle(ratios), ratios[0], ratios[len(ratios)-1])
}

// spread is how far go-direct / haproxy moved under workload a: the unrest of the machine.
func (r *report) spread() float64 {
	direct, _ := r.of("a", "go-direct")
	others, _ := r.of("a", "haproxy")
	low, high := 0.0, 0.0
	for _, d := range direct {
		for _, h := range others {
			if d.Round != h.Round {
				continue
			}
			ratio := d.RequestsPerSecond / h.RequestsPerSecond
			if low == 0 || ratio < low {
				low = ratio
			}
			high = max(high, ratio)
		}
	}
	if low == 0 {
		return 0
	}
	return high / low
}

func allocationsOf(rows []row) string {
	column := func(get func(row) *float64) string {
		var values []float64
		for _, r := range rows {
			if n := get(r); n != nil {
				values = append(values, *n)
			}
		}
		if len(values) == 0 {
			return "-"
		}
		slices.Sort(values)
		return fmt.Sprintf("%.1f", middle(values))
	}
	return column(func(r row) *float64 { return r.GatewayAllocs }) + ", " + column(func(r row) *float64 { return r.ConnectorAllocs })
}

func median(rows []row, get func(row) float64) float64 {
	var values []float64
	for _, r := range rows {
		values = append(values, get(r))
	}
	slices.Sort(values)
	return middle(values)
}

// middle returns the median of sorted values.
func middle(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
