package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
)

// instancesPerPoint is how many gateway instances one connection point serves well.
const instancesPerPoint = 4

// loadNote warns of a site whose connection points have too many instances to serve; it is empty when all is well.
func loadNote(instances, points int) string {
	if instances <= instancesPerPoint*points {
		return ""
	}
	need := (instances + instancesPerPoint - 1) / instancesPerPoint
	return fmt.Sprintf("too few connection points: %d for %d gateway instances, and each should serve %d at most; run %d", points, instances, instancesPerPoint, need)
}

// warnOfLoad writes the same once, where the site starts.
func warnOfLoad(log *roleLog, instances, points int) {
	if note := loadNote(instances, points); note != "" {
		log.Warn("too many gateway instances for the connection points", "instances", instances, "connection_points", points, "hint", note)
	}
}

// transportNotes say of a connection point why it does not reach instances in the best way.
func transportNotes(id causeway.ConnectionPointID, st connpoint.Status) (notes []string) {
	for _, c := range st.Channels {
		if len(c.Better) == 0 {
			continue
		}
		hint := connpoint.Hints(c.Better)
		if hint != "" {
			hint = " (" + hint + ")"
		}
		way := "does not reach slot %d"
		if c.Transport != "" {
			way = "reaches slot %d by " + string(c.Transport)
		}
		notes = append(notes, fmt.Sprintf("connection point %s "+way+", because %s%s", id, c.Slot, connpoint.Causes(c.Better), hint))
	}
	return notes
}

// serverNotes say which servers a connection point does not reach.
func serverNotes(id causeway.ConnectionPointID, st connpoint.Status, now time.Time) (notes []string) {
	for _, s := range st.Servers {
		if s.State != "Unreachable" {
			continue
		}
		notes = append(notes, fmt.Sprintf("connection point %s does not reach server %s, last tried %s ago: %s", id, s.Name,
			max(0, now.Sub(s.LastTry)).Round(time.Second), strings.Join(strings.Fields(s.LastError), " ")))
	}
	return notes
}
