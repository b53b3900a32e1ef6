//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metrics is what one scrape said.
type metrics map[string]*dto.MetricFamily

// scrape reads the metrics of all roles of a site; it returns nil when they cannot be had.
func (s *site) scrape() metrics {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(s.AdminURL + "/metrics")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) metrics {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil
	}
	return families
}

// each calls f for every series of a metric, with its labels.
func (m metrics) each(name string, f func(labels map[string]string, value float64)) {
	for _, metric := range m[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range metric.Label {
			labels[l.GetName()] = l.GetValue()
		}
		f(labels, metric.GetGauge().GetValue()+metric.GetCounter().GetValue()+metric.GetUntyped().GetValue())
	}
}

// count returns how many series of a metric have a value that ok accepts.
func (m metrics) count(name string, ok func(float64) bool) (n int) {
	m.each(name, func(_ map[string]string, v float64) {
		if ok(v) {
			n++
		}
	})
	return n
}

// connected reports whether every connection point has all its channels to every instance, as both sides see it.
func (s *site) connected() bool {
	m := s.scrape()
	pairs := len(s.Instances) * len(s.ConnectionPoints)
	open := map[[2]string]float64{}
	m.each("causeway_connpoint_channel_connections", func(l map[string]string, v float64) { open[[2]string{l["instance"], l["slot"]}] = v })
	full := 0
	m.each("causeway_connpoint_channel_connections_wanted", func(l map[string]string, v float64) {
		if v > 0 && open[[2]string{l["instance"], l["slot"]}] == v {
			full++
		}
	})
	return full == pairs && m.count("causeway_gateway_channel_connections", func(v float64) bool { return v > 0 }) == pairs
}

// waitConnected returns when all channels are up, and how long that took.
func (s *site) waitConnected(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	eventually(t, 60*time.Second, "every connection point has its channels to every instance", s.connected)
	return time.Since(begin)
}

// idleGauges are zero when nobody asks for anything: what a request leaves behind shows in one of them.
var idleGauges = []string{
	"causeway_gateway_requests_in_flight",
	"causeway_gateway_server_requests_in_flight",
	"causeway_gateway_upgraded_connections",
	"causeway_gateway_tls_handshakes_in_flight",
	"causeway_gateway_channel_memory_used_bytes",
	"causeway_connpoint_server_requests_in_flight",
	"causeway_connpoint_channel_memory_used_bytes",
	"causeway_gateway_channel_streams",
	"causeway_connpoint_channel_streams",
	"causeway_gateway_channel_bulk_connections",
	"causeway_connpoint_channel_bulk_connections",
}

// checkIdle fails the test when requests of it are still under way somewhere, or their memory is still held, although
// all its devices are gone. A site that was stopped or has a process that was is left alone.
func (s *site) checkIdle(t *testing.T) {
	t.Helper()
	if t.Failed() || s.ended() {
		return
	}
	var busy []string
	const patience = 45 * time.Second
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		m := s.scrape()
		if m == nil || s.ended() {
			return // on its way down
		}
		if busy = m.busy(); len(busy) == 0 {
			return
		}
	}
	t.Errorf("%s after its last device left, the site is not idle: %s", patience, strings.Join(busy, ", "))
}

// busy names the idle gauges that are not zero, or that nobody shows.
func (m metrics) busy() (names []string) {
	for _, always := range []string{idleGauges[0], "causeway_connpoint_channel_memory_used_bytes"} {
		if m[always] == nil {
			names = append(names, "no "+always)
		}
	}
	for _, name := range idleGauges {
		m.each(name, func(labels map[string]string, v float64) {
			if v != 0 && labels["state"] != "idle" {
				names = append(names, fmt.Sprintf("%s%v = %v", name, labels, v))
			}
		})
	}
	return names
}
