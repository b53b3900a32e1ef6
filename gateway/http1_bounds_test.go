package gateway

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/channel"
)

// A meteredListener counts what is read from the connections that it accepts.
type meteredListener struct {
	net.Listener
	read atomic.Int64
}

func (l *meteredListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return metered{c, &l.read}, nil
}

type metered struct {
	net.Conn
	read *atomic.Int64
}

func (m metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.read.Add(int64(n))
	return n, err
}

// Whatever a device sends ahead waits in its own socket: the gateway has one request of it under way, and of the next
// ones what a record and a buffer hold.
func TestAThousandPipelinedRequestsAreTakenOneByOne(t *testing.T) {
	const n, size, ahead = 1000, 2 << 10, 64 << 10
	ln := &meteredListener{}
	in := run(t, func(c *Config) {
		ln.Listener = c.Devices
		c.Devices = ln
	})
	d := in.dial("pc-1")
	before := ln.read.Load()
	var underWay, served atomic.Int64
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if underWay.Add(1) != 1 {
			t.Error("two requests of one connection at once")
		}
		defer underWay.Add(-1)
		if read, most := ln.read.Load()-before, served.Add(1)*(size+100)+ahead; read > most {
			t.Errorf("%d bytes were read for %d requests, want %d at most", read, served.Load(), most)
		}
		return d.Answer(head("200 OK"), r.head.Target, true)
	})
	go func() {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "GET /app/%d HTTP/1.1\r\nHost: %s\r\nX-Pad: %s\r\n\r\n", i, testName, strings.Repeat("p", size))
		}
		_, _ = d.c.Write([]byte(b.String())) // the answers say whether it arrived
	}()
	for i := range n {
		if r := d.receive("GET"); r.body != fmt.Sprintf("/app/%d", i) {
			t.Fatalf("answer %d is %q", i, r.body)
		}
	}
}

// A head that never ends takes a buffer of the size that it may have and no more, however many there are.
func TestAThousandUnfinishedHeadsHoldABufferEach(t *testing.T) {
	n := 1000
	if raceEnabled {
		n = 100 // which shows that it works; what it takes can be measured only without the detector
	}
	in := run(t, func(c *Config) { c.Timeouts.Head = 5 * time.Minute })
	cert := in.deviceCA.issue("pc-1")
	devices := make([]*device, n)
	var dialling sync.WaitGroup
	for worker := range 8 {
		dialling.Go(func() {
			for i := worker; i < n; i += 8 {
				devices[i] = in.dialTLS(in.clientTLS(cert))
				_ = devices[i].c.SetDeadline(time.Now().Add(4 * time.Minute))
				devices[i].ask(get("/app/")).wants(t, 200, 0)
			}
		})
	}
	dialling.Wait()
	if t.Failed() {
		return
	}
	idle := heapInUse()
	line := "X-Pad: " + strings.Repeat("p", 1000) + "\r\n"
	for _, d := range devices {
		d.send("GET /app/ HTTP/1.1\r\nHost: " + testName + "\r\n")
		for range 15 { // of the 16 KiB that a head may have
			d.send(line)
		}
	}
	waitFor(t, func() bool {
		waiting := 0
		in.conns.each(func(c *deviceConn) {
			if c.state.Load() == connBusy {
				waiting++
			}
		})
		return waiting == n
	})
	held := float64(heapInUse()-idle) / float64(n)
	t.Logf("%.1f KiB for each of %d unfinished heads", held/1024, n)
	if held > 32<<10 && !raceEnabled {
		t.Errorf("%.1f KiB for each head, want 32 at most", held/1024)
	}
	d := devices[0]
	d.send("\r\n")
	d.receive("GET").wants(t, 200, 0)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
