//go:build !unix

package connpoint

import (
	"net"
	"time"
)

// An idleSocket looks at a connection that should be silent. Here that takes a read: it ends within a moment when
// nothing is there, and whatever it gets makes the connection unusable.
type idleSocket struct{ conn net.Conn }

// idleLook is how long the read may take.
const idleLook = time.Millisecond

func (s *idleSocket) init(c net.Conn) { s.conn = c }

// silent reports whether the connection is open and nothing waits to be read.
func (s *idleSocket) silent() bool {
	if s.conn.SetReadDeadline(time.Now().Add(idleLook)) != nil {
		return false
	}
	var one [1]byte
	if _, err := s.conn.Read(one[:]); !isTimeout(err) {
		return false
	}
	return s.conn.SetReadDeadline(time.Time{}) == nil
}
