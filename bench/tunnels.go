//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
)

// The tunnels below carry TCP and end no TLS, so haproxy stands in front of each, as people run them.

// frpTarget is frp in its fastest form: a TCP proxy over one multiplexed connection.
func frpTarget(ctx context.Context, l *lab) (*target, error) {
	frps, frpc := lookTool("frps"), lookTool("frpc")
	if frps == "" || frpc == "" {
		return nil, nil
	}
	const ip = "127.77.0.30"
	server, err := l.write("frps.toml", fmt.Sprintf("bindAddr = %q\nproxyBindAddr = %[1]q\nbindPort = 7000\nlog.level = \"error\"\n", ip))
	if err != nil {
		return nil, err
	}
	proxy := func(name, to string, port int) string {
		host, local, _ := net.SplitHostPort(to) // constants of ours
		return fmt.Sprintf("\n[[proxies]]\nname = %q\ntype = \"tcp\"\nlocalIP = %q\nlocalPort = %s\nremotePort = %d\n", name, host, local, port)
	}
	client, err := l.write("frpc.toml", fmt.Sprintf("serverAddr = %q\nserverPort = 7000\nlog.level = \"error\"\n", ip)+
		proxy("files", backendAddress, 7001)+proxy("sink", sinkAddress, 7002))
	if err != nil {
		return nil, err
	}
	outside, err := l.runAt(ctx, "frps", []string{ip + ":7000"}, frps, "-c", server)
	if err != nil {
		return nil, err
	}
	inside, err := l.runAt(ctx, "frpc", []string{ip + ":7001", ip + ":7002"}, frpc, "-c", client)
	if err != nil {
		return nil, err
	}
	l.version(frps, "--version")
	return l.behindHAProxy(ctx, "frp-haproxy", "127.77.0.32", ip, tree(outside), tree(inside))
}

// chiselTarget is chisel's reverse remote: SSH inside a WebSocket.
func chiselTarget(ctx context.Context, l *lab) (*target, error) {
	chisel := lookTool("chisel")
	if chisel == "" {
		return nil, nil
	}
	const ip = "127.77.0.31"
	outside, err := l.runAt(ctx, "chisel-server", []string{ip + ":7000"}, chisel, "server", "--host", ip, "--port", "7000", "--reverse")
	if err != nil {
		return nil, err
	}
	inside, err := l.runAt(ctx, "chisel-client", []string{ip + ":7001", ip + ":7002"}, chisel, "client", "http://"+ip+":7000",
		"R:"+ip+":7001:"+backendAddress, "R:"+ip+":7002:"+sinkAddress)
	if err != nil {
		return nil, err
	}
	l.version(chisel, "--version")
	return l.behindHAProxy(ctx, "chisel-haproxy", "127.77.0.33", ip, tree(outside), tree(inside))
}

// behindHAProxy makes a target of a tunnel whose outer end listens at ip, on 7001 for the files and 7002 for the sink.
func (l *lab) behindHAProxy(ctx context.Context, name, front, ip string, outside, inside func() []int) (*target, error) {
	proxy, err := l.haproxy(ctx, name, front+":8443", front+":8444", front+":8445", "server s "+ip+":7001", "server s "+ip+":7002")
	if err != nil {
		return nil, err
	}
	return &target{
		address: front + ":8443", mutual: front + ":8444", refusing: front + ":8445", h2: true,
		gateway:   func() []int { return append(tree(proxy)(), outside()...) },
		connector: inside,
	}, nil
}
