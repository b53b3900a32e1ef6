package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/causeway-gateway/causeway/channel"
)

func TestAllowanceOfOrdinaryWork(t *testing.T) {
	const second = int64(time.Second)
	for name, work := range map[string]func(a *allowance, now *int64) bool{
		"pings of an idle connection, ten a second for a day": func(a *allowance, now *int64) bool {
			for range 10 * 86400 {
				if *now += second / 10; !a.spend(39, *now) {
					return false
				}
			}
			return true
		},
		"a full window of uploads that nobody reads yet, and heads of all streams": func(a *allowance, now *int64) bool {
			for range 128 {
				if !a.spend(1<<10, *now) {
					return false
				}
				a.begin()
			}
			return a.spend(http2Window+4096, *now) && a.spend(128*16<<10, *now)
		},
		"an upload in pieces of ten bytes": func(a *allowance, now *int64) bool {
			a.begin()
			for range 1_000_000 {
				if !a.spend(10+9+22, *now) {
					return false
				}
				a.read(10)
			}
			return a.end(outcomeAnswered, 0, *now)
		},
		"a download of 10 GB with a window update for every frame": func(a *allowance, now *int64) bool {
			a.begin()
			for range 10_000_000_000 / 4096 {
				a.sent(4096)
				if !a.spend(2*(13+22), *now) {
					return false
				}
			}
			return a.end(outcomeAnswered, 0, *now)
		},
		"requests with large heads, all answered": func(a *allowance, now *int64) bool {
			for range 100_000 {
				a.begin()
				if !a.spend(16<<10, *now) || !a.end(outcomeAnswered, 0, *now) {
					return false
				}
			}
			return true
		},
		"a poll given up every second": func(a *allowance, now *int64) bool {
			for range 86400 {
				*now += second
				a.begin()
				if !a.spend(100, *now) || !a.end(outcomeReset, 0, *now) {
					return false
				}
			}
			return true
		},
		"every other request taken back": func(a *allowance, now *int64) bool {
			for range 100_000 {
				a.begin()
				a.begin()
				if !a.spend(200, *now) || !a.end(outcomeAnswered, 0, *now) || !a.end(outcomeReset, 0, *now) {
					return false
				}
			}
			return true
		},
		"uploads that are refused while they come": func(a *allowance, now *int64) bool {
			for range 10_000 {
				a.begin()
				if !a.spend(100+http2StreamWindow+2<<10, *now) || !a.end(outcomeRefused, 8<<20, *now) {
					return false
				}
				*now += 2 * second
			}
			return true
		},
		"five refusals a second": func(a *allowance, now *int64) bool {
			for range 100_000 {
				*now += second / 5
				a.begin()
				if !a.spend(200, *now) || !a.end(outcomeRefused, 0, *now) {
					return false
				}
			}
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := int64(12345)
			a := newAllowance(now)
			if !work(a, &now) {
				t.Errorf("cut with %d bytes and %d resets left", a.bytes, a.resets)
			}
			if a.open < 0 {
				t.Errorf("%d requests open", a.open)
			}
		})
	}
}

func TestAllowanceOfFloods(t *testing.T) {
	now := int64(0)
	good := func() *allowance { // hours of good work before
		a := newAllowance(now)
		for range 100_000 {
			a.begin()
			a.end(outcomeAnswered, 0, now)
		}
		return a
	}
	for name, a := range map[string]*allowance{"fresh": newAllowance(now), "after good work": good()} {
		t.Run(name, func(t *testing.T) {
			n := 0
			for a.spend(9, now) {
				n += 9
			}
			if n > maxAllowanceBytes {
				t.Errorf("%d bytes of empty frames passed", n)
			}
		})
	}
	a, n := good(), 0
	for a.begin(); a.end(outcomeReset, 0, now); a.begin() {
		n++
	}
	if n > maxAllowanceResets {
		t.Errorf("%d rapid resets passed", n)
	}
}

