package gateway

import (
	"testing"

	"github.com/causeway-gateway/causeway/internal/metrictest"
)

func TestMetricsAreDocumented(t *testing.T) {
	var r metrictest.Registry
	if _, err := newMetrics(&r); err != nil {
		t.Fatal(err)
	}
	metrictest.Documented(t, "../docs/monitoring.md", "causeway_gateway_", append(r.Collectors, collector{})...)
}
