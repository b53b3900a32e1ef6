//go:build !linux

package gateway

import "syscall"

// boundUnsent has no means here.
func boundUnsent(syscall.Conn) {}
