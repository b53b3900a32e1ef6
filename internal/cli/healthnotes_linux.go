package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/gateway"
	"github.com/causeway-gateway/causeway/internal/supervise"
)

// instanceNotes say what keeps gateway instances from serving, where no connection point says more.
func instanceNotes(st console.Status) (notes []string) {
	down := make(map[causeway.Slot]bool) // with a note of their own
	for _, c := range st.Channels {
		down[c.Slot] = down[c.Slot] || c.LastError != "" || c.State == "Draining" // which its table says
	}
	for _, i := range st.Instances {
		name := fmt.Sprintf("gateway instance %s (slot %d)", i.ID, i.Slot)
		switch {
		case i.Process.State != elsewhere && i.Process.State != string(supervise.Running):
			notes = append(notes, fmt.Sprintf("%s is %s%s", name, i.Process.State, because(i.Process.LastExit)))
		case i.Process.Silent:
			notes = append(notes, silent(name, i.Process.PID))
		case i.Channels == 0 && !down[i.Slot]:
			notes = append(notes, "no connection point of this host has a channel to "+name+" yet")
		case !i.Healthy && i.Channels > 0:
			notes = append(notes, "the load balancer's probe finds "+name+" not healthy")
		}
	}
	return notes
}

// memoryNoteFor is how long it is told that an instance has turned requests away.
const memoryNoteFor = time.Minute

// memoryNotes say that an instance turns requests away because devices hold its memory by reading slowly. It counts as
// healthy all the same: what it has begun goes on.
func memoryNotes(i console.InstanceStatus, m gateway.MemoryStatus, now time.Time) []string {
	if now.Sub(m.LastRefused) > memoryNoteFor {
		return nil
	}
	used, budget := memorySize(m.UsedBytes>>20<<20), memorySize(m.BudgetBytes)
	return []string{fmt.Sprintf("gateway instance %s (slot %d) turns requests away: bodies for slow readers hold %s of its memory budget of %s; raise memory_budget (--memory-budget) if there is memory, or add instances",
		i.ID, i.Slot, &used, &budget)}
}

// processNote says that a process that is kept running does not run, or does not answer; it is empty when all is well.
func processNote(name string, p console.ProcessStatus) string {
	if p.Silent {
		return silent(name, p.PID)
	}
	if p.State == string(supervise.Running) {
		return ""
	}
	return fmt.Sprintf("%s is %s%s", name, p.State, because(p.LastExit))
}

// silent says what to do about a process that hangs: only one that ends is started again.
func silent(name string, pid int) string {
	return fmt.Sprintf("%s (pid %d) runs, but does not answer; if that lasts, end it, and it is started again: kill -9 %d", name, pid, pid)
}

func because(exit string) string {
	if exit == "" {
		return ""
	}
	return ", after: " + strings.Join(strings.Fields(exit), " ")
}
