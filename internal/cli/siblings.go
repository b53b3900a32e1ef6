package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// handedSiblings reaches the instances of `up` through the balancer, which is asked as if the connection had come on the
// slot's own port: an instance dials nobody.
type handedSiblings struct{ receiver *handoff.Receiver }

// Pass gives the connection itself to the balancer.
func (h handedSiblings) Pass(n causeway.Slot, conn net.Conn, head []byte) error {
	defer conn.Close()
	c, ok := conn.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T cannot be passed on", conn)
	}
	return h.receiver.Forward(c, handoff.Forward{Slot: int(n), Head: head})
}

// Dial gives one end of a new pair to the balancer.
func (h handedSiblings) Dial(n causeway.Slot, from net.Conn) (net.Conn, error) {
	source, errSource := netip.ParseAddrPort(from.RemoteAddr().String())
	destination, errDestination := netip.ParseAddrPort(from.LocalAddr().String())
	if err := errors.Join(errSource, errDestination); err != nil {
		return nil, err
	}
	ours, theirs, err := handoff.StreamPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	f := handoff.Forward{Slot: int(n), Source: unmapped(source), Destination: unmapped(destination)}
	if err := h.receiver.Forward(theirs, f); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// unmapped is an address as the balancer knows it: IPv4 is no IPv6, and a zone is nobody's business.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
