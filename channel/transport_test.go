package channel

import (
	"testing"

	"github.com/causeway-gateway/causeway"
)

func TestSlotsHaveOneSpelling(t *testing.T) {
	for n := range causeway.Slot(causeway.MaxSlots) {
		if got, ok := ParseALPN([]string{"h2", ALPN(n), "http/1.1"}); !ok || got != n {
			t.Errorf("ParseALPN(%q) = %d, %v", ALPN(n), got, ok)
		}
		if got, ok := ParseWebSocketPath(WebSocketPath(n)); !ok || got != n {
			t.Errorf("ParseWebSocketPath(%q) = %d, %v", WebSocketPath(n), got, ok)
		}
	}
	for _, text := range []string{"", "16", "-1", "+1", "01", "1 ", "1/", "x", "1.0", "99999999999999999999"} {
		if n, ok := ParseALPN([]string{alpnPrefix + text}); ok {
			t.Errorf("ALPN with slot %q is taken for %d", text, n)
		}
		if n, ok := ParseWebSocketPath(webSocketPrefix + text); ok {
			t.Errorf("path with slot %q is taken for %d", text, n)
		}
	}
	for _, other := range []string{"", "/", "/causeway-channel", "/causeway-channel/2/1", "/CAUSEWAY-CHANNEL/1/1", "causeway-channel/1/1"} {
		if _, ok := ParseWebSocketPath(other); ok {
			t.Errorf("path %q is taken for a channel's", other)
		}
	}
	if _, ok := ParseALPN([]string{"h2", "http/1.1"}); ok {
		t.Error("a device's protocols are taken for a channel's")
	}
}
