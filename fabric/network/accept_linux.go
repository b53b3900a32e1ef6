package network

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// How long an accept loop rests when the machine is out of descriptors or memory, or says something we do not know.
const (
	minRest = 5 * time.Millisecond
	maxRest = time.Second
)

// accept takes connections from p until it is closed, and passes each to deliver, which consumes the descriptor.
// They never enter the runtime's poller: all that happens to them here is to be sent on.
func (b *Balancer) accept(ctx context.Context, p *port, deliver func(fd int, from netip.AddrPort)) {
	defer context.AfterFunc(ctx, p.close)()
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	rest := minRest
	for {
		fd, from, failed, err := accept4(raw)
		switch {
		case err != nil && p.closed.Load():
			return
		case err != nil || failed != nil:
			b.counters.acceptErrors.Add(1)
			if rest == minRest {
				b.log().Warn("accept fails", "address", p.addr.String(), "err", cmp.Or(failed, err))
			}
			if !pause(ctx, rest) {
				return
			}
			rest = min(2*rest, maxRest)
		default:
			rest = minRest
			deliver(fd, from)
		}
	}
}

// rawConn is the part of syscall.RawConn that accept4 needs.
type rawConn interface {
	Read(func(fd uintptr) bool) error
}

// accept4 waits for one connection. failed is what the kernel said about this attempt; err is the runtime's, at the end above all. The socket
// stays blocking, so that no poller takes it up on its way to the instance.
func accept4(raw rawConn) (fd int, from netip.AddrPort, failed, err error) {
	err = raw.Read(func(ln uintptr) bool {
		for {
			var sa unix.Sockaddr
			fd, sa, failed = unix.Accept4(int(ln), unix.SOCK_CLOEXEC)
			switch failed {
			case nil:
				from = addrPort(sa)
				return true
			case unix.EAGAIN:
				return false
			case unix.EINTR, unix.ECONNABORTED: // the client left the queue: the next one, please
			default:
				return true
			}
		}
	})
	return fd, from, failed, err
}

// destination returns the address that the client dialled, which a listener on all addresses must ask for.
func destination(fd int, local netip.AddrPort) netip.AddrPort {
	if !local.Addr().IsUnspecified() {
		return local
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return local
	}
	return addrPort(sa)
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// reset closes a connection with RST: the client need not wait for an answer that nobody will give.
func reset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
