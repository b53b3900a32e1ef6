package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/gateway"
	"github.com/causeway-gateway/causeway/internal/supervise"
)

// maxStatusBytes bounds what a role may make the site hold; it could be broken.
const maxStatusBytes = 4 << 20

// roleTimeout bounds the wait for one role's answer.
const roleTimeout = 2 * time.Second

// askRole reads a role's own status.
func askRole(ctx context.Context, socket string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, roleTimeout)
	defer cancel()
	body, err := console.Fetch(ctx, socket, "/status", maxStatusBytes)
	if err != nil {
		return err
	}
	defer body.Close()
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func runSocket(dir string) string { return state(dir).path("run.sock") }

func (u *upRun) askInstance(ctx context.Context, slot causeway.Slot) (st gateway.Status, err error) {
	return st, askRole(ctx, runSocket(u.dir.instance(slot)), &st)
}

func (u *upRun) askConnectionPoint(ctx context.Context, id causeway.ConnectionPointID) (st connpoint.Status, err error) {
	return st, askRole(ctx, runSocket(u.dir.connectionPoint(id)), &st)
}

// Status answers the admin API.
func (u *upRun) Status(ctx context.Context) (console.Status, error) {
	servers, err := u.Servers(ctx)
	if err != nil {
		return console.Status{}, err
	}
	u.publishing.Lock()
	generation := u.generation
	u.publishing.Unlock()
	st := console.Status{
		Site: u.store.ID(), Version: readBuildInfo().Version, State: string(u.dir), PID: os.Getpid(), Since: u.since.UTC(),
		GatewayURL: u.gatewayURL(), AdminURL: u.admin.url, LogsDir: u.dir.logs(), Servers: servers,
		Documents: map[string]uint64{"generation": generation},
		Healthy:   true,
	}
	balancer := u.processStatus("balancer")
	st.Balancer = &balancer
	if note := loadNote(len(u.gateway.Instances), len(u.points)); note != "" {
		st.Notes = append(st.Notes, note)
	}
	u.addInstances(ctx, &st)
	u.addConnectionPoints(ctx, &st)
	if u.sample != nil {
		p := u.processStatus("sample-server")
		st.SampleServer = &p
	}
	if note := processNote("the balancer", balancer); note != "" {
		st.Healthy, st.Notes = false, append(st.Notes, note)
	}
	if !st.Healthy {
		st.Notes = append(st.Notes, instanceNotes(st)...)
	}
	return st, nil
}

func (u *upRun) addInstances(ctx context.Context, st *console.Status) {
	healthy := u.healthyInstances(ctx)
	for _, in := range u.gateway.Instances {
		i := console.InstanceStatus{ID: in.ID, Slot: in.Slot, Process: u.processStatus(instanceProcess(in.Slot)),
			Healthy: healthy[in.Slot], ChannelPort: in.ChannelPort, Transports: make(map[string]int)}
		if own, err := u.askInstance(ctx, in.Slot); err != nil {
			i.Process.Silent = i.Process.State == string(supervise.Running)
		} else {
			i.Generation = own.Configuration.Generation
			st.Notes = append(st.Notes, memoryNotes(i, own.Memory, time.Now())...)
			for _, c := range own.Channels {
				i.Channels += c.Connections
				for by, n := range c.Transports {
					i.Transports[string(by)] += n
				}
			}
		}
		st.Healthy = st.Healthy && i.Healthy && i.Channels > 0
		st.Instances = append(st.Instances, i)
	}
}

