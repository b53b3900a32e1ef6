//go:build linux

// Command bench measures Causeway beside the programs that people would otherwise use, on one machine, in one run.
//
//	load tool ─► target: backend alone | haproxy | nginx | go-direct | tunnel-bare | causeway-instance | causeway | frp, chisel ─► nginx
//
// One round runs every target once per workload, every other round backwards, and ratios are taken within a round: the machine's other
// work then falls on both sides of a ratio. wrk and h2load drive the request workloads; downloads, uploads, the open
// loop, handshakes and idle connections have generators of their own here. A row in which one request was not
// answered as expected is void.
//
// RESULTS.md opens with the goals and what became of them; `bench -goals` measures only what they need. NOTES.md, what
// was found out by other means, is put behind the tables.
//
// The programs that stand beside Causeway do less: they check no identity, decide no policy and reach only what they
// can dial. go-direct is the plain Go reverse proxy that a program of this kind would otherwise be built on.
package main
