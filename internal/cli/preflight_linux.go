package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/signed"
)

// probeTimeout is how long a server may take to take a connection before it counts as unreachable.
const probeTimeout = 3 * time.Second

// checkPorts binds every front-end port for a moment, so that one that is taken is found before anything starts.
func checkPorts(address netip.Addr, port, instances int) error {
	ports := []int{port}
	for slot := range instances {
		ports = append(ports, causeway.Slot(slot).ChannelPort())
	}
	var errs []error
	for i, p := range ports {
		what := "--port"
		if i > 0 {
			what = fmt.Sprintf("channel port of instance %d", i-1)
		}
		at := net.JoinHostPort(address.String(), strconv.Itoa(p))
		ln, err := net.Listen("tcp", at)
		if err != nil {
			errs = append(errs, listenError(what, at, err))
			continue
		}
		ln.Close()
	}
	return errors.Join(errs...)
}

// checkServersAnswer connects to each server as a connection point will, and returns what came of it, server by server.
func checkServersAnswer(ctx context.Context, servers []console.Published) []error {
	errs := make([]error, len(servers))
	var g errgroup.Group
	g.SetLimit(16)
	for i, s := range servers {
		g.Go(func() error { errs[i] = checkServerAnswers(ctx, s); return nil })
	}
	_ = g.Wait() // the errors are in errs
	return errs
}

func checkServerAnswers(ctx context.Context, s console.Published) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	v := storedServer(s).Signed()
	if err := v.Check(); err != nil {
		return misuse{err}
	}
	p, err := signed.ParsePlace(v.URL)
	if err != nil {
		return misuse{err}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", p.Address())
	if err != nil {
		return causeway.WithHint(fmt.Errorf("server %s cannot be reached at %s: %s", s.Name, s.URL, dialReason(err)),
			"start the server or correct its URL; try it from this machine with: curl -v %s", s.URL)
	}
	defer c.Close()
	cfg, err := v.TLS()
	if cfg == nil || err != nil {
		return err
	}
	if err := tls.Client(c, cfg).HandshakeContext(ctx); err != nil {
		return causeway.WithHint(fmt.Errorf("server %s at %s: TLS fails: %w", s.Name, s.URL, err),
			"name the CA that signs its certificate with ca=FILE behind the URL, and check the name in the URL")
	}
	return nil
}

// dialReason is why a connection failed, without the address that the message names already.
func dialReason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused)"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT):
		return "no answer (timed out)"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the name %s is not known (%s)", dns.Name, dns.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}
