package gateway

import (
	"net"
	"syscall"

	"github.com/causeway-gateway/causeway/internal/begun"
)

// hungUp reports whether the other side has ended a connection, as far as the socket below knows. Nothing is read.
func hungUp(c net.Conn) bool {
	for {
		switch t := c.(type) {
		case *begun.Conn:
			c = t.Conn
		case *deviceConn:
			c = t.Conn
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		case syscall.Conn:
			return socketHungUp(t)
		default:
			return false
		}
	}
}
