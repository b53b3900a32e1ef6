//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// A bareFront takes devices' HTTP/1.1 connections and sends what they ask over the channel.
type bareFront struct {
	pool    *channel.Pool
	tls     *tls.Config
	carried *atomic.Uint64
}

func (f *bareFront) serve(raw net.Conn) {
	defer raw.Close()
	conn := tls.Server(sock.New(raw), f.tls)
	if conn.Handshake() != nil {
		return
	}
	d := &bareDevice{conn: conn, rd: http1.NewReader(conn), principal: channel.NewPrincipal(1, nil, raw.RemoteAddr().String())}
	defer d.principal.Close()
	for d.await() == nil && d.exchange(f.pool) == nil {
		f.carried.Add(1)
	}
}

// A bareDevice is one connection, and the device's side of the request that is under way on it.
type bareDevice struct {
	conn      *tls.Conn
	rd        *http1.Reader
	principal *channel.Principal
	req       http1.Request
	resp      http1.Response
	out       channel.Request
	head, buf []byte
	chunked   bool
}

// await reads the next request's head.
func (d *bareDevice) await() error {
	if err := d.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := d.rd.Wait(); err != nil {
		return err
	}
	return d.rd.ReadRequest(&d.req, http1.Limits{})
}

func (d *bareDevice) exchange(pool *channel.Pool) (err error) {
	r := &d.req
	if d.head, err = http1.AppendRequestHead(d.head[:0], r.Method, r.Target, r.Host); err != nil {
		return err
	}
	if r.HasLength {
		d.head = http1.AppendContentLength(d.head, r.BodyBytes)
	}
	d.head = http1.AppendEnd(http1.AppendInward(d.head, r))
	d.out = channel.Request{ID: causeway.NewRequestID(), Principal: d.principal, Head: d.head, BodyBytes: r.BodyBytes,
		Idempotent: r.BodyBytes == 0}
	if r.BodyBytes != 0 {
		d.out.Body = io.NopCloser(d.rd.Body(r.BodyBytes, r.Chunked, 0))
	}
	return pool.Exchange(context.Background(), &d.out, d)
}

func (d *bareDevice) Informational([]byte) error { return nil }

func (d *bareDevice) Answer(head, body []byte, last bool) error {
	r := &d.resp
	if err := r.Parse(head, d.req.Method, http1.Limits{}); err != nil {
		return err
	}
	b := http1.AppendOutward(http1.AppendStatusLine(d.buf[:0], r.Status, r.Reason), r)
	switch d.chunked = false; {
	case r.NoBody:
	case r.ContentLength >= 0:
		b = http1.AppendContentLength(b, r.ContentLength)
	case last:
		b = http1.AppendContentLength(b, int64(len(body)))
	default:
		d.chunked = true
		b = http1.AppendChunkedEncoding(b)
	}
	d.buf = http1.AppendEnd(b)
	return d.write(body, last)
}

func (d *bareDevice) Data(p []byte, last bool) error {
	d.buf = d.buf[:0]
	return d.write(p, last)
}

// write sends what is in buf already and p behind it.
func (d *bareDevice) write(p []byte, last bool) error {
	if d.chunked {
		d.buf = http1.AppendChunk(d.buf, p)
		if last {
			d.buf = http1.AppendLastChunk(d.buf, nil)
		}
	} else {
		d.buf = append(d.buf, p...)
	}
	return d.send(d.buf)
}

func (d *bareDevice) send(p []byte) error {
	if err := d.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := d.conn.Write(p)
	return err
}

func (d *bareDevice) Trailers(fields []byte) error {
	if !d.chunked {
		return nil
	}
	return d.send(http1.AppendLastChunk(d.buf[:0], fields))
}
