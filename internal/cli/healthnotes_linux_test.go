package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/gateway"
)

func TestWhatIsNotHealthyHasAReason(t *testing.T) {
	running := console.ProcessStatus{State: "running"}
	got := instanceNotes(console.Status{
		Instances: []console.InstanceStatus{
			{ID: "gw-1", Slot: 0, Process: running, Healthy: true, Channels: 2},
			{ID: "gw-2", Slot: 1, Process: console.ProcessStatus{State: "waiting", LastExit: "signal:\nkilled"}},
			{ID: "gw-3", Slot: 2, Process: running, Channels: 2},
			{ID: "gw-4", Slot: 3, Process: console.ProcessStatus{State: elsewhere}},
			{ID: "gw-5", Slot: 4, Process: running, Healthy: true}, // the note on its transports says why
			{ID: "gw-6", Slot: 5, Process: console.ProcessStatus{State: "running", PID: 77, Silent: true}},
			{ID: "gw-7", Slot: 6, Process: running, Healthy: true},
		},
		Channels: []console.ChannelStatus{{Slot: 4, LastError: "refused"}, {Slot: 3}, {Slot: 6, State: "Draining"}},
	})
	want := []string{
		"gateway instance gw-2 (slot 1) is waiting, after: signal: killed",
		"the load balancer's probe finds gateway instance gw-3 (slot 2) not healthy",
		"no connection point of this host has a channel to gateway instance gw-4 (slot 3) yet",
		"gateway instance gw-6 (slot 5) (pid 77) runs, but does not answer; if that lasts, end it, and it is started again: kill -9 77",
	}
	if !slices.Equal(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
}

func TestAnInstanceWithoutMemoryHasANote(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	i := console.InstanceStatus{ID: "gw-2", Slot: 1}
	m := gateway.MemoryStatus{UsedBytes: 32<<20 + 4711, BudgetBytes: 32 << 20}
	if got := memoryNotes(i, m, now); got != nil {
		t.Errorf("notes %q of an instance that turned nobody away", got)
	}
	m.LastRefused = now.Add(-10 * time.Second)
	got := memoryNotes(i, m, now)
	if len(got) != 1 || !strings.HasPrefix(got[0], "gateway instance gw-2 (slot 1) turns requests away: bodies for slow readers hold 32MiB of its memory budget of 32MiB; raise memory_budget") {
		t.Errorf("notes %q", got)
	}
	if got := memoryNotes(i, m, now.Add(2*memoryNoteFor)); got != nil {
		t.Errorf("notes %q when it is long past", got)
	}
}
