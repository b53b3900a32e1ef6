//go:build unix && !linux

package supervise

import "syscall"

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit cannot wait without reaping here, so what a child left in its group stays.
func awaitExit(int) bool { return false }

func closeStrangers() {}
