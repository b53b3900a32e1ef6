//go:build !race

package http1

const poolsLeak = false
