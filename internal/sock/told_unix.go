//go:build unix

package sock

import "syscall"

// ReadShared is Read for a socket that another process may have, too. It must not block.
func ReadShared(fd uintptr, p []byte) (n int, err error) { return told(syscall.Read, fd, p) }

// told makes a system call in the ordinary way.
func told(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
