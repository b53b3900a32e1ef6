package cli

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-gateway/causeway/fabric/network"
)

// balancerMetrics turns the balancer's own counts into metrics when they are asked for.
func balancerMetrics(b *network.Balancer) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), balancerCollector{b})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type balancerCollector struct{ b *network.Balancer }

var (
	balancerAccepted = prometheus.NewDesc("causeway_balancer_connections_total", "Connections by what became of them.", []string{"outcome"}, nil)
	balancerHealthy  = prometheus.NewDesc("causeway_balancer_instance_healthy", "Whether the probe finds the instance healthy.", []string{"slot"}, nil)
	balancerHanded   = prometheus.NewDesc("causeway_balancer_instance_connections_total", "Connections handed to the instance.", []string{"slot", "kind"}, nil)
)

func (c balancerCollector) Describe(d chan<- *prometheus.Desc) {
	d <- balancerAccepted
	d <- balancerHealthy
	d <- balancerHanded
}

func (c balancerCollector) Collect(m chan<- prometheus.Metric) {
	st := c.b.Status()
	for outcome, n := range map[string]uint64{"accepted": st.Accepted, "refused": st.Refused, "denied": st.Denied, "error": st.AcceptErrors} {
		m <- prometheus.MustNewConstMetric(balancerAccepted, prometheus.CounterValue, float64(n), outcome)
	}
	for _, in := range st.Instances {
		slot, healthy := strconv.Itoa(int(in.Slot)), 0.0
		if in.Healthy {
			healthy = 1
		}
		m <- prometheus.MustNewConstMetric(balancerHealthy, prometheus.GaugeValue, healthy, slot)
		for kind, n := range map[string]uint64{"public": in.Public, "channel": in.Channels, "busy": in.Busy} {
			m <- prometheus.MustNewConstMetric(balancerHanded, prometheus.CounterValue, float64(n), slot, kind)
		}
	}
}
