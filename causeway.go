// Package causeway holds the words that every role shares: names, limits, refusal codes and errors.
//
// It imports no package of this project. What two roles both need stands here if it is a word, in
// package channel if it is a protocol, and under internal if it belongs to no domain.
package causeway

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"
)

// Names that must never be mixed up have types of their own.
type (
	// SiteID names one site: a site store, its keys and everything it signs.
	SiteID string
	// GatewayName names one gateway (a service name's worth of instances). A site may have several.
	GatewayName string
	// InstanceID names one life of a gateway instance. It is never reused; the slot is.
	InstanceID string
	// ConnectionPointID names one connection point of the site.
	ConnectionPointID string
	// ServerName is the short name under which a management server is published.
	ServerName string
	// DeviceID is the name a verified proof gives to a device.
	DeviceID string
)

// Slot is the place 0-15 of a gateway instance behind the load balancer.
// It is not the instance's id: a replaced instance keeps the slot and gets a new id.
type Slot int

// MaxSlots is how many instances one gateway can have.
const MaxSlots = 16

// Ports as devices, connection points and instances see them.
const (
	HTTPSPort       = 443   // devices, through the load balancer
	ChannelPortBase = 10124 // slot n is dialled on ChannelPortBase+n and reaches ChannelPort of its instance
	ChannelPort     = 8443  // on the instance, behind inbound NAT
)

// ChannelPort returns the load balancer's port that inbound NAT maps to this slot.
func (s Slot) ChannelPort() int { return ChannelPortBase + int(s) }

// Valid reports whether s is one of the slots of a gateway.
func (s Slot) Valid() bool { return s >= 0 && s < MaxSlots }

// ManagementPointBase is added to a management point's number in the URLs that its clients use
// (/CCM_Proxy_MutualAuth/72057594037927937/…).
const ManagementPointBase = 1 << 56

// How long a signed document is obeyed. The site signs anew every hour, so one that nobody renewed for a day is an alarm;
// channels stay and devices are let in for two days more, or a site that is down over a weekend would take everybody's
// access away. Three days after the signature that ends: whoever keeps newer documents, with newer blocks, from a gateway
// must not gain more than that.
const (
	DocumentValidity = 24 * time.Hour // from the signature, as the document itself says
	DocumentGrace    = 48 * time.Hour // beyond it, as gateways and connection points say
)

// RequestID ties together what the gateway instance, the connection point and the server log about one request.
type RequestID [16]byte

// NewRequestID returns a random id. It is a name, not a secret.
func NewRequestID() (id RequestID) {
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[i], id[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	return id
}

// String returns the id as 32 lower-case hexadecimal digits.
func (id RequestID) String() string { return hex.EncodeToString(id[:]) }

// AppendText appends the form of String to b and never fails.
func (id RequestID) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, id[:]), nil }

// ParseRequestID reads the form that String writes.
func ParseRequestID(s string) (id RequestID, err error) {
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("request id %q: want %d hexadecimal digits", s, 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("request id %q: %w", s, err)
	}
	return id, nil
}
