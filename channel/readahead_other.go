//go:build !unix

package channel

import "net"

// readAhead is for systems where a socket can be asked without waiting.
type readAhead struct{}

func newReadAhead(net.Conn) *readAhead { return nil }

func (*readAhead) begin([]byte) {}

func (*readAhead) Read([]byte) (int, error) { return 0, net.ErrClosed }