// cuts is how many connections were cut for that.
func (in *instance) cuts(reason string) (n int) {
	families, err := in.registry.Gather()
	if err != nil {
		in.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "causeway_gateway_http2_connections_cut_total" && m.GetLabel()[0].GetValue() == reason {
				n = int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	n := len(payload)
	return append([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}, payload...)
}

// A flood repeats frames until the gateway hangs up, and reads what comes meanwhile, so that no queue of answers
// ends it.
func (d *h2Device) flood(t *testing.T, most int, next func() []byte) (cut bool) {
	t.Helper()
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { _, _ = io.Copy(io.Discard, d.c) })
	defer d.c.Close()
	var batch []byte
	for sent := 0; sent < most; sent += len(batch) {
		for batch = batch[:0]; len(batch) < 8<<10; {
			batch = append(batch, next()...)
		}
		if _, err := d.c.Write(batch); err != nil {
			return true
		}
	}
	return false
}

func TestHTTP2FloodsAreCut(t *testing.T) {
	in := run(t)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		if string(r.head.Target) == "/app/hold" {
			<-ctx.Done()
			return ctx.Err()
		}
		return answerOK(ctx, r, d)
	})
	cert := in.deviceCA.issue("noisy")
	const (
		data, headers, priority, rst, settings, ping, continuation = 0, 1, 2, 3, 4, 6, 9
		endStream, endHeaders                                      = 1, 4
	)
	always := func(b []byte) func(*h2Device) func() []byte {
		return func(*h2Device) func() []byte { return func() []byte { return b } }
	}
	for name, tt := range map[string]struct {
		reason string // in place of net/http's own defence, if it must be ours
		start  func(d *h2Device) func() []byte
	}{
		"rapid reset": {cutResets, func(d *h2Device) func() []byte {
			d.open(true, h2request("GET", testName, "/app/hold")...) // fills the table: what follows is short
			return func() []byte {
				d.buf.Reset()
				for _, f := range h2request("GET", testName, "/app/hold") {
					_ = d.enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
				}
				id := d.next
				d.next += 2
				return append(frame(headers, endStream|endHeaders, id, d.buf.Bytes()...), frame(rst, 0, id, 0, 0, 0, 8)...)
			}
		}},
		"empty CONTINUATION": {cutBytes, func(d *h2Device) func() []byte {
			first := frame(headers, endStream, d.next, 0x82)
			return func() []byte {
				if first != nil {
					b := first
					first = nil
					return b
				}
				return frame(continuation, 0, d.next)
			}
		}},
		"empty DATA": {cutBytes, func(d *h2Device) func() []byte {
			id := d.open(false, h2request("POST", testName, "/app/hold")...)
			return func() []byte { return frame(data, 0, id) }
		}},
		"PRIORITY": {cutBytes, always(frame(priority, 0, 1, 0, 0, 0, 0, 1))},
		// net/http counts the answers that nobody reads, and may be first.
		"PING":     {"", always(frame(ping, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8))},
		"SETTINGS": {"", always(frame(settings, 0, 0))},
		"HPACK bomb": {cutBytes, func(d *h2Device) func() []byte {
			d.open(true, h2request("GET", testName, "/app/", h2Field{"x", strings.Repeat("y", 4000)})...)
			return func() []byte {
				d.next += 2
				// The one entry of the dynamic table, sixty-four times.
				return frame(headers, endStream|endHeaders, d.next, append([]byte{0x82, 0x84, 0x87, 0x41, 1, 'h'}, bytes.Repeat([]byte{0xbe}, 64)...)...)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := in.cuts(tt.reason)
			d := in.dialHTTP2(t, cert)
			if !d.flood(t, 16<<20, tt.start(d)) {
				t.Fatal("the flood goes on")
			}
			if tt.reason != "" {
				waitFor(t, func() bool { return in.cuts(tt.reason) > before })
			}
			in.dial("quiet").ask(get("/app/")).wants(t, 200, 0)
		})
	}
	waitFor(t, func() bool { return in.inFlight.Load() == 0 })
}

// libraryClient is an ordinary HTTP/2 client with one connection.
func (in *instance) libraryClient(t *testing.T, cert tls.Certificate) *http.Client {
	cfg := in.clientTLS(cert)
	cfg.NextProtos = []string{"h2"}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true, HTTP2: &http.HTTP2Config{StrictMaxConcurrentRequests: true},
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, in.devices.Addr().String())
		}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestHTTP2OrdinaryWorkIsNeverCut(t *testing.T) {
	in := run(t)
	read := make(chan struct{})
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		switch string(r.head.Target) {
		case "/app/late":
			<-read
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return err
			}
			return d.Answer(head("200 OK"), fmt.Append(nil, n), true)
		case "/app/early":
			return d.Answer(head("409 Conflict"), []byte("no"), true)
		case "/app/large":
			if err := d.Answer(head("200 OK"), nil, false); err != nil {
				return err
			}
			piece := make([]byte, 16<<10)
			for range 1 << 10 {
				if err := d.Data(piece, false); err != nil {
					return err
				}
			}
			return d.Data(nil, true)
		}
		return answerOK(ctx, r, d)
	})
	t.Run("uploads that wait for their server with full windows", func(t *testing.T) {
		client := in.libraryClient(t, in.deviceCA.issue("pc-1"))
		var uploads sync.WaitGroup
		for range 8 {
			uploads.Go(func() {
				resp, err := client.Post("https://"+testName+"/app/late", "", bytes.NewReader(make([]byte, 2<<20)))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if b, err := io.ReadAll(resp.Body); err != nil || string(b) != fmt.Sprint(2<<20) {
					t.Errorf("%q, %v", b, err)
				}
			})
		}
		waitFor(t, func() bool { return in.unread(http2Window) })
		close(read)
		uploads.Wait()
	})
	t.Run("uploads that are answered early", func(t *testing.T) {
		client := in.libraryClient(t, in.deviceCA.issue("pc-1"))
		var uploads sync.WaitGroup
		for range 64 {
			uploads.Go(func() {
				for range 8 {
					resp, err := client.Post("https://"+testName+"/app/early", "", bytes.NewReader(make([]byte, 1<<20)))
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		uploads.Wait()
	})
	t.Run("a long download", func(t *testing.T) {
		resp, err := in.libraryClient(t, in.deviceCA.issue("pc-1")).Get("https://" + testName + "/app/large")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != 16<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("128 streams with large heads", func(t *testing.T) {
		client := in.libraryClient(t, in.deviceCA.issue("pc-1"))
		var streams sync.WaitGroup
		for i := range 128 {
			streams.Go(func() {
				for range 4 {
					req, _ := http.NewRequest("GET", "https://"+testName+"/app/", nil)
					req.Header.Set("X-Large", fmt.Sprint(i)+strings.Repeat("v", 12<<10))
					resp, err := client.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 {
						t.Errorf("status %d", resp.StatusCode)
					}
				}
			})
		}
		streams.Wait()
	})
	for _, reason := range []string{cutBytes, cutResets, cutStranger} {
		if n := in.cuts(reason); n != 0 {
			t.Errorf("%d connections cut for %s", n, reason)
		}
	}
}

// unread reports whether some connection has sent as many bytes that nobody read.
func (in *instance) unread(n int64) (found bool) {
	in.conns.each(func(c *deviceConn) {
		if !c.patrolled.Load() && c.strange() {
			return // not handed to HTTP/2 yet
		}
		c.allowance.mu.Lock()
		found = found || c.allowance.bytes < allowanceBytes-n
		c.allowance.mu.Unlock()
	})
	return found
}
