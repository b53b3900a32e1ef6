//go:build amd64 || arm64

package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h).
const (
	seccompNumber   = 0
	seccompArch     = 4
	seccompArgument = 16 // the first, low half on little-endian machines
)

// onlyUnixSockets lets every thread make unix sockets and no others. It is seccomp and not Landlock, because Landlock
// knows TCP alone: multipath TCP, which reaches the same servers, passes it. io_uring goes with it, since it makes
// sockets past seccomp. The caller has set no_new_privs.
func onlyUnixSockets() error {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(test uint16, value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: value}
	}
	answer := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	const x32 = 0x40000000 // system calls of another numbering on amd64
	filter := []unix.SockFilter{
		load(seccompArch),
		jump(unix.BPF_JEQ, auditArch, 0, 7), // another architecture's numbers mean something else
		load(seccompNumber),
		jump(unix.BPF_JGE, x32, 5, 0),
		jump(unix.BPF_JEQ, unix.SYS_IO_URING_SETUP, 4, 0),
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 2),
		load(seccompArgument),
		jump(unix.BPF_JEQ, unix.AF_UNIX, 0, 1),
		answer(unix.SECCOMP_RET_ALLOW),
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("seccomp: thread %d keeps a filter of its own", thread)
	}
	return nil
}
