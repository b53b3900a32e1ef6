package connpoint

import (
	"testing"

	"github.com/causeway-gateway/causeway/internal/metrictest"
)

func TestMetricsAreDocumented(t *testing.T) {
	metrictest.Documented(t, "../docs/monitoring.md", "causeway_connpoint_", collector{new(Agent)})
}
