package gateway

import (
	"cmp"
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Limits bounds what devices can make the gateway hold. A field that is zero has the default named beside it. The
// signed document sets the three that are marked for the whole gateway, where it names them.
type Limits struct {
	MaxConnections          int // of devices, in all: 16,384 (*)
	MaxConnectionsPerSource int // per IPv4 address or IPv6 /64: 4,096, because whole offices share one (*)
	MaxInFlight             int // requests: 8,192 (*)
	MaxHandshakes           int // unfinished: 2,048
	MaxHandshakesPerSource  int // unfinished, of one source: 512, since an office behind one address reconnects all at once
	MaxChannelHandshakes    int // unfinished, of channels: 512, and 750 at most, or who waits for his turn gets none in time
	MaxChannelConnections   int // of connection points, handshake done: 1,024
	MaxStreams              int // HTTP/2 streams of one connection: 128
	MaxHeadBytes            int // request head: 16 KiB
	MaxTargetBytes          int // request target: 8 KiB
	MaxFields               int // header fields of a request: 100
	MaxAnswerHeadBytes      int // answer head: 64 KiB
	RefusalsPerSecond       int // of one source, before it gets 429 in their place: 20
}

// Timeouts bounds how long things take. A field that is zero has the default named beside it.
type Timeouts struct {
	Handshake    time.Duration // of TLS: 10 s
	Head         time.Duration // of a request, from its first byte: 10 s
	KeepAlive    time.Duration // without a request: 120 s
	Drain        time.Duration // requests in flight have this long when Run ends: 30 s
	Farewell     time.Duration // idle HTTP/1.1 connections stay this long when Run ends, half of Drain at most: 1 s
	Notice       time.Duration // health is 503 this long before listeners close: none
	Stale        time.Duration // devices are refused this long after the document's valid_until: causeway.DocumentGrace
	ReadyListed  time.Duration // health is 200 this long after a document first names the instance: 10 s
	ReadyAnyway  time.Duration // health is 200 this long after the start: 2 min
	Summary      time.Duration // between two traffic lines of an endpoint: 5 min
	Certificates time.Duration // between two looks at the certificate files: 10 s
}

// or gives every zero field its default.
func (l Limits) or() Limits {
	return Limits{
		MaxConnections:          cmp.Or(l.MaxConnections, 16384),
		MaxConnectionsPerSource: cmp.Or(l.MaxConnectionsPerSource, 4096),
		MaxInFlight:             cmp.Or(l.MaxInFlight, 8192),
		MaxHandshakes:           cmp.Or(l.MaxHandshakes, 2048),
		MaxHandshakesPerSource:  cmp.Or(l.MaxHandshakesPerSource, 512),
		MaxChannelHandshakes:    cmp.Or(l.MaxChannelHandshakes, 512),
		MaxChannelConnections:   cmp.Or(l.MaxChannelConnections, 1024),
		MaxStreams:              cmp.Or(l.MaxStreams, 128),
		MaxHeadBytes:            cmp.Or(l.MaxHeadBytes, 16<<10),
		MaxTargetBytes:          cmp.Or(l.MaxTargetBytes, 8<<10),
		MaxFields:               cmp.Or(l.MaxFields, 100),
		MaxAnswerHeadBytes:      cmp.Or(l.MaxAnswerHeadBytes, 64<<10),
		RefusalsPerSecond:       cmp.Or(l.RefusalsPerSecond, 20),
	}
}

// check refuses what no gateway can work with.
func (l Limits) check() error {
	for _, f := range []struct {
		name     string
		n        int
		min, max int
	}{
		{"MaxConnections", l.MaxConnections, 1, 1 << 20},
		{"MaxConnectionsPerSource", l.MaxConnectionsPerSource, 1, 1 << 20},
		{"MaxInFlight", l.MaxInFlight, 1, 1 << 20},
		{"MaxHandshakes", l.MaxHandshakes, 1, 1 << 20},
		{"MaxHandshakesPerSource", l.MaxHandshakesPerSource, 1, 1 << 20},
		{"MaxChannelHandshakes", l.MaxChannelHandshakes, 1, maxPaced},
		{"MaxChannelConnections", l.MaxChannelConnections, 1, 1 << 16},
		{"MaxStreams", l.MaxStreams, 1, 1000},
		{"MaxHeadBytes", l.MaxHeadBytes, 1 << 10, 64 << 10},
		{"MaxTargetBytes", l.MaxTargetBytes, 256, 64 << 10},
		{"MaxFields", l.MaxFields, 8, 1000},
		{"MaxAnswerHeadBytes", l.MaxAnswerHeadBytes, 1 << 10, 64 << 10},
		{"RefusalsPerSecond", l.RefusalsPerSecond, 1, 1 << 20},
	} {
		if f.n < f.min || f.n > f.max {
			return fmt.Errorf("limit %s is %d; it must be from %d to %d", f.name, f.n, f.min, f.max)
		}
	}
	return nil
}

// or gives every zero field its default.
func (t Timeouts) or() Timeouts {
	return Timeouts{
		Handshake:    cmp.Or(t.Handshake, 10*time.Second),
		Head:         cmp.Or(t.Head, 10*time.Second),
		KeepAlive:    cmp.Or(t.KeepAlive, 120*time.Second),
		Drain:        cmp.Or(t.Drain, 30*time.Second),
		Farewell:     cmp.Or(t.Farewell, time.Second),
		Notice:       t.Notice,
		Stale:        cmp.Or(t.Stale, causeway.DocumentGrace),
		ReadyListed:  cmp.Or(t.ReadyListed, 10*time.Second),
		ReadyAnyway:  cmp.Or(t.ReadyAnyway, 2*time.Minute),
		Summary:      cmp.Or(t.Summary, 5*time.Minute),
		Certificates: cmp.Or(t.Certificates, 10*time.Second),
	}
}

func (t Timeouts) check() error {
	for _, f := range []struct {
		name string
		d    time.Duration
		max  time.Duration
	}{
		{"Handshake", t.Handshake, time.Minute},
		{"Head", t.Head, 5 * time.Minute},
		{"KeepAlive", t.KeepAlive, time.Hour},
		{"Drain", t.Drain, time.Hour},
		{"Farewell", t.Farewell, time.Minute},
		{"Notice", t.Notice, 10 * time.Minute},
		{"Stale", t.Stale, 365 * 24 * time.Hour},
		{"ReadyListed", t.ReadyListed, time.Hour},
		{"ReadyAnyway", t.ReadyAnyway, 24 * time.Hour},
		{"Summary", t.Summary, 24 * time.Hour},
		{"Certificates", t.Certificates, time.Hour},
	} {
		if f.d < 0 || f.d > f.max {
			return fmt.Errorf("timeout %s is %v; it must be from 0 to %v", f.name, f.d, f.max)
		}
	}
	return nil
}
