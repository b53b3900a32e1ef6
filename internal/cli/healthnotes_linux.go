package cli

import (
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/supervise"
)

// instanceNotes say what keeps gateway instances from serving, where no connection point says more.
func instanceNotes(st console.Status) (notes []string) {
	down := make(map[causeway.Slot]bool) // with a note of their own
	for _, c := range st.Channels {
		down[c.Slot] = down[c.Slot] || c.LastError != ""
	}
	for _, i := range st.Instances {
		name := fmt.Sprintf("gateway instance %s (slot %d)", i.ID, i.Slot)
		switch {
		case i.Process.State != elsewhere && i.Process.State != string(supervise.Running):
			notes = append(notes, fmt.Sprintf("%s is %s%s", name, i.Process.State, because(i.Process.LastExit)))
		case i.Channels == 0 && !down[i.Slot]:
			notes = append(notes, "no connection point of this host has a channel to "+name+" yet")
		case !i.Healthy && i.Channels > 0:
			notes = append(notes, "the load balancer's probe finds "+name+" not healthy")
		}
	}
	return notes
}

// processNote says that a process that is kept running does not run; it is empty when all is well.
func processNote(name string, p console.ProcessStatus) string {
	if p.State == string(supervise.Running) {
		return ""
	}
	return fmt.Sprintf("%s is %s%s", name, p.State, because(p.LastExit))
}

func because(exit string) string {
	if exit == "" {
		return ""
	}
	return ", after: " + strings.Join(strings.Fields(exit), " ")
}
