//go:build !linux

package reset

// reset makes the close that follows a reset.
func reset(c tcpConn) { _ = c.SetLinger(0) }
