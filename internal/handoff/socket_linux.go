package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of a new packet socket. Both are close-on-exec; give one away with exec.Cmd.ExtraFiles,
// Attach or Socket.Write, and close it afterwards.
func Pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("hand-over socket pair: %w", os.NewSyscallError("socketpair", err))
	}
	return os.NewFile(uintptr(fds[0]), "hand-over"), os.NewFile(uintptr(fds[1]), "hand-over"), nil
}

// A Socket is one end of a Pair: it carries messages, each with at most one descriptor.
type Socket struct {
	conn *net.UnixConn
}

// NewSocket takes f over. It closes f in every case.
func NewSocket(f *os.File) (*Socket, error) {
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
	return &Socket{u}, nil
}

// Write sends one message without waiting, with pass unless that is nil. The file stays the caller's. The errors are
// ErrBusy and ErrGone, rarely another.
func (s *Socket) Write(message []byte, pass *os.File) error { return write(s.conn, message, pass) }

// Read waits for one message and reads it into buf, which must hold one byte more than the longest legal message.
// The file, if one came, is the caller's. After ErrMalformed the next message can be read; every descriptor of the
// malformed one is closed. io.EOF says that the other end is closed.
func (s *Socket) Read(buf []byte) (n int, passed *os.File, err error) {
	n, fd, err := read(s.conn, buf)
	switch {
	case err != nil:
		return 0, nil, err
	case fd < 0:
		return n, nil, nil
	}
	return n, os.NewFile(uintptr(fd), "handed over"), nil
}

// SetReadDeadline bounds Read.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// Close closes this end. What was sent already can still be read at the other.
func (s *Socket) Close() error { return s.conn.Close() }

func write(c syscall.Conn, message []byte, pass *os.File) error {
	if pass == nil {
		return send(c, message, -1)
	}
	raw, err := pass.SyscallConn()
	if err != nil {
		return fmt.Errorf("pass descriptor: %w", err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = send(c, message, int(fd)) }); err != nil {
		return fmt.Errorf("pass descriptor: %w", err)
	}
	return sent
}

// send writes one message without ever waiting. fd stays the caller's; negative means none.
func send(c syscall.Conn, message []byte, fd int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return ErrGone
	}
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	var sent error
	err = raw.Write(func(socket uintptr) bool {
		for {
			sent = unix.Sendmsg(int(socket), message, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if sent != unix.EINTR {
				return true // also when the queue is full: waiting is what we never do
			}
		}
	})
	if err != nil {
		return ErrGone // closed on our side
	}
	return sendError(sent)
}

// sendError translates what sendmsg said.
func sendError(err error) error {
	switch err {
	case nil:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM,
		unix.ETOOMANYREFS: // too many descriptors in flight, towards all instances together
		return ErrBusy
	case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
		return ErrGone
	}
	return fmt.Errorf("hand over: %w", os.NewSyscallError("sendmsg", err))
}

// read reads one message. On success the descriptor, or -1, is the caller's; on any error none is left open. Of a
// malformed message, the bytes are in buf all the same.
func read(c *net.UnixConn, buf []byte) (n, fd int, err error) {
	// Room for two descriptors (the kernel pads to 8 bytes anyhow); more are closed by the kernel, which says so.
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	fds, parsed := rights(oob[:oobn])
	const cut = unix.MSG_TRUNC | unix.MSG_CTRUNC
	switch {
	case err == nil && parsed && len(fds) <= 1 && n < len(buf) && flags&cut == 0:
		if len(fds) == 1 {
			return n, fds[0], nil
		}
		return n, -1, nil
	case err == nil, errors.Is(err, io.EOF) && (len(fds) > 0 || flags&cut != 0):
		err = ErrMalformed // an empty message reads like the end of the stream, and may bring descriptors
	}
	closeAll(fds)
	return n, -1, err
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
