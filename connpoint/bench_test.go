package connpoint

import (
	"io"
	"net"
	"testing"
)

// quietServer answers each request without allocating, so that what is measured is the handler's.
func quietServer(b testing.TB) *rawServer {
	answer := []byte("HTTP/1.1 200 OK\r\nServer: quiet\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + string(make([]byte, 1024)))
	return newRawServer(b, func(_ *rawServer, _ int, c net.Conn) {
		buf := make([]byte, 16<<10)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// BenchmarkSmallRequest is a GET with an answer of 1 KiB over a connection that is kept.
func BenchmarkSmallRequest(b *testing.B) {
	srv := quietServer(b)
	bench := newBench(b, srv.url(), nil)
	bench.handler.log, bench.handler.debug = quietLogger(), false
	in := bench.request("GET", "/app/x", "Accept: */*", "User-Agent: bench")
	b.ReportAllocs()
	for b.Loop() {
		in.answer, in.last = "", false
		in.data.Reset()
		bench.serve(in)
	}
	if in.data.Len() != 1024 {
		b.Fatalf("answer of %d bytes, refused %v", in.data.Len(), in.refused)
	}
}

// BenchmarkDownload is an answer of 64 MiB.
func BenchmarkDownload(b *testing.B) {
	const size = 64 << 20
	block := make([]byte, 64<<10)
	srv := newRawServer(b, func(s *rawServer, _ int, c net.Conn) {
		for s.readHead(c) != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
			for range size / len(block) {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}
	})
	bench := newBench(b, srv.url(), nil)
	bench.handler.log, bench.handler.debug = quietLogger(), false
	b.SetBytes(size)
	for b.Loop() {
		in := bench.request("GET", "/app/x")
		in.onData = func([]byte) { in.data.Reset() }
		bench.serve(in)
		if !in.last {
			b.Fatalf("refused %v", in.refused)
		}
	}
}
