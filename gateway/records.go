package gateway

import (
	"encoding/binary"
	"net"
)

// An idle connection does not wait within TLS, whose reading takes so much stack that the collector cannot halve it:
// 4 KiB for each connection. It waits for the socket, and may do so only when TLS has nothing left to give.

// records follows the TLS records that a connection brings, to know when TLS holds none back. TLS asks the connection
// for more only when it has used every whole record. So if what it got last was the end of one record and no more, then
// that one is all it can have; and when its plaintext was taken too, there is nothing in front of the socket.
type records struct {
	header [5]byte
	have   int  // bytes of header; 0 between two records
	left   int  // bytes of its body to come
	used   bool // TLS holds nothing back but the plaintext of the last record
	length int  // of the last record's body
	taken  int  // of its plaintext, while used is set
	tls13  bool // whose overhead is known; set when the handshake is over
}

// note takes the next piece of the stream. An empty one says that TLS asked and got nothing.
func (r *records) note(p []byte) {
	if len(p) == 0 {
		r.used = r.have == 0
		return
	}
	ended := 0
	r.taken = 0
	for len(p) > 0 {
		if r.have < len(r.header) {
			n := copy(r.header[r.have:], p)
			r.have += n
			p = p[n:]
			if r.have < len(r.header) {
				break
			}
			r.left = int(binary.BigEndian.Uint16(r.header[3:]))
			r.length = r.left
		}
		n := min(r.left, len(p))
		r.left -= n
		p = p[n:]
		if r.left == 0 {
			r.have = 0
			ended++
		}
	}
	r.used = ended == 1 && r.have == 0
}

// tls13Overhead is what a record of TLS 1.3 has besides its plaintext, at least: padding may come on top. In TLS 1.2 it
// depends on the cipher, and may be less.
const tls13Overhead = 17

// emptied reports whether n bytes of plaintext, read where there was room for most, were all there was.
func (r *records) emptied(n, most int) bool {
	r.taken += n
	return n < most || r.tls13 && r.taken == r.length-tls13Overhead
}

// A plaintext is what TLS makes of a connection. It remembers whether the last read took all that there was.
type plaintext struct{ *deviceConn }

func (p plaintext) Read(b []byte) (int, error) {
	n, err := p.tls.Read(b)
	p.emptied = p.records.emptied(n, len(b))
	return n, err
}

// errNotYet is what a probe of TLS ends in. To TLS it is an error that passes, as a timeout does.
var errNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "nothing to read yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

// awaitInput waits until the device has sent something, as far as that can be told without TLS. wait reads a byte of
// the plaintext, if there is one.
func (c *deviceConn) awaitInput(wait func() error) error {
	if c.parker == nil {
		if c.parker = newParker(c.Conn); c.parker == nil {
			return nil
		}
	}
	if !c.records.used || !c.emptied {
		c.probing = true
		err := wait()
		c.probing = false
		if err != errNotYet {
			return err
		}
	}
	if c.readWithin > 0 {
		c.beforeRead()
	}
	return c.parker.wait()
}
