// Package network is the load balancer in front of the gateway instances on one machine.
//
//	device ───────────► front end:443 ─────────── 5-tuple hash over healthy instances ──┐ 'p'
//	connection point ─► front end:10124+slot ──── inbound NAT, never gated by the probe ─┤ 'c' ──► instance
//	probe ────────────► loopback port per instance ──────────────────────────────────────┘ 'h'
//
// The balancer accepts the connection and hands the socket itself to the instance (package handoff): no byte passes
// through it afterwards, the source address is true, and connections outlive both an unhealthy verdict and the
// balancer's own death. It is a process of its own; the supervisor tells it over an inherited control socket which
// instances there are, and gives it a hand-over end for each (Members on the supervisor's side, Control below it).
package network
