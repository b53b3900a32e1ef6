package channel

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// tlsPair returns both ends of a TLS 1.3 connection over loopback, batched as roles do it.
func tlsPair(tb testing.TB) (cp, gw *tls.Conn) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"gw"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	got := make(chan *tls.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s := tls.Server(Batched(c), &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true})
		_ = s.Handshake()
		got <- s
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	cp = tls.Client(Batched(c), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true})
	if err := cp.Handshake(); err != nil {
		tb.Fatal(err)
	}
	return cp, <-got
}

// discard is a device that reads everything at once.
type discard struct{}

func (discard) Informational([]byte) error       { return nil }
func (discard) Answer(_, _ []byte, _ bool) error { return nil }
func (discard) Data(_ []byte, _ bool) error      { return nil }
func (discard) Trailers(_ []byte) error          { return nil }

func benchPool(b *testing.B, h handlerFunc) *Pool {
	p := NewPool(PoolConfig{Gatekeeper: &keeper{}})
	for i := range 2 {
		cp, gw := tlsPair(b)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{}, 2)
		go func() { _ = p.Serve(ctx, gw, SlotPort); ended <- struct{}{} }()
		s, _, err := Connect(ctx, cp, Hello{ConnectionPoint: "cp", Index: i}, SessionConfig{})
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = s.Serve(context.WithoutCancel(ctx), h); ended <- struct{}{} }()
		b.Cleanup(func() { s.Close(); <-ended; <-ended; cancel() })
	}
	for !p.Ready() {
		time.Sleep(time.Millisecond)
	}
	return p
}

func BenchmarkSmallExchange(b *testing.B) {
	body := make([]byte, 1024)
	p := benchPool(b, func(in *Inbound) { _ = in.Answer([]byte(okHead), body, true) })
	pr := NewPrincipal(1, []byte("e"), "s")
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		req := &Request{ID: causeway.NewRequestID(), Principal: pr, Head: []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Idempotent: true}
		for pb.Next() {
			if err := p.Exchange(context.Background(), req, discard{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDownload(b *testing.B) {
	piece := make([]byte, 32<<10)
	const total = 64 << 20
	p := benchPool(b, func(in *Inbound) {
		_ = in.Answer([]byte(okHead), nil, false)
		for n := 0; n < total; n += len(piece) {
			if in.Data(piece, n+len(piece) == total) != nil {
				return
			}
		}
	})
	pr := NewPrincipal(1, []byte("e"), "s")
	b.SetBytes(total)
	for b.Loop() {
		req := &Request{ID: causeway.NewRequestID(), Principal: pr, Head: []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}
		if err := p.Exchange(context.Background(), req, discard{}); err != nil {
			b.Fatal(err)
		}
	}
}
