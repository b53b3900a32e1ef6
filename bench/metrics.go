//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// allocations are what one request costs in the middle of a measurement, when every connection is long made.
type allocations struct{ gateway, connector *float64 } // nil: nobody counts

// countAllocations reads the counters of t's processes twice while a workload of that duration goes on. What it costs
// them to show their counters once is found out before, and does not count.
func countAllocations(t *target, duration time.Duration) <-chan allocations {
	gatewayAsked, connectorAsked := askingCosts(t.gatewayMetrics), askingCosts(t.connectorMetrics)
	result := make(chan allocations, 1)
	go func() {
		time.Sleep(duration * 3 / 10)
		gateway, connector := countersOf(t.gatewayMetrics), countersOf(t.connectorMetrics)
		gateway.mallocs += gatewayAsked
		connector.mallocs += connectorAsked
		time.Sleep(duration * 6 / 10)
		result <- allocations{countersOf(t.gatewayMetrics).perRequestSince(gateway), countersOf(t.connectorMetrics).perRequestSince(connector)}
	}()
	return result
}

// askingCosts is how many allocations one look at the counters of one side costs it.
func askingCosts(list func() []string) float64 {
	first := countersOf(list)
	return countersOf(list).mallocs - first.mallocs
}

// counters are what Go programs count of themselves, summed over the processes of one side.
type counters struct {
	mallocs, requests float64
	live              float64 // bytes of heap and stacks
}

func (c counters) perRequestSince(before counters) *float64 {
	if c.requests <= before.requests {
		return nil
	}
	n := (c.mallocs - before.mallocs) / (c.requests - before.requests)
	return &n
}

// countersOf reads the metrics at the sockets that list names, if anybody shows any.
func countersOf(list func() []string) (sum counters) {
	if list == nil {
		return sum
	}
	for _, socket := range list() {
		c := scrape(socket)
		sum.mallocs += c.mallocs
		sum.requests += c.requests
		sum.live += c.live
	}
	return sum
}

// requestCounters are the names under which requests are counted, with labels or without.
var requestCounters = []string{"causeway_gateway_requests_total", "causeway_connpoint_server_requests_total", "bench_requests_total"}

func scrape(socket string) (c counters) {
	answer, err := onSocket(socket).Get("http://role/metrics")
	if err != nil {
		return c
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		n, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64)
		if err != nil {
			continue
		}
		switch {
		case name == "go_memstats_mallocs_total":
			c.mallocs = n
		case name == "go_memstats_heap_alloc_bytes" || name == "go_memstats_stack_inuse_bytes":
			c.live += n
		default:
			for _, counter := range requestCounters {
				if name == counter {
					c.requests += n
				}
			}
		}
	}
	return c
}

// onSocket is a client of what answers at a unix socket.
func onSocket(socket string) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
}

// ask reads JSON from a role's surface.
func ask(socket, path string, into any) error {
	answer, err := onSocket(socket).Get("http://role" + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(into)
}
