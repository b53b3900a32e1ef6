//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wrkScript makes wrk send what the workload says and print its figures as JSON.
const wrkScript = `
if os.getenv("BENCH_METHOD") == "POST" then
	wrk.method = "POST"
	wrk.body = string.rep("x", 4096)
end
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'\nJSON {"requests":%d,"micros":%d,"bytes":%d,"p50":%d,"p99":%d,"status":%d,"socket":%d}\n',
		summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
		e.status, e.connect + e.read + e.write + e.timeout))
end
`

// wrkLoad is a closed loop of keep-alive connections, driven by wrk.
func wrkLoad(connections int, method, path string) func(context.Context, *lab, *target, time.Duration) (result, error) {
	return func(ctx context.Context, l *lab, t *target, duration time.Duration) (result, error) {
		script, err := l.write("wrk.lua", wrkScript)
		if err != nil {
			return result{}, err
		}
		out, err := l.tool(ctx, []string{"BENCH_METHOD=" + method}, "wrk", "-t1", "-c"+strconv.Itoa(connections),
			"-d"+seconds(duration), "--timeout", "10s", "-s", script, "-H", "Host: "+serviceName, t.url(path))
		if err != nil {
			return result{}, err
		}
		_, after, found := strings.Cut(out, "JSON ")
		if !found {
			return result{}, fmt.Errorf("wrk printed no figures: %s", out)
		}
		var got struct{ Requests, Micros, Bytes, P50, P99, Status, Socket float64 }
		if err := json.Unmarshal([]byte(after), &got); err != nil {
			return result{}, err
		}
		if got.Status > 0 || got.Socket > 0 || got.Requests == 0 {
			return result{}, fmt.Errorf("%.0f answers, %.0f with a bad status, %.0f socket errors", got.Requests, got.Status, got.Socket)
		}
		return result{Requests: got.Requests, Seconds: got.Micros / 1e6, P50: got.P50 / 1e3, P99: got.P99 / 1e3, MB: got.Bytes / 1e6}, nil
	}
}

var (
	h2Finished = regexp.MustCompile(`finished in ([0-9.]+)(m?s), `)
	h2Requests = regexp.MustCompile(`requests: (\d+) total, .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2Statuses = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
)

// h2Load is a closed loop of 64 streams on one HTTP/2 connection.
func h2Load(ctx context.Context, l *lab, t *target, duration time.Duration) (result, error) {
	log := filepath.Join(l.dir, "h2load.log")
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return result{}, err
	}
	out, err := l.tool(ctx, nil, "h2load", "-c1", "-m64", "-t1", "-D"+seconds(duration), "--log-file="+log,
		"--connect-to="+t.address, "https://"+serviceName+"/files/1k")
	if err != nil {
		return result{}, err
	}
	statuses := h2Statuses.FindStringSubmatch(out)
	requests := h2Requests.FindStringSubmatch(out)
	if statuses == nil || requests == nil || !h2Finished.MatchString(out) {
		return result{}, fmt.Errorf("h2load printed no figures: %s", out)
	}
	if slices.ContainsFunc(append(statuses[2:], requests[4:]...), func(n string) bool { return n != "0" }) || statuses[1] == "0" {
		return result{}, fmt.Errorf("%s; %s", requests[0], statuses[0])
	}
	times, err := h2Times(log)
	if err != nil {
		return result{}, err
	}
	// Only what was answered within the time counts, which is what the log holds.
	n := float64(len(times))
	return result{Requests: n, Seconds: duration.Seconds(), P50: percentile(times, 50), P99: percentile(times, 99), MB: n * 1024 / 1e6}, nil
}

// h2Times reads the latencies, in milliseconds, of h2load's log: start, status and duration in microseconds per line.
func h2Times(log string) ([]float64, error) {
	data, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	var times []float64
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[1] != "200" {
			return nil, fmt.Errorf("h2load logged %q", line)
		}
		micros, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return nil, err
		}
		times = append(times, micros/1e3)
	}
	if len(times) == 0 {
		return nil, errors.New("h2load logged no request")
	}
	return times, nil
}

// tool runs a load tool that shows the device's certificate when it is asked for one.
func (l *lab) tool(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), append(env,
		"LD_PRELOAD="+l.preload, "BENCH_CLIENT_CERT="+l.keys.deviceCertFile, "BENCH_CLIENT_KEY="+l.keys.deviceKeyFile)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

// seconds rounds up to what the tools take: whole seconds, at least one.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))) + "s"
}

// percentile returns the p-th percentile of values, which it sorts.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(float64(len(values))*p/100))]
}
