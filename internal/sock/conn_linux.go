package sock

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// New returns a connection that is c in all but the cost of Read and Write. What is no *net.TCPConn, as Shared
// is not, stays what it is.
func New(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	q := &conn{TCPConn: t, raw: raw}
	q.in.do, q.out.do = q.in.read, q.out.write
	return q
}

type conn struct {
	*net.TCPConn
	raw syscall.RawConn
	in  transfer
	out transfer
}

// A transfer is one direction, with the Read or Write that is under way.
type transfer struct {
	do func(fd uintptr) bool // read or write, as a value made once

	mu  sync.Mutex // guards the fields below
	p   []byte     // what is left
	n   int        // of what was done
	err error
}

func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, waited, err := c.in.run(p, c.raw.Read)
	switch {
	case waited != nil:
		return n, c.named("read", waited)
	case err != nil:
		return n, c.failed("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c *conn) Write(p []byte) (int, error) {
	n, waited, err := c.out.run(p, c.raw.Write)
	switch {
	case waited != nil:
		return n, c.named("write", waited)
	case err != nil:
		return n, c.failed("write", err)
	}
	return n, nil
}

// run returns what the waiting for the socket ended with besides what the system call did: a deadline, or a close.
func (t *transfer) run(p []byte, wait func(func(fd uintptr) bool) error) (n int, waited, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p, t.n, t.err = p, 0, nil
	waited = wait(t.do)
	t.p = nil
	return t.n, waited, t.err
}

// read reports whether there was something to read, or the end.
func (t *transfer) read(fd uintptr) bool {
	n, err := Read(fd, t.p)
	if err == syscall.EAGAIN {
		return false
	}
	t.n, t.err = n, err
	return true
}

// write reports whether everything was written.
func (t *transfer) write(fd uintptr) bool {
	for len(t.p) > 0 {
		n, err := Write(fd, t.p)
		if err == syscall.EAGAIN {
			return false
		}
		if err != nil {
			t.err = err
			return true
		}
		t.p, t.n = t.p[n:], t.n+n
	}
	return true
}

// named gives an error of waiting the name that it has in package net.
func (c *conn) named(op string, err error) error {
	if e, ok := err.(*net.OpError); ok {
		e.Op = op
	}
	return err
}

func (c *conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
