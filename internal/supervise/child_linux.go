package supervise

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeStrangers closes what a careless ancestor left open for all its descendants. Go opens everything close-on-exec,
// and so is by now what we were meant to have: the rest came by accident.
func closeStrangers() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // no /proc: then nobody can be named
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
