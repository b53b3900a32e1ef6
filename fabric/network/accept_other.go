//go:build !linux

package network

import (
	"context"
	"net"

	"github.com/causeway-gateway/causeway"
)

// Connections cannot be handed over here: Add fails before anything is accepted, and what reaches the rule's port is
// refused.
func (b *Balancer) accept(ctx context.Context, ln *net.TCPListener, _ causeway.Slot, _ func(int, Flow)) {
	ln.Close()
}

func reset(int) {}

func closeFD(int) {}
