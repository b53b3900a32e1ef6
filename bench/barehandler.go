//go:build linux

package main

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// A bareHandler brings what comes over the channel to the servers, on connections that it keeps.
type bareHandler struct {
	carried atomic.Uint64

	mu   sync.Mutex // guards idle
	idle []*bareServer
}

// A bareServer is one connection to a server.
type bareServer struct {
	net.Conn
	raw  syscall.RawConn
	rd   *http1.Reader
	req  http1.Request
	resp http1.Response
	head []byte
	buf  [32 << 10]byte
}

func (h *bareHandler) Handle(in *channel.Inbound) {
	s, err := h.take()
	if err == nil {
		if err = s.carry(in); err == nil {
			h.carried.Add(1)
			h.put(s)
			return
		}
		s.Close()
	}
	in.Refuse(causeway.CodeConnectorServerUnreachable, channel.Final)
}

func (h *bareHandler) take() (*bareServer, error) {
	for {
		h.mu.Lock()
		n := len(h.idle)
		if n == 0 {
			h.mu.Unlock()
			return dialBare()
		}
		s := h.idle[n-1]
		h.idle = h.idle[:n-1]
		h.mu.Unlock()
		if s.silent() {
			return s, nil
		}
		s.Close()
	}
}

func dialBare() (*bareServer, error) {
	conn, err := net.Dial("tcp", backendAddress)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	conn = sock.New(conn)
	// The reader asks for one byte first; in front of a connection without TLS that would be a system call.
	return &bareServer{Conn: conn, raw: raw, rd: http1.NewReader(bufio.NewReader(conn))}, nil
}

// silent reports whether an idle connection is still open, and brings nothing that nobody asked for.
func (s *bareServer) silent() (ok bool) {
	err := s.raw.Control(func(fd uintptr) { ok = !sock.Readable(fd) })
	return ok && err == nil
}

func (h *bareHandler) put(s *bareServer) {
	s.rd.Release()
	h.mu.Lock()
	h.idle = append(h.idle, s)
	h.mu.Unlock()
}

// carry sends one request and passes the answer on. After an error the connection is of no use.
func (s *bareServer) carry(in *channel.Inbound) (err error) {
	if err := s.req.Parse(in.Head(), http1.Limits{}); err != nil {
		return err
	}
	r := &s.req
	if s.head, err = http1.AppendRequestHead(s.head[:0], r.Method, r.Target, r.Host); err != nil {
		return err
	}
	if r.HasLength {
		s.head = http1.AppendContentLength(s.head, r.BodyBytes)
	}
	s.head = http1.AppendEnd(http1.AppendInward(s.head, r))
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := s.Write(s.head); err != nil {
		return err
	}
	if in.BodyBytes() != 0 {
		if _, err := io.Copy(s.Conn, in.Body()); err != nil {
			return err
		}
	}
	if err := s.rd.ReadResponse(&s.resp, r.Method, http1.Limits{}); err != nil {
		return err
	}
	return s.answer(in)
}

func (s *bareServer) answer(in *channel.Inbound) error {
	r := &s.resp
	b := http1.AppendOutward(http1.AppendStatusLine(s.head[:0], r.Status, r.Reason), r)
	if r.ContentLength >= 0 {
		b = http1.AppendContentLength(b, r.ContentLength)
	}
	s.head = http1.AppendEnd(b)
	if r.BodyBytes == 0 {
		return in.Answer(s.head, nil, true)
	}
	body := s.rd.Body(r.BodyBytes, r.Chunked, 0)
	send := func(p []byte, last bool) error { return in.Answer(s.head, p, last) }
	for {
		n, err := s.fill(body)
		if err != nil && err != io.EOF {
			return err
		}
		if err := send(s.buf[:n], err == io.EOF); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		send = in.Data
	}
}

// fill reads until the buffer is full or the body over.
func (s *bareServer) fill(body io.Reader) (n int, err error) {
	for n < len(s.buf) && err == nil {
		var m int
		m, err = body.Read(s.buf[n:])
		n += m
	}
	return n, err
}
