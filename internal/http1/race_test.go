//go:build race

package http1

// poolsLeak: the race detector lets sync.Pool forget buffers at random, so counts of allocations say nothing.
const poolsLeak = true
