package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/console"
)

func TestChannelsAreShown(t *testing.T) {
	var b strings.Builder
	if err := channelTable(&b, nil); err != nil || b.Len() != 0 {
		t.Errorf("without channels: %q, %v", b.String(), err)
	}
	err := channelTable(&b, []console.ChannelStatus{
		{ConnectionPoint: "cp-1", Slot: 3, State: "Connected", Transport: "websocket", Connected: 2, Wanted: 2, RoundTrip: 1234567 * time.Nanosecond, Streams: 7},
		{ConnectionPoint: "cp-2", Slot: 15, State: "Disconnected", Wanted: 2, LastError: "dial\ntcp: \x1b[31mrefused"},
	})
	want := `CHANNEL          STATE         CONNECTIONS  ROUND TRIP  STREAMS  TRANSPORT  LAST ERROR
cp-1 to slot 3   Connected     2 of 2       1.23ms      7        websocket  -
cp-2 to slot 15  Disconnected  0 of 2       -           0        -          dial tcp: ?[31mrefused

`
	if got := b.String(); err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}
