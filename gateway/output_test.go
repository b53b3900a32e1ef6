package gateway

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// A writeCounter counts the writes that reach a connection.
type writeCounter struct {
	net.Conn
	n atomic.Int64
}

func (c *writeCounter) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

// A piece of a large body is several TLS records, and one write.
func TestALargePieceIsOneWrite(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	counter := &writeCounter{Conn: ours}
	c := &deviceConn{Conn: counter, socket: counter}
	cert := newCA(t, "ca").issue("gateway")
	c.tls = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
	client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}) // what is tested is how it arrives

	large := bytes.Repeat([]byte("0123456789abcdef"), corkFrom/16)
	small := large[:corkFrom-1]
	got := make(chan []byte, 1)
	go func() {
		p, _ := io.ReadAll(io.LimitReader(client, int64(2*len(large)+len(small))))
		got <- p
	}()
	if err := c.tls.Handshake(); err != nil {
		t.Fatal(err)
	}
	count := func(p []byte) int64 {
		t.Helper()
		before := counter.n.Load()
		if err := c.writeOut(p); err != nil {
			t.Fatal(err)
		}
		return counter.n.Load() - before
	}
	if n := count(large); n != 1 {
		t.Errorf("%d bytes in %d writes, want 1", len(large), n)
	}
	if n := count(small); n < 2 {
		t.Errorf("%d bytes were held back: for each of many devices that would be a copy", len(small))
	}
	count(large)
	if want := append(append(append([]byte(nil), large...), small...), large...); !bytes.Equal(<-got, want) {
		t.Error("the device got something else than was written")
	}
}

// A write that fails on the way to the device is an error of the call, not of the next one.
func TestALargePieceToADeviceThatLeft(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	c := &deviceConn{Conn: ours, socket: ours}
	c.tls = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{newCA(t, "ca").issue("gateway")}})
	client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}) // what is tested is how it ends
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := c.tls.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if err := c.writeOut(make([]byte, corkFrom)); err == nil {
		t.Error("a device that left took an answer")
	}
}
