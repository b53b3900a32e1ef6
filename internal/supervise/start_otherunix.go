//go:build unix && !linux

package supervise

import "syscall"

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit cannot wait without reaping here, so wait kills nothing but the child.
func awaitExit(pid int) {}
