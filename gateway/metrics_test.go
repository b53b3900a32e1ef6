package gateway

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/metrictest"
)

func TestMetricsAreDocumented(t *testing.T) {
	var r metrictest.Registry
	if _, err := newMetrics(&r); err != nil {
		t.Fatal(err)
	}
	metrictest.Documented(t, "../docs/monitoring.md", "causeway_gateway_", append(r.Collectors, collector{})...)
}

// channelsOf is a backend with channels to tell of.
type channelsOf struct {
	*fakeBackend
	status []channel.SetStatus
}

func (c channelsOf) Status() []channel.SetStatus { return c.status }

func TestChannelsAreCounted(t *testing.T) {
	in := prepare(t)
	in.Server.exchanger = channelsOf{in.backend, []channel.SetStatus{{
		ConnectionPoint: "cp-1", Connections: 2, RoundTrip: 250 * time.Millisecond, Streams: 3, Requests: 4, BytesIn: 5, BytesOut: 6,
		CreditStalls: 7, QueuedBytes: 8, BulkConnections: 5, BulkUsed: 1, Dials: 9, Transports: map[channel.Transport]int{channel.WebSocket: 2},
	}}}
	families, err := in.Server.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		`bulk_connections{connection_point="cp-1",state="idle"} 4`, `bulk_connections{connection_point="cp-1",state="in_use"} 1`,
		`bytes_total{connection_point="cp-1",direction="answer"} 5`, `bytes_total{connection_point="cp-1",direction="request"} 6`,
		`connections{connection_point="cp-1"} 2`, `credit_stalls_total{connection_point="cp-1"} 7`, `dials_total{connection_point="cp-1"} 9`,
		`memory_budget_bytes 1.048576e+06`, `memory_used_bytes 4096`, `queued_bytes{connection_point="cp-1"} 8`,
		`transport_connections{connection_point="cp-1",transport="slot-port"} 0`, `transport_connections{connection_point="cp-1",transport="websocket"} 2`,
		`requests_total{connection_point="cp-1"} 4`, `round_trip_seconds{connection_point="cp-1"} 0.25`, `streams{connection_point="cp-1"} 3`,
	} {
		if want = "causeway_gateway_channel_" + want + "\n"; !strings.Contains(got.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// Who writes a rule must know which values there are, and what is counted must be there before its first event.
func TestLabelValuesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	if _, err := newMetrics(reg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]int)
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				there[l.GetName()]++
				documented := false
				for line := range strings.Lines(string(doc)) {
					documented = documented || strings.HasPrefix(line, "| "+l.GetName()+" | ") && strings.Contains(line, "`"+l.GetValue()+"`") &&
						(strings.Contains(line, "`"+f.GetName()+"`") || strings.Contains(line, "all that have it"))
				}
				if !documented {
					t.Errorf("docs/monitoring.md has no %s=%q of %s", l.GetName(), l.GetValue(), f.GetName())
				}
			}
		}
	}
	for label, least := range map[string]int{"class": 6, "direction": 2, "limit": 5, "reason": 7, "result": 15} {
		if there[label] < least {
			t.Errorf("%d values of %s are there from the start, want %d", there[label], label, least)
		}
	}
}
