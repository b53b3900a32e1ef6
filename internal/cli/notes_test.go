package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/connpoint"
)

func TestTooManyInstancesAreNoted(t *testing.T) {
	for _, tt := range []struct {
		instances, points int
		want              string
	}{
		{1, 1, ""}, {4, 1, ""}, {16, 4, ""},
		{5, 1, "; run 2"}, {16, 1, "; run 4"}, {16, 3, "; run 4"}, {9, 2, "; run 3"},
	} {
		got := loadNote(tt.instances, tt.points)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%d instances, %d connection points: %q, want %q", tt.instances, tt.points, got, tt.want)
		}
	}
}

func TestLesserTransportsAreNoted(t *testing.T) {
	better := []connpoint.TransportFailure{{Transport: channel.SlotPort, Address: "gw.test:10124", Error: "no answer\nno route", Hint: "open the port"}}
	notes := transportNotes("cp-1", connpoint.Status{Channels: []connpoint.ChannelStatus{
		{Slot: 0, Transport: channel.SlotPort},
		{Slot: 1, Transport: channel.WebSocket, Better: better},
		{Slot: 2, Better: better},
	}})
	want := []string{
		"connection point cp-1 reaches slot 1 by websocket, because slot-port gw.test:10124: no answer, no route (open the port)",
		"connection point cp-1 does not reach slot 2, because slot-port gw.test:10124: no answer, no route (open the port)",
	}
	if len(notes) != 2 || notes[0] != want[0] || notes[1] != want[1] {
		t.Errorf("notes %q, want %q", notes, want)
	}
}

func TestUnreachableServersAreNoted(t *testing.T) {
	now := time.Now()
	notes := serverNotes("cp-1", connpoint.Status{Servers: []connpoint.ServerStatus{
		{Name: "up", State: "Reachable"}, {Name: "new", State: "Unknown"},
		{Name: "down", State: "Unreachable", LastError: "dial tcp:\nrefused", LastTry: now.Add(-12 * time.Second)},
	}}, now)
	want := "connection point cp-1 does not reach server down, last tried 12s ago: dial tcp: refused"
	if len(notes) != 1 || notes[0] != want {
		t.Errorf("notes %q, want %q", notes, want)
	}
}
