//go:build amd64 || arm64

package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const fionbio = 0x5421 // FIONBIO (include/uapi/asm-generic/ioctls.h), which x/sys lacks

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h).
const (
	seccompNumber    = 0
	seccompArch      = 4
	seccompArguments = 16 // 8 bytes each, the low half first on little-endian machines
)

// onlyHandedSockets takes away, from every thread, what Policy.HandedSockets says. It is seccomp and not Landlock,
// because Landlock knows TCP alone: multipath TCP, which reaches the same servers, passes it, and so does MSG_FASTOPEN.
// io_uring goes with it, since it does all of that past seccomp. The caller has set no_new_privs.
//
// A socket that was handed over belongs to the network it was made in. Disconnected, it would reach whatever that
// network reaches, hence nothing may be connected again, or listen.
//
// Whatever is not named here is decided by its number alone. The kernel notes that when it takes the filter and does
// not run it for reading and waiting.
func onlyHandedSockets() error {
	filter := []unix.SockFilter{
		load(seccompArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0), // another architecture's numbers mean something else
		deny,
		load(seccompNumber),
		jump(unix.BPF_JGE, x32, 0, 1),
		deny,
	}
	// Sending begins a connection with MSG_FASTOPEN. It stands first, because it is what a gateway does most of all that runs the filter.
	filter = append(filter, in(unix.SYS_SENDTO, notFastOpen(3)...)...)
	filter = append(filter, in(unix.SYS_SENDMSG, notFastOpen(2)...)...)
	filter = append(filter, in(unix.SYS_SENDMMSG, notFastOpen(3)...)...)
	// Two bytes hold AF_UNSPEC, which ends a connection (package reset), and no address of any kind.
	filter = append(filter, in(unix.SYS_CONNECT,
		argument(2),
		jump(unix.BPF_JEQ, 2, 0, 1),
		allow,
		deny)...)
	filter = append(filter, in(unix.SYS_LISTEN, deny)...)
	filter = append(filter, in(unix.SYS_IO_URING_SETUP, deny)...)
	filter = append(filter, in(unix.SYS_SOCKET,
		argument(0),
		jump(unix.BPF_JEQ, unix.AF_UNIX, 0, 1),
		allow,
		deny)...)
	filter = append(filter, in(unix.SYS_FCNTL,
		argument(1),
		jump(unix.BPF_JEQ, unix.F_SETFL, 1, 0),
		allow,
		argument(2),
		jump(unix.BPF_JSET, unix.O_NONBLOCK, 0, 1),
		allow,
		deny)...)
	filter = append(filter, in(unix.SYS_IOCTL,
		argument(1),
		jump(unix.BPF_JEQ, fionbio, 1, 0), // what it sets lies in memory, where a filter cannot look
		allow,
		deny)...)
	filter = append(filter, in(unix.SYS_SETSOCKOPT,
		argument(1),
		jump(unix.BPF_JEQ, unix.SOL_SOCKET, 0, 2),
		argument(2),
		jump(unix.BPF_JEQ, unix.SO_LINGER, 3, 4),
		jump(unix.BPF_JEQ, unix.IPPROTO_TCP, 0, 3),
		argument(2),
		jump(unix.BPF_JEQ, unix.TCP_ULP, 0, 1),
		deny,
		allow)...)
	filter = append(filter, allow)
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

// x32 is set in the numbers of another numbering on amd64.
const x32 = 0x40000000

var (
	allow = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	deny  = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)}
)

func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}

// argument loads the low half of one argument. The kernel looks at no more of those that are asked for here.
func argument(n uint32) unix.SockFilter { return load(seccompArguments + 8*n) }

func jump(test uint16, value uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: value}
}

// notFastOpen decides a system call by the flags that are its argument n.
func notFastOpen(n uint32) []unix.SockFilter {
	return []unix.SockFilter{argument(n), jump(unix.BPF_JSET, unix.MSG_FASTOPEN, 1, 0), allow, deny}
}

// in decides one system call. Its instructions end with an answer in every case, so the number stays loaded for others.
func in(number uint32, decide ...unix.SockFilter) []unix.SockFilter {
	return append([]unix.SockFilter{jump(unix.BPF_JEQ, number, 0, uint8(len(decide)))}, decide...)
}
