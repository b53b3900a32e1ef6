// Package handoff passes accepted TCP connections from the load balancer to the gateway instance that serves them.
//
//	supervisor ──attach socket──► instance     tag 'a' + one end of a new hand-over pair, whenever a balancer (re)starts
//	balancer ──hand-over end────► instance     tag 'p', 'P', 'c' or 'h', number + one accepted connection
//	balancer ◄────────────────── instance      receipt: taken or not, number
//	balancer ◄────────────────── instance      tag 'r' + a connection that is for the channel of some instance (Forward)
//
// Both are SOCK_SEQPACKET socket pairs that only inheritance or another such socket can give away, so no other
// process can open one. A message to the instance holds exactly one descriptor (SCM_RIGHTS). What passes is the
// socket itself: the source address stays true, no byte is copied, and the connection outlives the balancer.
//
// The balancer keeps a descriptor of its own until the receipt, which the instance writes when it accepts the
// connection and before it reads from it. So a connection that an instance did not take, because it stops, is behind or
// died, goes to another. That one is told (Again), because the first may have kept a descriptor: what comes to an
// instance second hand, forwarded connections as well, is sock.Shared.
//
// Nobody waits for an instance. Send never blocks: a queue of the kernel's size stands between the two, and when
// it is full the connection stays with the caller.
package handoff

import (
	"errors"
	"net"
)

// A Tag says which listener of the instance a connection is for.
type Tag byte

// The tags that a balancer may send.
const (
	Public  Tag = 'p' // devices
	Channel Tag = 'c' // connection points, by inbound NAT
	Health  Tag = 'h' // the balancer's probe
	Again   Tag = 'P' // Public, of which another instance had the socket before
)

// tagAttach marks a new hand-over end. It is legal on the attach socket alone, so that a broken balancer cannot
// bring friends.
const tagAttach Tag = 'a'

// String returns the tag's name for logs and metrics.
func (t Tag) String() string {
	switch t {
	case Public, Again:
		return "public"
	case Channel:
		return "channel"
	case Health:
		return "health"
	case tagAttach:
		return "attach"
	}
	return "unknown"
}

// Sizes of the messages between balancer and instance: a byte and a number.
const (
	parcelBytes  = 5
	receiptBytes = 5
)

// The first byte of a receipt.
const (
	taken    byte = 't'
	notTaken byte = 'n'
)

var (
	// ErrBusy says that the queue towards the instance is full: it takes connections slower than they come.
	ErrBusy = errors.New("hand-over queue is full")
	// ErrGone says that the process at the other end has closed its end or died.
	ErrGone = errors.New("hand-over peer is gone")
	// ErrMalformed says that a message was not of the agreed shape. The socket goes on.
	ErrMalformed = errors.New("malformed hand-over message")
)

// Stats counts what a Receiver met since it was made.
type Stats struct {
	Received  uint64 // connections put into a listener's queue
	Dropped   uint64 // connections given back because their listener was closed or its queue was full
	Malformed uint64 // messages of the wrong shape, unknown tags, descriptors that are no TCP connection
	Ends      int    // hand-over ends attached now
}

// addr is the address of a listener that no one can dial.
type addr Tag

func (a addr) Network() string { return "handoff" }
func (a addr) String() string  { return "handed over (" + Tag(a).String() + ")" }

var _ net.Addr = addr(0)
