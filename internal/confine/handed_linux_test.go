//go:build amd64 || arm64

package confine

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	roles["sockets"] = sockets
	roles["reconnect"] = reconnect
}

// sockets tries what would hold up others that have the same socket. Numbers have bits set that the kernel does not look at.
func sockets(_ string, result map[string]string) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		say(result, "pair", err)
		return
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	fd := fds[0]
	call := func(what string, number uintptr, arguments ...uintptr) {
		var a [6]uintptr
		copy(a[:], append([]uintptr{uintptr(fd)}, arguments...))
		_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		say(result, what, nil)
		if errno != 0 {
			say(result, what, errno)
		}
	}
	const (
		unseen  = 1 << 32
		fionbio = 0x5421
	)
	var off int32
	no, linger := uintptr(unsafe.Pointer(&off)), unix.Linger{Onoff: 1, Linger: 3600}
	hour := uintptr(unsafe.Pointer(&linger))
	tls := [4]byte{'t', 'l', 's'}
	call("do not block", unix.SYS_FCNTL, unix.F_SETFL, unix.O_NONBLOCK)
	call("do not block, append", unix.SYS_FCNTL, unix.F_SETFL, unix.O_NONBLOCK|unix.O_APPEND)
	call("block", unix.SYS_FCNTL, unix.F_SETFL, 0)
	call("block, number with more bits", unix.SYS_FCNTL, unix.F_SETFL|unseen, unseen)
	call("block, append", unix.SYS_FCNTL, unix.F_SETFL, unix.O_APPEND)
	call("block by ioctl", unix.SYS_IOCTL, fionbio, no)
	call("block by ioctl, number with more bits", unix.SYS_IOCTL, fionbio|unseen, no)
	call("linger", unix.SYS_SETSOCKOPT, unix.SOL_SOCKET, unix.SO_LINGER, hour, unsafe.Sizeof(linger))
	call("linger, number with more bits", unix.SYS_SETSOCKOPT, unix.SOL_SOCKET|unseen, unix.SO_LINGER|unseen, hour, unsafe.Sizeof(linger))
	call("another protocol", unix.SYS_SETSOCKOPT, unix.IPPROTO_TCP, unix.TCP_ULP, uintptr(unsafe.Pointer(&tls)), 3)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	say(result, "read flags", err)
	if flags&unix.O_NONBLOCK == 0 {
		result["read flags"] = "it blocks"
	}
	_, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
	say(result, "other ioctl", err)
	say(result, "other option", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<16))
	runtime.KeepAlive(&off)
	runtime.KeepAlive(&linger)
	runtime.KeepAlive(&tls)
}

