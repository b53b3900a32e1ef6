package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of a new hand-over or attach socket. Both are close-on-exec; give one away with
// exec.Cmd.ExtraFiles or Attach, and close it afterwards.
func Pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("hand-over socket pair: %w", os.NewSyscallError("socketpair", err))
	}
	return os.NewFile(uintptr(fds[0]), "hand-over"), os.NewFile(uintptr(fds[1]), "hand-over"), nil
}

// open takes f over as a packet socket. It closes f in every case.
func open(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("hand-over socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok || u.LocalAddr().Network() != "unixpacket" {
		c.Close()
		return nil, fmt.Errorf("hand-over socket: descriptor is a %s connection, not a unix packet socket", c.LocalAddr().Network())
	}
	return u, nil
}

// send writes one message without ever waiting. The descriptor stays the caller's.
func send(c syscall.Conn, tag Tag, fd int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return ErrGone
	}
	rights := unix.UnixRights(fd)
	var sent error
	err = raw.Write(func(socket uintptr) bool {
		for {
			sent = unix.Sendmsg(int(socket), []byte{byte(tag)}, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if sent != unix.EINTR {
				return true // also when the queue is full: waiting is what we never do
			}
		}
	})
	switch {
	case err != nil:
		return ErrGone // closed on our side
	case sent == nil:
		return nil
	case errors.Is(sent, unix.EAGAIN), errors.Is(sent, unix.ENOBUFS), errors.Is(sent, unix.ENOMEM),
		errors.Is(sent, unix.ETOOMANYREFS): // too many descriptors of ours in flight, towards all instances together
		return ErrBusy
	case errors.Is(sent, unix.EPIPE), errors.Is(sent, unix.ECONNRESET), errors.Is(sent, unix.ENOTCONN):
		return ErrGone
	}
	return fmt.Errorf("hand over: %w", os.NewSyscallError("sendmsg", sent))
}

// errMalformed is what receive returns for a message that is not one tag and one descriptor. The descriptors that
// came with it are closed; the socket goes on.
var errMalformed = errors.New("malformed hand-over message")

// receive reads one message. On success the descriptor is the caller's; on any error none is.
func receive(c *net.UnixConn) (Tag, int, error) {
	var data [2]byte // one more than is legal, so that a longer message shows
	// Room for two descriptors (the kernel pads to 8 bytes anyhow); more are closed by the kernel, which says so.
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, flags, _, err := c.ReadMsgUnix(data[:], oob)
	// Descriptors may have come even with an error: an empty message reads like the end of the stream.
	fds, parsed := rights(oob[:oobn])
	switch {
	case err != nil && len(fds) == 0:
		return 0, -1, err
	case err == nil || errors.Is(err, io.EOF):
		const cut = unix.MSG_TRUNC | unix.MSG_CTRUNC
		if err == nil && parsed && n == 1 && len(fds) == 1 && flags&cut == 0 {
			return Tag(data[0]), fds[0], nil
		}
		err = errMalformed
	}
	closeAll(fds)
	return 0, -1, err
}

// rights returns every descriptor in a control message, and whether there was nothing else in it.
func rights(oob []byte) (fds []int, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	ok = err == nil
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			ok = false
			continue
		}
		fds = append(fds, got...)
	}
	return fds, ok
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
