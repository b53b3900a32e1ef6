package connpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/window"
	"github.com/causeway-gateway/causeway/signed"
)

// Bounds and times of connections to servers.
const (
	serverDialTimeout  = 5 * time.Second
	serverIdle         = 4 * time.Second // shorter than the 5 s after which the hastiest common servers close
	serverIdleMost     = 2 * time.Minute
	serverQueueTimeout = 10 * time.Second
	maxServerQueue     = 1024
	maxServerOpen      = 16384 // the ports a host has for one server
)

// A serverPool holds the connections to one server. The most recently used idle one is used first, so that the
// others can end when the load falls.
type serverPool struct {
	// Fixed at construction.
	address string
	tls     *tls.Config // nil for http
	maxOpen int
	dialer  net.Dialer

	circuit circuit

	mu      sync.Mutex // guards the fields below
	idle    []*serverConn
	open    int // dialling, in use and idle
	waiters []*waiter
	closed  bool
	janitor *time.Timer // runs while something is idle
	dials   uint64
	reuses  uint64
}

// A waiter waits for a connection, or for the permission to dial one.
type waiter struct{ grant chan grant }

type grant struct{ conn *serverConn } // nil: dial, the place among the open ones is yours

func newServerPool(address string, tlsConfig *tls.Config, maxOpen int) *serverPool {
	return &serverPool{
		address: address, tls: tlsConfig, maxOpen: maxOpen,
		// Name servers are asked on each dial. The address that came of it is judged right before connecting, so
		// an answer that changes between check and use changes nothing.
		dialer: net.Dialer{Timeout: serverDialTimeout, KeepAlive: 30 * time.Second, Control: controlAddress},
	}
}

func controlAddress(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	return signed.CheckAddress(ap.Addr())
}

func unreachable(err error) error {
	return &causeway.Refusal{Code: causeway.CodeConnectorServerUnreachable, Err: err}
}

var (
	errQueueFull   = &causeway.Refusal{Code: causeway.CodeConnectorOverloaded, Reason: "too many requests wait for the server"}
	errQueueSlow   = &causeway.Refusal{Code: causeway.CodeConnectorOverloaded, Reason: "no connection to the server became free in time"}
	errPoolClosed  = &causeway.Refusal{Code: causeway.CodeConnectorServerUnreachable, Reason: "the server is no longer published"}
	errCircuitOpen = &causeway.Refusal{Code: causeway.CodeConnectorServerUnreachable, Reason: "the server could not be reached several times in a row"}
)

// get returns a connection to the server, a new one if fresh. No byte of a request was sent when it fails; the error
// is a *causeway.Refusal or ctx's.
func (p *serverPool) get(ctx context.Context, fresh bool) (*serverConn, error) {
	if c := p.takeIdle(fresh); c != nil {
		return c, nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	if p.open < p.maxOpen {
		p.open++
		p.mu.Unlock()
		return p.dial(ctx)
	}
	if len(p.idle) > 0 { // fresh: an idle one gives its place
		c := p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
		p.mu.Unlock()
		c.closeKeepingPlace()
		return p.dial(ctx)
	}
	if len(p.waiters) >= maxServerQueue {
		p.mu.Unlock()
		return nil, errQueueFull
	}
	w := &waiter{make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	return p.wait(ctx, w, fresh)
}

// takeIdle returns the most recently used connection that is still good, or nil. An idle one is never fresh.
func (p *serverPool) takeIdle(fresh bool) *serverConn {
	for !fresh {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.reuses++
		p.mu.Unlock()
		if c.usable(time.Now()) {
			return c
		}
		c.close()
	}
	return nil
}

func (p *serverPool) wait(ctx context.Context, w *waiter, fresh bool) (*serverConn, error) {
	timeout := time.NewTimer(serverQueueTimeout)
	defer timeout.Stop()
	var err error
	select {
	case g := <-w.grant:
		return p.use(ctx, g, fresh)
	case <-timeout.C:
		err = errQueueSlow
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // granted in the same moment: pass it on
		g := <-w.grant
		if g.conn != nil {
			g.conn.put(0)
		} else {
			p.release()
		}
	}
	return nil, err
}

func (p *serverPool) use(ctx context.Context, g grant, fresh bool) (*serverConn, error) {
	if g.conn != nil {
		if !fresh {
			return g.conn, nil
		}
		g.conn.closeKeepingPlace()
	}
	return p.dial(ctx)
}

// dial makes a connection. The caller has counted it as open.
func (p *serverPool) dial(ctx context.Context) (*serverConn, error) {
	probe, ok := p.circuit.allow(time.Now())
	if !ok {
		p.release()
		return nil, errCircuitOpen
	}
	dctx, cancel := context.WithTimeout(ctx, serverDialTimeout)
	defer cancel()
	c, err := p.connect(dctx)
	p.circuit.done(time.Now(), probe, err, ctx.Err() != nil)
	if err == nil {
		return c, nil
	}
	p.release()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, unreachable(err)
}

func (p *serverPool) connect(ctx context.Context) (*serverConn, error) {
	p.mu.Lock()
	p.dials++
	p.mu.Unlock()
	raw, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	c := newServerConn(p, raw)
	if rc, err := raw.(syscall.Conn).SyscallConn(); err == nil {
		c.ahead.window = window.Bound(rc)
	}
	if p.tls == nil {
		return c, nil
	}
	secure := tls.Client(c.Conn, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
	}
	c.setTLS(secure)
	return c, nil
}

// release gives up one place among the open ones, to the first who waits for it.
func (p *serverPool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.nextWaiterLocked(); w != nil {
		w.grant <- grant{}
		return
	}
	p.open--
}

func (p *serverPool) nextWaiterLocked() *waiter {
	if len(p.waiters) == 0 {
		return nil
	}
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return w
}

// keep takes back a connection that is good for another request until the given time.
func (p *serverPool) keep(c *serverConn) {
	p.mu.Lock()
	if w := p.nextWaiterLocked(); w != nil {
		w.grant <- grant{c}
		p.mu.Unlock()
		return
	}
	if p.closed {
		p.mu.Unlock()
		c.close()
		return
	}
	p.idle = append(p.idle, c)
	if p.janitor == nil {
		p.janitor = time.AfterFunc(serverIdle, p.sweep)
	}
	p.mu.Unlock()
}

// sweep closes what was idle for too long.
func (p *serverPool) sweep() {
	now := time.Now()
	p.mu.Lock()
	var old []*serverConn
	p.idle = slices.DeleteFunc(p.idle, func(c *serverConn) bool {
		if now.Before(c.idleUntil) {
			return false
		}
		old = append(old, c)
		return true
	})
	if p.janitor = nil; len(p.idle) > 0 && !p.closed {
		p.janitor = time.AfterFunc(time.Second, p.sweep)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// close ends the idle connections. Those in use end with their requests.
func (p *serverPool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	if p.janitor != nil {
		p.janitor.Stop()
		p.janitor = nil
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// serverState is a look at a pool.
type serverState struct {
	open, idle, waiting int
	dials, reuses       uint64
}

func (p *serverPool) state() serverState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return serverState{open: p.open, idle: len(p.idle), waiting: len(p.waiters), dials: p.dials, reuses: p.reuses}
}
