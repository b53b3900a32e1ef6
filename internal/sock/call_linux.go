//go:build !race && !386

package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxQuickWrite is the largest write that nobody is told of. To copy more takes as long as others should not wait.
const maxQuickWrite = 64 << 10

// Whether a socket blocks belongs to the socket, and another process may have it too. So every call says itself that it
// does not wait: without the scheduler's knowledge, one that did would hold up the whole process.

// Read is recv(2) that does not wait. p must not be empty. An error is a syscall.Errno, and n then 0.
func Read(fd uintptr, p []byte) (n int, err error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
		if errno != syscall.EINTR {
			return transferred(n, errno)
		}
	}
}

// Write is send(2) that does not wait. p must not be empty. An error is a syscall.Errno, and n then 0.
func Write(fd uintptr, p []byte) (n int, err error) {
	if len(p) > maxQuickWrite {
		return told(sendTold, fd, p)
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		if errno != syscall.EINTR {
			return transferred(n, errno)
		}
	}
}

func sendTold(fd int, p []byte) (int, error) {
	return unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func transferred(n uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
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
