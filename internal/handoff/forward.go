package handoff

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
)

// What an instance gives back is forwarded to the instance of a slot, as the balancer would have done it had it known:
//
//	instance ──hand-over end──► balancer     tag 'r', slot, route, head + the connection
//	balancer ──hand-over end──► instance     tag 'c', number, route, head + the connection
//
// The head is what was read of the connection before anybody knew for whom it is. The route, one length byte and text,
// says from where to where the connection goes when it cannot tell itself: it is one end of a StreamPair, and the instance
// keeps the other.

// tagForward is legal from an instance alone.
const tagForward Tag = 'r'

const (
	// MaxHeadBytes bounds what was read of a connection before it is forwarded.
	MaxHeadBytes    = 16 << 10
	maxRouteBytes   = 128
	maxMessageBytes = parcelBytes + 1 + maxRouteBytes + MaxHeadBytes
)

// A Forward says what comes with a connection that is forwarded.
type Forward struct {
	Slot                int
	Source, Destination netip.AddrPort // invalid: the connection's own
	Head                []byte
}

var errForward = errors.New("connection cannot be forwarded")

// appendTo writes route and head.
func (f *Forward) appendTo(b []byte) ([]byte, error) {
	route := ""
	if f.Source.IsValid() {
		route = f.Source.String() + " " + f.Destination.String()
	}
	if len(route) > maxRouteBytes || len(f.Head) > MaxHeadBytes {
		return nil, errForward
	}
	b = append(b, byte(len(route)))
	b = append(b, route...)
	return append(b, f.Head...), nil
}

// parse reads route and head. The head is a copy.
func (f *Forward) parse(b []byte) bool {
	if len(b) == 0 || len(b) < 1+int(b[0]) || b[0] > maxRouteBytes {
		return false
	}
	route := string(b[1 : 1+int(b[0])])
	f.Head = bytes.Clone(b[1+len(route):])
	if route == "" {
		return true
	}
	source, destination, ok := strings.Cut(route, " ")
	from, errFrom := netip.ParseAddrPort(source)
	to, errTo := netip.ParseAddrPort(destination)
	f.Source, f.Destination = from, to
	return ok && errFrom == nil && errTo == nil && from.Addr().Zone() == "" && to.Addr().Zone() == ""
}
