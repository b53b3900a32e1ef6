// Package reset ends TCP connections so that the other side cannot take what it has got for all there is.
package reset

import (
	"net"
	"syscall"
)

// TCP sends a reset on c, if it is a TCP connection. What it has not sent yet is lost. The connection is of no use
// afterwards and is closed as ever.
func TCP(c net.Conn) {
	if t, ok := c.(tcpConn); ok {
		reset(t)
	}
}

// tcpConn is the part of *net.TCPConn that is needed.
type tcpConn interface {
	syscall.Conn
	SetLinger(seconds int) error
}
