// Package begun is for connections of which bytes were read before anybody knew whom they are for.
package begun

import "net"

// A Conn begins with bytes that were read from it before. Reading has one owner.
type Conn struct {
	net.Conn
	Head   []byte   // read already, and to be read first
	Source net.Addr // the other side, where the connection itself does not know it; nil means it does
}

// Read returns what of Head is left, then reads the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.Head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.Head)
	if c.Head = c.Head[n:]; len(c.Head) == 0 {
		c.Head = nil
	}
	return n, nil
}

// NetConn returns the connection, of which Head is missing.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// RemoteAddr returns the address of the other side.
func (c *Conn) RemoteAddr() net.Addr {
	if c.Source != nil {
		return c.Source
	}
	return c.Conn.RemoteAddr()
}

// TakeHead takes what is left of Head, for who reads the connection itself from then on.
func (c *Conn) TakeHead() []byte {
	head := c.Head
	c.Head = nil
	return head
}
