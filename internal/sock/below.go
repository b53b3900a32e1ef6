package sock

import (
	"net"
	"syscall"
)

// Below returns the socket that a connection ends at, whatever is between: all that says with NetConn what is below it,
// as TLS does. It returns nil where no socket is.
func Below(c net.Conn) syscall.Conn {
	for {
		switch t := c.(type) {
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		case syscall.Conn:
			return t
		default:
			return nil
		}
	}
}
