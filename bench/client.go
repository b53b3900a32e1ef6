//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A client is one HTTP/1.1 connection of ours. It does as little as it can, because it shares the processor with
// what it measures.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

// dialing says how to connect.
type dialing struct {
	address string
	plain   bool
	config  *tls.Config
	buffer  int
}

// refusingOf connects without a client certificate to where a target asks for one.
func (l *lab) refusingOf(t *target) dialing {
	d := l.dialingOf(t, false)
	d.config.Certificates = nil
	if t.refusing != "" {
		d.address = t.refusing
	}
	return d
}

// dialingOf connects to a target as its devices do; with mutual, also to the others with a client certificate.
func (l *lab) dialingOf(t *target, mutual bool) dialing {
	d := dialing{address: t.address, plain: t.plain, buffer: 4 << 10, config: &tls.Config{
		ServerName: serviceName, RootCAs: l.keys.roots, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}}
	if mutual && t.mutual != "" {
		d.address = t.mutual
	}
	if mutual || t.identity {
		d.config.Certificates = []tls.Certificate{l.keys.device}
	}
	return d
}

func (d dialing) dial(ctx context.Context) (*client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	if !d.plain {
		secure := tls.Client(conn, d.config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	return &client{conn: conn, r: bufio.NewReaderSize(conn, d.buffer)}, nil
}

// send writes the head of a request.
func (c *client) send(method, path string, bodyBytes int64) error {
	head := method + " " + path + " HTTP/1.1\r\nHost: " + serviceName + "\r\n"
	if bodyBytes > 0 {
		head += "Content-Length: " + strconv.FormatInt(bodyBytes, 10) + "\r\n"
	}
	_, err := c.conn.Write([]byte(head + "\r\n"))
	return err
}

// answer reads the head of an answer and returns its status and the length of the body that follows.
func (c *client) answer() (status int, bodyBytes int64, err error) {
	bodyBytes = -1
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if first {
			fields := strings.Fields(text)
			if len(fields) < 2 {
				return 0, 0, fmt.Errorf("status line %q", text)
			}
			if status, err = strconv.Atoi(fields[1]); err != nil {
				return 0, 0, fmt.Errorf("status line %q", text)
			}
			continue
		}
		if text == "" {
			break
		}
		if name, value, _ := strings.Cut(text, ":"); strings.EqualFold(name, "Content-Length") {
			if bodyBytes, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return 0, 0, err
			}
		}
	}
	if bodyBytes < 0 {
		return 0, 0, errors.New("an answer without Content-Length")
	}
	return status, bodyBytes, nil
}

// get asks for path and reads the whole answer, whose status must be want.
func (c *client) get(path string, want int) (bodyBytes int64, err error) {
	if err := c.send("GET", path, 0); err != nil {
		return 0, err
	}
	status, n, err := c.answer()
	if err != nil {
		return 0, err
	}
	if _, err := c.r.Discard(int(n)); err != nil {
		return 0, err
	}
	if status != want {
		return 0, fmt.Errorf("GET %s: status %d", path, status)
	}
	return n, nil
}

func (c *client) close() { c.conn.Close() }
