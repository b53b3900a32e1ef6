package window

import (
	"testing"
	"time"
)

func TestWindowFollowsTheRoundTrip(t *testing.T) {
	for _, c := range []struct {
		roundTrip time.Duration
		want      int
	}{
		{0, minBytes},
		{100 * time.Microsecond, minBytes},
		{12 * time.Millisecond, 3_000_000},
		{100 * time.Millisecond, maxBytes},
		{10 * time.Hour, maxBytes},
	} {
		if got := forRoundTrip(c.roundTrip); got != c.want {
			t.Errorf("round trip of %v: window of %d bytes, want %d", c.roundTrip, got, c.want)
		}
	}
}
