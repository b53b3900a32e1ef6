//go:build !linux

package cli

import "io"

// isTerminal says no: only up, which runs on Linux, draws.
func isTerminal(io.Writer) bool { return false }
