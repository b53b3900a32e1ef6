package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
)

// A port is a listening socket whose connections we accept by hand (package net would make each one its own first).
type port struct {
	file   *os.File
	addr   netip.AddrPort
	closed atomic.Bool
}

// listen binds address:number; a number of 0 or less means any free one.
func listen(ctx context.Context, address string, number int) (*port, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("address %q is not an IP address", address)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // what package confine knows to keep an instance from is TCP
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(max(number, 0))))
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File() // a duplicate: the port stays open
	if err != nil {
		return nil, err
	}
	return &port{file: f, addr: ln.Addr().(*net.TCPAddr).AddrPort()}, nil
}

// close ends accept.
func (p *port) close() {
	p.closed.Store(true) // first: the file's errors do not tell the end from anything else
	p.file.Close()
}
