package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/supervise"
	"github.com/causeway-gateway/causeway/signed"
)

// elsewhere is the state of a process that the site does not see: it runs on another host, or not at all.
const elsewhere = "elsewhere"

// Status answers the admin API. What the site knows of the gateway is what connection points of this host see of it.
func (s *siteRun) Status(ctx context.Context) (console.Status, error) {
	servers, err := s.Servers(ctx)
	if err != nil {
		return console.Status{}, err
	}
	points, hung := s.askPoints(ctx)
	st := console.Status{
		Site: s.store.ID(), Version: readBuildInfo().Version, State: string(s.dir), PID: os.Getpid(), Since: s.since.UTC(),
		GatewayURL: s.gatewayURL(), AdminURL: s.admin.url, LogsDir: s.dir.logs(), Servers: servers,
		Documents: map[string]uint64{"generation": s.generationNow()},
		Healthy:   true,
	}
	if note := loadNote(len(s.gateway.Instances), len(s.points)); note != "" {
		st.Notes = append(st.Notes, note)
	}
	if len(points) == 0 {
		st.Notes = append(st.Notes, "no connection point of this host answers: whether devices are served is not known here"+
			" (export one with \"causeway site export\" and run it; the status of one on another host is on that host)")
	}
	for _, in := range s.gateway.Instances {
		i := console.InstanceStatus{ID: in.ID, Slot: in.Slot, Process: console.ProcessStatus{State: elsewhere}, ChannelPort: in.ChannelPort}
		i.Channels, i.Generation, i.Transports = seen(points, in.Slot)
		i.Healthy = i.Channels > 0
		st.Healthy = st.Healthy && (i.Healthy || len(points) == 0)
		st.Instances = append(st.Instances, i)
	}
	for _, cp := range s.points {
		c := console.ConnectionPointStatus{ID: cp.ID, Process: console.ProcessStatus{State: elsewhere}}
		own, answers := points[cp.ID]
		switch {
		case answers:
			c.Process.State, c.Process.Since, c.Generation = string(supervise.Running), own.Since, own.Configuration.Generation
			for _, ch := range own.Channels {
				c.Channels += ch.Connected
			}
			st.Channels = append(st.Channels, channelsOf(own)...)
			st.ServerStates = append(st.ServerStates, serversOf(own)...)
			st.Notes = append(st.Notes, transportNotes(cp.ID, own)...)
			st.Notes = append(st.Notes, serverNotes(cp.ID, own, time.Now())...)
		case hung[cp.ID]:
			c.Process.State, c.Process.Silent = string(supervise.Running), true
			st.Healthy = false
			st.Channels = append(st.Channels, unknownChannels(cp.ID, s.gateway.Instances)...)
			st.Notes = append(st.Notes, fmt.Sprintf("connection point %s runs, but does not answer; if that lasts, end it with kill -9, and start it again", cp.ID))
		case s.isHere(cp.ID):
			c.Process.State = string(supervise.Stopped)
			st.Healthy = false
			st.Notes = append(st.Notes, fmt.Sprintf("connection point %s does not run; start it with: %s", cp.ID, s.homeOf(cp.ID).startLine()))
		}
		st.ConnectionPoints = append(st.ConnectionPoints, c)
	}
	if !st.Healthy {
		st.Notes = append(st.Notes, instanceNotes(st)...)
	}
	return st, nil
}

// isHere reports whether a connection point should run on this host: its folder is here.
func (s *siteRun) isHere(id causeway.ConnectionPointID) bool {
	h := s.homeOf(id)
	if h.DocumentsDir == "" {
		return false
	}
	_, err := os.Stat(h.DocumentsDir)
	return err == nil
}

// askPoints asks the connection points of this host how they fare. Those that do not answer are left out; hung are the
// ones that have a socket and said nothing in time.
func (s *siteRun) askPoints(ctx context.Context) (all map[causeway.ConnectionPointID]connpoint.Status, hung map[causeway.ConnectionPointID]bool) {
	all, hung = map[causeway.ConnectionPointID]connpoint.Status{}, map[causeway.ConnectionPointID]bool{}
	for _, cp := range s.points {
		socket := s.homeOf(cp.ID).AdminSocket
		if socket == "" {
			continue
		}
		var own connpoint.Status
		err := askRole(ctx, socket, &own)
		if err == nil && own.ID == cp.ID {
			all[cp.ID] = own
		}
		hung[cp.ID] = errors.Is(err, context.DeadlineExceeded)
	}
	return all, hung
}

// seen is what connection points see of an instance: open channels, the document that it obeys, and by which way they
// reach it.
func seen(points map[causeway.ConnectionPointID]connpoint.Status, slot causeway.Slot) (channels int, generation uint64, by map[string]int) {
	by = make(map[string]int)
	for _, own := range points {
		for _, ch := range own.Channels {
			if ch.Gateway != gatewayName || ch.Slot != slot || ch.Connected == 0 {
				continue
			}
			channels += ch.Connected
			by[string(ch.Transport)] += ch.Connected
			for _, a := range ch.Applied {
				if a.Kind == signed.KindGateway {
					generation = max(generation, a.Generation)
				}
			}
		}
	}
	return channels, generation, by
}

// countSpread counts the instances that are seen from this host, and those of them that obey a generation. A
// connection point that is behind itself counts as an instance that is.
func (s *siteRun) countSpread(ctx context.Context, generation uint64) (live, applied int) {
	points, _ := s.askPoints(ctx)
	behind := false
	for _, own := range points {
		behind = behind || own.Configuration.Generation < generation
	}
	for _, in := range s.gateway.Instances {
		channels, obeyed, _ := seen(points, in.Slot)
		if channels == 0 {
			continue
		}
		live++
		if obeyed >= generation && !behind {
			applied++
		}
	}
	return live, applied
}

// targets are the roles of this host whose metrics make up the site's.
func (s *siteRun) targets() (targets []console.Target) {
	for _, cp := range s.points {
		if socket := s.homeOf(cp.ID).AdminSocket; socket != "" {
			targets = append(targets, console.Target{Role: "connection-point", Instance: string(cp.ID), Socket: socket})
		}
	}
	return targets
}
