//go:build unix && (!linux || race || 386)

package sock

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// The race detector, too, is to see what is read and written; 386 has no number of its own for recv and send.

// Read is read(2) for a socket that does not block. p must not be empty. An error is a syscall.Errno, and n then 0.
func Read(fd uintptr, p []byte) (n int, err error) { return told(syscall.Read, fd, p) }

// Write is write(2) for a socket that does not block. p must not be empty. An error is a syscall.Errno, and n then 0.
func Write(fd uintptr, p []byte) (n int, err error) { return told(syscall.Write, fd, p) }

// Readable reports whether a read of the socket would give something now: bytes, the end, or an error.
func Readable(fd uintptr) bool {
	for {
		poll := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll[:], 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}
