//go:build !race

package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxQuickWrite is the largest write that nobody is told of. To copy more takes as long as others should not wait.
const maxQuickWrite = 64 << 10

// Read is read(2) for a socket that does not block. p must not be empty. An error is a syscall.Errno, and n then 0.
func Read(fd uintptr, p []byte) (n int, err error) {
	return transferred(syscall.SYS_READ, fd, p)
}

// Write is write(2) for a socket that does not block. p must not be empty. An error is a syscall.Errno, and n then 0.
func Write(fd uintptr, p []byte) (n int, err error) {
	if len(p) > maxQuickWrite {
		return told(syscall.Write, fd, p)
	}
	return transferred(syscall.SYS_WRITE, fd, p)
}

func transferred(call, fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Readable reports whether a read of the socket would give something now: bytes, the end, or an error.
func Readable(fd uintptr) bool {
	for {
		poll, now := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, unix.Timespec{}
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != syscall.EINTR {
			return n != 0 || errno != 0
		}
	}
}
