//go:build unix

package sock

import "syscall"

// told makes a system call in the ordinary way.
func told(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
