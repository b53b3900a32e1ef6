package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

func TestRecordsKnowWhenTLSHoldsNothingBack(t *testing.T) {
	record := func(n int) string {
		return "\x17\x03\x03" + string([]byte{byte(n >> 8), byte(n)}) + strings.Repeat("x", n)
	}
	for _, tt := range []struct {
		name   string
		pieces []string
		want   bool
	}{
		{"nothing", nil, false},
		{"one record", []string{record(100)}, true},
		{"one record in pieces", []string{record(300)[:3], record(300)[3:7], record(300)[7:]}, true},
		{"by the byte", bytewise(record(20)), true},
		{"an empty record", []string{record(0)}, true},
		{"two records", []string{record(1) + record(2)}, false},
		{"two records, one by one", []string{record(1), record(2)}, true},
		{"two records, asked again", []string{record(1) + record(2), ""}, true},
		{"one and a half", []string{record(1) + record(9)[:7]}, false},
		{"one and a half, asked again", []string{record(1) + record(9)[:7], ""}, false},
		{"the other half", []string{record(1) + record(9)[:7], record(9)[7:]}, true},
		{"the other half and more", []string{record(9)[:7], record(9)[7:] + record(1)}, false},
		{"half a header behind", []string{record(9) + record(9)[:2]}, false},
		{"asked in the midst", []string{record(9)[:4], ""}, false},
	} {
		var r records
		for _, p := range tt.pieces {
			r.note([]byte(p))
		}
		if r.used != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, r.used, tt.want)
		}
	}
}

func bytewise(s string) (pieces []string) {
	for i := range len(s) {
		pieces = append(pieces, s[i:i+1])
	}
	return pieces
}

func TestRecordsKnowWhenAllPlaintextWasTaken(t *testing.T) {
	r := records{tls13: true}
	r.note([]byte("\x17\x03\x03\x00\x75" + strings.Repeat("x", 0x75))) // 100 bytes, their type and a tag
	for i, step := range []struct {
		n, most int
		want    bool
	}{{1, 1, false}, {50, 50, false}, {49, 49, true}} {
		if got := r.emptied(step.n, step.most); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if r.note([]byte("\x17\x03\x03\x01\x00" + strings.Repeat("x", 256))); r.emptied(100, 100) || !r.emptied(10, 100) {
		t.Error("the next record is taken for the last one")
	}
}

// In TLS 1.2 a record of ChaCha20-Poly1305 has 16 bytes besides its plaintext: one byte may be left when the buffer is full.
func TestRecordsOfTLS12MayHoldOneMoreByte(t *testing.T) {
	var r records
	r.note([]byte("\x17\x03\x03\x00\x75" + strings.Repeat("x", 0x75))) // 101 bytes and a tag
	if r.emptied(100, 100) {
		t.Error("a full buffer is taken for the whole record")
	}
	if !r.emptied(1, 100) {
		t.Error("the last byte is not")
	}
}

// A heldBack connection keeps what is written until it is told to send.
type heldBack struct {
	net.Conn
	on  bool
	buf bytes.Buffer
}

func (c *heldBack) Write(p []byte) (int, error) {
	if !c.on {
		return c.Conn.Write(p)
	}
	return c.buf.Write(p)
}

func (c *heldBack) flush(t *testing.T) {
	t.Helper()
	if _, err := c.Conn.Write(c.buf.Bytes()); err != nil {
		t.Error(err)
	}
	c.buf.Reset()
}

// However a device's requests are cut into records and segments, each is noticed when it is there: if the gateway
// waited for the socket while TLS has a request already, it would not be answered before the next one comes.
func TestRequestsAreNoticedHoweverTheyAreCut(t *testing.T) {
	in := run(t)
	cert := in.deviceCA.issue("pc-1")
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		raw, err := net.Dial("tcp", in.devices.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.SetDeadline(time.Now().Add(time.Minute))
		under := &heldBack{Conn: raw}
		cfg := in.clientTLS(cert)
		if seed%2 == 1 {
			cfg.MaxVersion = tls.VersionTLS12
		}
		c := tls.Client(under, cfg)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		under.on = true
		d := &device{t, c, bufio.NewReader(c)}
		for batch := range 12 {
			n := 1 + r.IntN(3)
			var b strings.Builder
			for range n {
				fmt.Fprintf(&b, "POST /app/x HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nX-Pad: %s\r\n\r\nhello", testName, strings.Repeat("p", r.IntN(3000)))
			}
			for rest := b.String(); rest != ""; {
				cut := min(len(rest), 1+r.IntN(2*len(rest)))
				d.send(rest[:cut]) // a record
				if rest = rest[cut:]; r.IntN(2) == 0 {
					under.flush(t)
				}
			}
			under.flush(t)
			for i := range n {
				if got := d.receive("POST"); got.StatusCode != 200 || got.body != "hello hello" {
					t.Fatalf("seed %d, batch %d, answer %d: %d %q", seed, batch, i, got.StatusCode, got.body)
				}
			}
		}
		raw.Close()
	}
}