func (u *upRun) addConnectionPoints(ctx context.Context, st *console.Status) {
	for _, cp := range u.points {
		c := console.ConnectionPointStatus{ID: cp.ID, Process: u.processStatus(connectionPointProcess(cp.ID))}
		if own, err := u.askConnectionPoint(ctx, cp.ID); err == nil {
			c.Generation = own.Configuration.Generation
			for _, ch := range own.Channels {
				c.Channels += ch.Connected
			}
			st.Channels = append(st.Channels, channelsOf(own)...)
			st.ServerStates = append(st.ServerStates, serversOf(own)...)
			st.Notes = append(st.Notes, transportNotes(cp.ID, own)...)
			st.Notes = append(st.Notes, serverNotes(cp.ID, own, time.Now())...)
		} else {
			c.Process.Silent = c.Process.State == string(supervise.Running)
			st.Channels = append(st.Channels, unknownChannels(cp.ID, u.gateway.Instances)...)
			if note := processNote("connection point "+string(cp.ID), c.Process); note != "" {
				st.Notes = append(st.Notes, note)
			}
		}
		st.Healthy = st.Healthy && c.Channels > 0
		st.ConnectionPoints = append(st.ConnectionPoints, c)
	}
}

func (u *upRun) processStatus(name string) console.ProcessStatus {
	m := u.fleet.find(name)
	if m == nil {
		return console.ProcessStatus{State: string(supervise.Stopped)}
	}
	s := m.Status()
	return console.ProcessStatus{State: string(s.State), PID: s.PID, Since: s.Since.UTC(), Restarts: s.Restarts, LastExit: s.LastExit}
}

// waitForChannels waits until every connection point reaches every instance, all obey the documents of this start,
// and the balancer has found the instances healthy.
func (u *upRun) waitForChannels(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := u.channelsUp(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
			return causeway.WithHint(err, "the logs say why: causeway logs --state %s", u.dir)
		}
	}
}

// channelsUp says what is still missing.
func (u *upRun) channelsUp(ctx context.Context) error {
	healthy := u.healthyInstances(ctx)
	for _, in := range u.gateway.Instances {
		own, err := u.askInstance(ctx, in.Slot)
		if err != nil {
			return fmt.Errorf("instance %d does not answer: %w", in.Slot, err)
		}
		up := 0
		for _, c := range own.Channels {
			if c.Connections > 0 {
				up++
			}
		}
		switch {
		case up < len(u.points):
			return fmt.Errorf("instance %d has channels to %d of %d connection points", in.Slot, up, len(u.points))
		case own.Configuration.Generation < u.generationNow():
			return fmt.Errorf("instance %d has not applied the documents yet", in.Slot)
		case !own.Ready:
			return fmt.Errorf("instance %d is not ready: %s", in.Slot, own.State)
		case !healthy[in.Slot]:
			return fmt.Errorf("the load balancer has not found instance %d healthy yet", in.Slot)
		}
	}
	return nil
}

func (u *upRun) generationNow() uint64 {
	u.publishing.Lock()
	defer u.publishing.Unlock()
	return u.generation
}

// waitLive waits until every live instance obeys a generation, or the documents have had all the time they may take.
func (u *upRun) waitLive(ctx context.Context, generation uint64) (live, applied int) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	for {
		live, applied = u.countLive(ctx, generation)
		if live > 0 && applied == live && u.pointsObey(ctx, generation) {
			return live, applied
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return live, applied
		}
	}
}

// pointsObey reports whether all running connection points have a generation, too: a request that a gateway passes on
// because of it must not be refused by them.
func (u *upRun) pointsObey(ctx context.Context, generation uint64) bool {
	for _, cp := range u.points {
		if u.processStatus(connectionPointProcess(cp.ID)).State != string(supervise.Running) {
			continue
		}
		if own, err := u.askConnectionPoint(ctx, cp.ID); err == nil && own.Configuration.Generation < generation {
			return false
		}
	}
	return true
}

// liveTimeout is how long a command waits for its change to be in force everywhere.
const liveTimeout = 5 * time.Second

func (u *upRun) countLive(ctx context.Context, generation uint64) (live, applied int) {
	for _, in := range u.gateway.Instances {
		if u.processStatus(instanceProcess(in.Slot)).State != string(supervise.Running) {
			continue
		}
		live++
		if own, err := u.askInstance(ctx, in.Slot); err == nil && own.Configuration.Generation >= generation {
			applied++
		}
	}
	return live, applied
}
