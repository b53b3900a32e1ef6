//go:build unix

package supervise

import (
	"os"

	"golang.org/x/sys/unix"
)

// inheritFD takes over a descriptor and keeps programs that we start from inheriting it.
func inheritFD(fd int, name string) (*os.File, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, err
	}
	// Non-blocking, so that a read ends when the file is closed.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
