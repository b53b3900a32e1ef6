package gateway

import (
	"net"

	"github.com/causeway-gateway/causeway/internal/sock"
)

// hungUp reports whether the other side has ended a connection, as far as the socket below knows. Nothing is read.
func hungUp(c net.Conn) bool {
	s := sock.Below(c)
	return s != nil && socketHungUp(s)
}
