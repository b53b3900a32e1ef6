//go:build !linux

package window

import "syscall"

// bound leaves the buffers to the system's own bounds.
func bound(syscall.RawConn) {}
