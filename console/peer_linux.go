package console

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who opened a unix connection.
func peerOf(c net.Conn) peer {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{}
	}
	p := peer{uid: -1, known: true}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p.uid = int(cred.Uid)
		}
	})
	return p
}
