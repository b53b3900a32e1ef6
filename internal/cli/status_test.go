package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
)

func TestChannelsAreShown(t *testing.T) {
	var b strings.Builder
	if err := channelTable(&b, nil); err != nil || b.Len() != 0 {
		t.Errorf("without channels: %q, %v", b.String(), err)
	}
	err := channelTable(&b, []console.ChannelStatus{
		{ConnectionPoint: "cp-1", Slot: 3, State: "Connected", Transport: "websocket", Connected: 2, Wanted: 2, RoundTrip: 1234567 * time.Nanosecond, Streams: 7},
		{ConnectionPoint: "cp-1", Slot: 4, State: "Connected", Transport: "slot-port", Proxy: "http://proxy.test:3128", Connected: 1, Wanted: 2, LastError: "slot-port: " + strings.Repeat("ä", 40) + " refused"},
		{ConnectionPoint: "cp-2", Slot: 15, State: "Disconnected", Wanted: 2, LastError: "dial\ntcp: \x1b[31mrefused"},
		{ConnectionPoint: "cp-3", State: "\x1b]0;owned\a\nUp", Transport: "\x1b[8m\tslot-port", Connected: 1, Wanted: 2},
		{ConnectionPoint: "cp-4", State: unknownState},
	})
	want := `CHANNEL          STATE          CONNECTIONS  ROUND TRIP  STREAMS  TRANSPORT                             LAST ERROR
cp-1 to slot 3   Connected      2 of 2       1.23ms      7        websocket                             -
cp-1 to slot 4   Connected      1 of 2       0s          0        slot-port via http://proxy.test:3128  …äääääääääääääääääääääääääääääääääääääää refused
cp-2 to slot 15  Disconnected   0 of 2       -           0        -                                     dial tcp: ?[31mrefused
cp-3 to slot 0   ?]0;owned? Up  1 of 2       0s          0        ?[8m slot-port                        -
cp-4 to slot 0   Unknown        -            -           0        -                                     -

`
	if got := b.String(); err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestServersAreShownAsTheyAreReached(t *testing.T) {
	var servers []console.Published
	for _, name := range []causeway.ServerName{"a", "b", "c", "d"} {
		var s console.Published
		s.Name = name
		servers = append(servers, s)
	}
	states := []console.ServerStatus{
		{Server: "a", ConnectionPoint: "cp-1", State: "Reachable"}, {Server: "a", ConnectionPoint: "cp-2", State: "Unknown"},
		{Server: "b", ConnectionPoint: "cp-1", State: "Reachable"}, {Server: "b", ConnectionPoint: "cp-2", State: "Unreachable"},
		{Server: "c", ConnectionPoint: "cp-1", State: "Unreachable"}, {Server: "c", ConnectionPoint: "cp-2", State: "Unreachable"},
		{Server: "d", ConnectionPoint: "cp-1", State: "Unknown"}, {Server: "d", ConnectionPoint: "cp-2", State: "Unknown"},
	}
	var b strings.Builder
	err := serverTable(&b, servers, states)
	want := `SERVER  OUTSIDE  INSIDE  ENDPOINTS  STATE
a                        /          reachable
b                        /          unreachable from cp-2
c                        /          unreachable
d                        /          not asked yet
`
	if got := b.String(); err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestInstancesShowTheWaysOfTheirChannels(t *testing.T) {
	for want, i := range map[string]console.InstanceStatus{
		"0":                            {},
		"2":                            {Channels: 2, Transports: map[string]int{"slot-port": 2}},
		"4 (1 slot-port, 3 websocket)": {Channels: 4, Transports: map[string]int{"websocket": 3, "slot-port": 1}},
	} {
		if got := channelCell(i); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
