package network

import (
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
)

// counters count what the accept loops do.
type counters struct {
	accepted, refused, denied, acceptErrors atomic.Uint64
}

// A Status is a snapshot of a Balancer. Numbers count from its start.
type Status struct {
	FrontEnd     string           `json:"front_end"`
	Accepted     uint64           `json:"accepted"`      // on all front-end ports
	Refused      uint64           `json:"refused"`       // reset because no instance could take them
	Denied       uint64           `json:"denied"`        // reset because Allow said no, or nobody saw them come
	AcceptErrors uint64           `json:"accept_errors"` // out of descriptors or memory
	Instances    []InstanceStatus `json:"instances"`
}

// An InstanceStatus is a snapshot of one instance.
type InstanceStatus struct {
	Slot       causeway.Slot       `json:"slot"`
	Instance   causeway.InstanceID `json:"instance"`
	Healthy    bool                `json:"healthy"`
	Gone       bool                `json:"gone"`            // its process closed its end or died
	Channel    string              `json:"channel_address"` // inbound NAT
	Health     string              `json:"health_address"`  // loopback, handed over like the others
	Public     uint64              `json:"public_connections"`
	Channels   uint64              `json:"channel_connections"`
	Busy       uint64              `json:"busy"` // found its queue full
	LastProbe  time.Time           `json:"last_probe"`
	ProbeError string              `json:"probe_error,omitempty"`
}

// Status returns a snapshot.
func (b *Balancer) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{
		Accepted: b.counters.accepted.Load(), Refused: b.counters.refused.Load(),
		Denied: b.counters.denied.Load(), AcceptErrors: b.counters.acceptErrors.Load(),
		Instances: []InstanceStatus{},
	}
	if b.rule != nil {
		s.FrontEnd = b.rule.addr.String()
	}
	for _, slot := range b.slots {
		if slot != nil {
			i := slot.current.Load().status()
			i.Channel = slot.nat.addr.String()
			s.Instances = append(s.Instances, i)
		}
	}
	return s
}

func (in *instance) status() InstanceStatus {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := InstanceStatus{
		Slot: in.slot, Instance: in.id, Healthy: in.healthy.Load(), Gone: in.gone.Load(),
		Health: in.health.addr.String(), Public: in.public.Load(), Channels: in.channel.Load(), Busy: in.busy.Load(),
		LastProbe: in.lastProbe,
	}
	if in.probeErr != nil {
		s.ProbeError = in.probeErr.Error()
	}
	return s
}