// reconnect tries to reach address, and to be reached, with the connection that descriptor 3 is.
func reconnect(address string, result map[string]string) {
	const fd, more = 3, 1 << 32 // a bit that the kernel does not look at
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		say(result, "address", err)
		return
	}
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(to.IP.To4())}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port[0], port[1] = byte(to.Port>>8), byte(to.Port)
	nobody := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	data := []byte("GET /inside HTTP/1.0\r\n\r\n")
	message := struct {
		unix.Msghdr
		sent uint32
	}{}
	message.Name, message.Namelen = (*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4
	iov := unix.Iovec{Base: &data[0], Len: uint64(len(data))}
	message.Iov, message.Iovlen = &iov, 1
	call := func(what string, number uintptr, a ...uintptr) {
		var six [6]uintptr
		copy(six[:], append([]uintptr{fd}, a...))
		_, _, errno := unix.Syscall6(number, six[0], six[1], six[2], six[3], six[4], six[5])
		say(result, what, nil)
		if errno != 0 {
			say(result, what, errno)
		}
	}
	inside, none, bytes := uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&nobody)), uintptr(unsafe.Pointer(&data[0]))
	msg := uintptr(unsafe.Pointer(&message))
	const fast = unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL
	try := func(when string) {
		call("connect"+when, unix.SYS_CONNECT, inside, unix.SizeofSockaddrInet4)
		call("connect, length with more bits"+when, unix.SYS_CONNECT, inside, unix.SizeofSockaddrInet4|more)
		call("sendto"+when, unix.SYS_SENDTO, bytes, uintptr(len(data)), fast, inside, unix.SizeofSockaddrInet4)
		call("sendto, flags with more bits"+when, unix.SYS_SENDTO, bytes, uintptr(len(data)), fast|more, inside, unix.SizeofSockaddrInet4)
		call("sendmsg"+when, unix.SYS_SENDMSG, msg, fast)
		call("sendmmsg"+when, unix.SYS_SENDMMSG, msg, 1, fast)
		call("listen"+when, unix.SYS_LISTEN, 8)
	}
	call("ordinary sendto", unix.SYS_SENDTO, bytes, uintptr(len(data)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	call("disconnect with room for an address", unix.SYS_CONNECT, none, unsafe.Sizeof(nobody))
	try("")
	call("disconnect", unix.SYS_CONNECT, none, 2)
	call("connect to a family", unix.SYS_CONNECT, inside, 2)
	try(", disconnected")
	runtime.KeepAlive(&sa)
	runtime.KeepAlive(&nobody)
	runtime.KeepAlive(&message)
	runtime.KeepAlive(data)
}

// TestBrokenGatewayCannotDialTheServersItself holds what a role keeps whose sockets are all handed to it.
func TestBrokenGatewayCannotDialTheServersItself(t *testing.T) {
	server := listen(t)
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		out := confined(t, order{Do: "network", Arg: server, Policy: Policy{Dir: own, UID: uid, HandedSockets: true}})
		out.want(t, []string{"resolve", "listened before"}, []string{"listen", "dial", "udp", "unix"})
		if !out.Report.HandedSockets {
			t.Errorf("report %+v", out.Report)
		}
	})
}

// TestBrokenGatewayCannotUseDevicesSocketsForOthers holds what an instance keeps of a connection that was handed to it: it is
// a socket of a network which is not the instance's, and which has the servers in it.
func TestBrokenGatewayCannotUseDevicesSocketsForOthers(t *testing.T) {
	devices, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer devices.Close()
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	device, err := net.Dial("tcp", devices.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	taken, err := devices.Accept()
	if err != nil {
		t.Fatal(err)
	}
	handed, err := taken.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer handed.Close()
	_ = taken.Close()
	own, _ := site(t)
	cmd := roleCommand(t, order{Do: "reconnect", Arg: inside.Addr().String(), Policy: Policy{Dir: own, HandedSockets: true}})
	cmd.ExtraFiles = []*os.File{handed}
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var out outcome
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil || !out.Report.HandedSockets {
		t.Fatalf("%+v, %v", out, err)
	}
	denied := []string{"disconnect with room for an address"}
	for _, what := range []string{"connect", "connect, length with more bits", "sendto", "sendto, flags with more bits", "sendmsg", "sendmmsg", "listen"} {
		denied = append(denied, what, what+", disconnected")
	}
	out.want(t, []string{"ordinary sendto", "disconnect"}, denied)
	if got := out.Result["connect to a family"]; got != syscall.EINVAL.Error() {
		t.Errorf("connect to a family: %q", got)
	}
	_ = inside.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
	if c, err := inside.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server inside was reached: %v, %v", c, err)
	}
}

// TestBrokenGatewayCannotMakeOthersWait holds what keeps an instance from disturbing a sibling through a socket that it
// has passed on and kept: a read or close of the sibling that waits has no deadline and takes a thread.
func TestBrokenGatewayCannotMakeOthersWait(t *testing.T) {
	users(t, func(t *testing.T, uid int) {
		own, _ := site(t)
		confined(t, order{Do: "sockets", Policy: Policy{Dir: own, UID: uid, HandedSockets: true}}).want(t,
			[]string{"do not block", "do not block, append", "read flags", "other ioctl", "other option"},
			[]string{"block", "block, number with more bits", "block, append", "block by ioctl", "block by ioctl, number with more bits",
				"linger", "linger, number with more bits", "another protocol"})
	})
}
