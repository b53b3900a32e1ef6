//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway/channel"
)

// The target tunnel-bare is Causeway's channel between Causeway's HTTP reader and writer at both ends, and what no tunnel
// can do without: deadlines, and a look at an idle connection to a server before it is used again. It has no identity, no
// policy, no mapping of names and URLs, no limits, no request ids in answers, no counters, no metrics, no logs and no
// watch for devices that went away. What causeway-instance is slower by is what all those cost. It is strict about
// messages at both ends, as Causeway is.

// barePercent is how far the heap of both may grow before it is collected: as far as that of a role under load.
const barePercent = 400

// patience is how long a device or server may take, as long as in Causeway.
const patience = time.Minute

// bareConnections is how many connections a connection point keeps to an instance by default.
const bareConnections = 2

// bareTarget starts both ends as processes of their own.
func bareTarget(ctx context.Context, l *lab) (*target, error) {
	const ip = "127.77.0.22"
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	outside, inside := filepath.Join(l.dir, "bare-gateway.sock"), filepath.Join(l.dir, "bare-connector.sock")
	gateway, err := l.runAt(ctx, "bare-gateway", []string{ip + ":8443", ip + ":10124"}, self, "bare-gateway", "-devices", ip+":8443",
		"-channels", ip+":10124", "-metrics", outside, "-cert", l.keys.certFile, "-key", l.keys.keyFile)
	if err != nil {
		return nil, err
	}
	connector, err := l.run("bare-connector", self, "bare-connector", "-gateway", ip+":10124", "-metrics", inside,
		"-roots", l.keys.caFile, "-cert", l.keys.deviceCertFile, "-key", l.keys.deviceKeyFile)
	if err != nil {
		return nil, err
	}
	t := &target{
		address: ip + ":8443", gateway: tree(gateway), connector: tree(connector), only: []string{"a", costs},
		gatewayMetrics:   func() []string { return []string{outside} },
		connectorMetrics: func() []string { return []string{inside} },
	}
	return t, await(ctx, func() error { return l.answers(ctx, t) })
}

// bareGatewayServer is the gateway's end.
func bareGatewayServer(args []string) error {
	flags := flag.NewFlagSet("bare-gateway", flag.ContinueOnError)
	devices, channels, metrics := flags.String("devices", "", ""), flags.String("channels", "", ""), flags.String("metrics", "", "")
	cert, key := flags.String("cert", "", ""), flags.String("key", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	debug.SetGCPercent(barePercent)
	var carried atomic.Uint64
	front := &bareFront{pool: channel.NewPool(channel.PoolConfig{Gatekeeper: everybody{}}), carried: &carried,
		tls: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}}
	ends := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true}
	failed := make(chan error, 3)
	go func() { failed <- serveMetrics(*metrics, &carried) }()
	go func() { failed <- accept(*devices, front.serve) }()
	go func() {
		failed <- accept(*channels, func(c net.Conn) {
			conn := tls.Server(channel.Batched(c), ends)
			if conn.Handshake() == nil {
				_ = front.pool.Serve(context.Background(), conn, channel.SlotPort) // the connector says how it ended
			}
			c.Close()
		})
	}()
	return <-failed
}

// everybody admits who comes: there is one connector, and the port is on loopback.
type everybody struct{}

func (everybody) Apply([]byte) (string, uint64, error) { return "", 0, nil }
func (everybody) Admit(channel.Hello, []*x509.Certificate) (channel.Welcome, error) {
	return channel.Welcome{Instance: "bare"}, nil
}

// accept gives every connection at address a goroutine.
func accept(address string, serve func(net.Conn)) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(c)
	}
}

// bareConnectorServer is the connection point's end.
func bareConnectorServer(args []string) error {
	flags := flag.NewFlagSet("bare-connector", flag.ContinueOnError)
	gateway, metrics, roots := flags.String("gateway", "", ""), flags.String("metrics", "", ""), flags.String("roots", "", "")
	cert, key := flags.String("cert", "", ""), flags.String("key", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(*roots)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: x509.NewCertPool(), ServerName: serviceName,
		MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}
	config.RootCAs.AppendCertsFromPEM(ca)
	debug.SetGCPercent(barePercent)
	h := &bareHandler{}
	failed := make(chan error, 1+bareConnections)
	go func() { failed <- serveMetrics(*metrics, &h.carried) }()
	for i := range bareConnections {
		go func() { failed <- bareSession(*gateway, config, i, h) }()
	}
	return <-failed
}

// bareSession is one connection to the gateway's end, for as long as it lasts.
func bareSession(address string, config *tls.Config, index int, h channel.Handler) error {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	conn := tls.Client(channel.Batched(raw), config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	session, _, err := channel.Connect(context.Background(), conn,
		channel.Hello{ConnectionPoint: "bare", Set: "bare", Index: index, Count: bareConnections, Software: "bench"}, channel.SessionConfig{})
	if err != nil {
		return err
	}
	return errors.Join(session.Serve(context.Background(), h), errors.New("the channel ended"))
}

// answers reports whether a target brings a small file.
func (l *lab) answers(ctx context.Context, t *target) error {
	c, err := l.dialingOf(t, false).dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	n, err := c.get("/files/1k", 200)
	if err == nil && n != 1<<10 {
		return errors.New("a file of 1 KiB came with " + strconv.FormatInt(n, 10) + " bytes")
	}
	return err
}
