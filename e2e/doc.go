// Package e2e holds the tests of the whole system: the real binary, real networks, and clients and servers that
// others wrote.
//
//	apt, curl, wget, raw sockets ─► causeway up (balancer, instances, connection points) ─► nginx, servers of the tests
//
// Every test has loopback addresses of its own (127.x.y.z) or network namespaces that it makes, a state folder of its
// own, and ends what it started. With CAUSEWAY_SOAK=1 (`make soak`) the long forms run: streams of ten minutes, 200
// kills, half an hour of mixed load (CAUSEWAY_SOAK_FOR says otherwise), and times are held to the contract, which a
// machine that is busy with other tests could not promise.
package e2e
