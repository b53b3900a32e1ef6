//go:build !linux

package network

import (
	"context"
	"net/netip"

	"github.com/causeway-gateway/causeway/internal/handoff"
)

// Connections cannot be handed over here: Add fails before anything is accepted, and what reaches the rule's port is
// refused.
func (b *Balancer) accept(ctx context.Context, p *port, _ func(int, netip.AddrPort)) {
	p.close()
}

func (b *Balancer) forward(*instance, int, handoff.Forward) {}

func reset(int) {}

func destination(_ int, local netip.AddrPort) netip.AddrPort { return local }
