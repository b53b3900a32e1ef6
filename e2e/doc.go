// Package e2e holds the tests of the whole system: the real binary, real networks, and clients and servers that
// others wrote.
//
//	apt, curl, wget, raw sockets ─► causeway up (balancer, instances, connection points) ─► nginx, servers of the tests
//
// Every test has loopback addresses of its own (127.x.y.z), a state folder of its own and ends what it started. The
// long forms of the streaming tests run with CAUSEWAY_SOAK=1 (`make soak`).
package e2e
