package gateway

import (
	"errors"

	"github.com/causeway-gateway/causeway/policy"
)

// corkFrom is from how much on an answer's records are gathered into one write: the pieces of large bodies, which come
// over bulk connections. A copy of what the device has yet to take is held for each meanwhile, and bulk connections are
// few.
const corkFrom = 48 << 10

// writeOut writes more of an answer, within the time of the allowWrite before it. After an error the connection has to be
// closed: TLS may not know of it.
func (c *deviceConn) writeOut(b []byte) error {
	if len(b) < corkFrom {
		_, err := c.tls.Write(b)
		return err
	}
	c.out.Cork(len(b))
	_, err := c.tls.Write(b)
	return errors.Join(err, c.out.Uncork(func(records []byte) error {
		_, err := c.socket.Write(records)
		return err
	}))
}

// Write keeps back what TLS would say to a channel that it is not for. Who speaks HTTP/2 is given time here, because
// net/http writes when it wants; a write of HTTP/1.1 has been given it, and the farewell of TLS takes its own.
func (c *deviceConn) Write(b []byte) (int, error) {
	if c.peek != nil && c.peek.channel {
		return len(b), nil
	}
	if c.allowance != nil && c.writeBy.Load() != others {
		c.allowWrite(policy.DefaultIdleTimeout)
	}
	return c.out.Write(c.socket, b)
}
