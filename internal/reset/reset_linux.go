package reset

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// reset dissolves the association (connect with AF_UNSPEC). That is SO_LINGER with zero seconds and close in one, and
// works where package confine has taken SO_LINGER away.
func reset(c tcpConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		var nobody uint16 = unix.AF_UNSPEC                                                                    // the family alone: package confine lets nothing pass that has room for an address
		_, _, _ = unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unsafe.Sizeof(nobody)) // it never waits for the other side
	})
}
