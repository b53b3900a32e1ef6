package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime/pprof"
	"testing"
	"time"
)

// resting waits until n connections are served by goroutines that only wait for requests.
func resting(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(longWait); ; time.Sleep(20 * time.Millisecond) {
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		if bytes.Count(stacks.Bytes(), []byte("http1Conn).loop.func1.1")) == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %d connections at rest:\n%s", n, stacks.Bytes())
		}
	}
}

// dialHeldBack connects a device whose TLS records go out when the test says so.
func (in *instance) dialHeldBack(version uint16) (*device, *heldBack) {
	in.t.Helper()
	raw, err := net.Dial("tcp", in.devices.Addr().String())
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { raw.Close() })
	under := &heldBack{Conn: raw}
	cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
	cfg.MaxVersion = version
	c := tls.Client(under, cfg)
	_ = raw.SetDeadline(time.Now().Add(time.Minute))
	if err := c.Handshake(); err != nil {
		in.t.Fatal(err)
	}
	under.on = true
	return &device{in.t, c, bufio.NewReader(c)}, under
}

// A request wakes a connection at rest however it is cut, and also one of which a part was there before the rest.
func TestAConnectionAtRestTakesTheNextRequest(t *testing.T) {
	in := run(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, early := range []int{0, 3, 40} { // bytes that come before the rest
			d, under := in.dialHeldBack(version)
			for range 2 {
				d.send(get("/app/a"))
				under.flush(t)
				d.receive("GET").wants(t, 200, 0)
				d.send(get("/app/b"))
				rest := bytes.Clone(under.buf.Bytes()[early:])
				under.buf.Truncate(early)
				under.flush(t)
				resting(t, 1)
				under.buf.Write(rest[:len(rest)-5])
				under.flush(t)
				time.Sleep(20 * time.Millisecond)
				under.buf.Write(rest[len(rest)-5:])
				under.flush(t)
				d.receive("GET").wants(t, 200, 0)
			}
			d.c.Close()
			resting(t, 0)
		}
	}
}

func TestAConnectionAtRestEndsInTime(t *testing.T) {
	const keepAlive = 3 * restAfter
	in := run(t, func(c *Config) { c.Timeouts.KeepAlive = keepAlive })
	d := in.dial("pc-1")
	d.ask(get("/app/")).wants(t, 200, 0)
	began := time.Now()
	resting(t, 1)
	_ = d.c.SetReadDeadline(began.Add(3 * keepAlive))
	if _, err := d.br.ReadByte(); err != io.EOF {
		t.Errorf("got %v, want a clean end", err)
	}
	if took := time.Since(began); took < keepAlive-100*time.Millisecond {
		t.Errorf("it ended after %v, want %v", took, keepAlive)
	}
}

// A stop finds the connections at rest, and those that are about to be.
func TestAStopEndsConnectionsAtRest(t *testing.T) {
	for _, after := range []time.Duration{0, restAfter - time.Millisecond, restAfter + restAfter/8, 2 * restAfter} {
		in := run(t)
		var all []*device
		for range 20 {
			d := in.dial("pc-1")
			d.ask(get("/app/")).wants(t, 200, 0)
			all = append(all, d)
		}
		time.Sleep(after)
		in.stop()
		for _, d := range all {
			_ = d.c.SetReadDeadline(time.Now().Add(longWait))
			if _, err := d.br.ReadByte(); err != io.EOF {
				t.Errorf("stopped after %v: got %v, want a clean end", after, err)
			}
		}
	}
}
