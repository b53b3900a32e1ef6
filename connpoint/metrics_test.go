package connpoint

import (
	"bytes"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"

	"github.com/causeway-gateway/causeway/internal/metrictest"
	"github.com/causeway-gateway/causeway/signed"
)

func TestMetricsAreDocumented(t *testing.T) {
	metrictest.Documented(t, "../docs/monitoring.md", "causeway_connpoint_", collector{new(Agent)})
}

// metrics returns what an agent shows of itself.
func metrics(t *testing.T, a *Agent) string {
	t.Helper()
	families, err := a.state.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestChannelsAreCounted(t *testing.T) {
	s := newSite(t, okServer(t))
	one := s.newInstance(3, "i-1", s.ca, testService)
	s.doc.Gateways = []signed.Gateway{s.gateway("gw", one)}
	s.publish()
	a := s.agent()
	a.MaxInFlight = 50
	run(t, a)
	await(t, "two connections", func() bool { return one.connections() == 2 })
	for range 4 {
		if _, err := s.exchange(one, "GET", "/app/", nil, true); err != nil {
			t.Fatal(err)
		}
	}
	const of = `{gateway="gw",slot="3"} `
	await(t, "no request under way", func() bool { return strings.Contains(metrics(t, a), "channel_streams"+of+"0\n") })
	got := metrics(t, a)
	for _, want := range []string{
		"connections" + of + "2", "connections_wanted" + of + "2", "redials_total" + of + "0", "requests_total" + of + "4", "queued_bytes" + of + "0",
		"credit_stalls_total" + of + "0", "bulk_bodies_total" + of + "0", "memory_budget_bytes 2.68435456e+08", "memory_used_bytes 0", "max_in_flight 50",
		`transport{gateway="gw",slot="3",transport="slot-port"} 1`, `transport{gateway="gw",slot="3",transport="websocket"} 0`,
		`bulk_connections{gateway="gw",slot="3",state="idle"} 0`, `bulk_connections{gateway="gw",slot="3",state="in_use"} 0`,
	} {
		if want = "causeway_connpoint_channel_" + want + "\n"; !strings.Contains(got, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, direction := range []string{directionRequest, directionAnswer} {
		if strings.Contains(got, `channel_bytes_total{gateway="gw",slot="3",direction="`+direction+"\"} 0\n") {
			t.Errorf("no bytes of direction %s", direction)
		}
	}
}
