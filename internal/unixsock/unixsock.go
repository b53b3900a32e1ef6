// Package unixsock listens on and dials unix sockets whose path is longer than the kernel's 108 bytes.
package unixsock

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// maxPath is what fits into a socket address with its closing zero.
const maxPath = 107

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", short)
	if err != nil {
		return nil, named(err, path)
	}
	return c, nil
}

// Listen makes the socket at path, for its owner alone, in place of one that an earlier process left. The folder
// must not be open to others: whoever can enter it could connect before the mode is set.
func Listen(path string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	ln, err := net.Listen("unix", short)
	if err != nil {
		return nil, named(err, path)
	}
	// The short name is gone when Listen returns, so the owner of path removes it.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	own, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &listener{ln, path, own}, nil
}

// A listener removes its socket when it is closed, unless another process has put its own there since.
type listener struct {
	net.Listener
	path string
	own  fs.FileInfo
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	if fi, errStat := os.Lstat(l.path); errStat == nil && !os.SameFile(fi, l.own) {
		return err
	}
	if rm := os.Remove(l.path); err == nil && !errors.Is(rm, fs.ErrNotExist) {
		err = rm
	}
	return err
}

// named puts the path that was asked for into err, in place of the short one.
func named(err error, path string) error {
	if oe, ok := errors.AsType[*net.OpError](err); ok {
		err = oe.Err
	}
	return &fs.PathError{Op: "socket", Path: filepath.Clean(path), Err: err}
}
