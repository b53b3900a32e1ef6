package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/corked"
	"github.com/causeway-gateway/causeway/internal/reset"
)

// A deviceConn is one accepted connection of a device. It is the net.Conn below TLS, so that both HTTP versions find
// their way back to it.
type deviceConn struct {
	net.Conn

	// Fixed at construction.
	socket  net.Conn // Conn, for Read and Write
	s       *Server
	source  *source
	place   *place // while the handshake is under way
	address string // ip:port of the device

	handshakeLeft int   // bytes that the handshake may still take; 0 once it is over
	peek          *peek // what it has taken, while it may be a channel's

	// Fixed when the handshake is done.
	tls   *tls.Conn
	chain [][]byte // DER, as presented; nil without a client certificate

	allowance *allowance // of HTTP/2, nil until the handshake is done

	standing atomic.Pointer[standing]

	mu        sync.Mutex // guards the fields below, and changes of standing
	principal *channel.Principal
	evidence  []byte // of principal
	entry     *deviceEntry
	entryID   causeway.DeviceID

	strangerTimer *time.Timer // of HTTP/2, nil before the first patrol
	patrolled     atomic.Bool // strangerTimer runs
	large         bool        // counts among the large chains of strangers

	out     corked.Writer
	closing sync.Once
	state   atomic.Int32 // of an HTTP/1.1 connection: connIdle, connBusy, connClosed

	// Owned by the goroutine that reads.
	records records
	emptied bool    // the last read took all the plaintext that there was
	probing bool    // TLS is to give what it has, and to ask the socket for nothing
	parker  *parker // made when the connection is idle for the first time

	readWithin      time.Duration // what allowRead gave; owned by the goroutine that reads
	readBy, writeBy atomic.Int64  // deadlines in force, in ticks; 0 when they are not allowRead's and allowWrite's
	gone            func()        // called once when the connection is closed
}

const (
	connIdle int32 = iota
	connBusy
	connClosed
)

// A standing is what one snapshot says about the device behind a connection.
type standing struct {
	snap      *snapshot
	device    *identity.Device // nil without a good proof
	principal *channel.Principal
	entry     *deviceEntry
	refusal   error // why a certificate that was presented is no proof
}

// NetConn returns what is below.
func (c *deviceConn) NetConn() net.Conn { return c.Conn }

// Close closes the connection at once, without a TLS goodbye. What belonged to it is given back.
func (c *deviceConn) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		c.mu.Lock()
		principal, entry := c.principal, c.entry
		c.principal, c.entry = nil, nil
		c.state.Store(connClosed)
		if c.strangerTimer != nil {
			c.strangerTimer.Stop()
		}
		c.lightenLocked()
		c.mu.Unlock()
		if principal != nil {
			principal.Close()
		}
		if entry != nil {
			c.s.devices.part(entry)
		}
		c.gone()
	})
	return err
}

// part ends an HTTP/1.1 connection that waits for a request. Its own goroutine says goodbye.
func (c *deviceConn) part() {
	if c.state.CompareAndSwap(connIdle, connClosed) {
		_ = c.SetReadDeadline(longAgo)
	}
}

// reset closes the connection so that the device cannot take what it has got for a complete answer.
func (c *deviceConn) reset() {
	reset.TCP(c.Conn) // what is none ends without TLS close_notify at least
	_ = c.Close()
}

// identify takes the client certificate from the finished handshake.
func (c *deviceConn) identify() {
	peer := c.tls.ConnectionState().PeerCertificates
	if len(peer) == 0 {
		return
	}
	c.chain = make([][]byte, len(peer))
	for i, cert := range peer {
		c.chain[i] = cert.Raw
	}
}

// stand judges the connection by the snapshot. An admitted device stays so for the snapshot's and the certificate's
// time; everything else is judged anew for each request, so that a change of either shows at once.
func (c *deviceConn) stand(snap *snapshot, now time.Time) *standing {
	if st := c.standing.Load(); st != nil && st.snap == snap && st.device != nil && !now.After(st.device.NotAfter) {
		return st
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.judgeLocked(snap, now)
	if st.device == nil && c.principal != nil {
		// The proof is void. Connection points that were told of it forget it.
		c.principal.Close()
		c.principal = nil
	}
	c.standing.Store(st)
	return st
}

func (c *deviceConn) judgeLocked(snap *snapshot, now time.Time) *standing {
	st := &standing{snap: snap}
	if len(c.chain) == 0 {
		return st
	}
	device, err := snap.verifier.Verify(c.chain, now)
	if err != nil {
		st.refusal = err
		return st
	}
	evidence := proofOf(device)
	if evidence == nil {
		st.refusal = causeway.Refuse(causeway.CodeClientCertificateUnfit, "chain too large")
		return st
	}
	if c.entry != nil && c.entryID != device.ID {
		c.s.devices.part(c.entry)
		c.entry = nil
	}
	if c.state.Load() == connClosed {
		st.refusal = errDeviceGone
		return st
	}
	if c.entry == nil {
		if c.entry = c.s.devices.join(device.ID); c.entry == nil {
			st.refusal = overloaded("the device table is full")
			return st
		}
		c.entryID = device.ID
	}
	if c.principal != nil && !bytes.Equal(c.evidence, evidence) { // trust changed, and the path to it
		c.principal.Close()
		c.principal = nil
	}
	if c.principal == nil {
		evidence = c.entry.share(evidence)
		c.principal, c.evidence = channel.NewPrincipal(uint8(device.Kind), evidence, c.address), evidence
	}
	c.lightenLocked()
	st.device, st.principal, st.entry = device, c.principal, c.entry
	return st
}

// proofOf is what connection points get to verify a device again: the certificates of the path that convinced us,
// without the trusted one at its end, which they have themselves. What else the device sent along stays here.
func proofOf(d *identity.Device) []byte {
	var path [][]byte
	for _, cert := range d.Chain[:max(1, len(d.Chain)-1)] {
		path = append(path, cert.Raw)
	}
	return identity.EncodeEvidence(path)
}

var (
	errDeviceGone = errors.New("device closed the connection")
	errIdleAnswer = errors.New("answer made no progress")
	errStopping   = errors.New("instance is stopping")
)

// conns is all device connections, for a stop to find.
type conns struct {
	mu   sync.Mutex
	open map[*deviceConn]struct{}
	done chan struct{} // closed when open becomes empty after wait began
}

func (t *conns) add(c *deviceConn) {
	t.mu.Lock()
	if t.open == nil {
		t.open = make(map[*deviceConn]struct{})
	}
	t.open[c] = struct{}{}
	t.mu.Unlock()
}

func (t *conns) remove(c *deviceConn) {
	t.mu.Lock()
	delete(t.open, c)
	if t.done != nil && len(t.open) == 0 {
		close(t.done)
		t.done = nil
	}
	t.mu.Unlock()
}

func (t *conns) each(f func(*deviceConn)) {
	t.mu.Lock()
	all := make([]*deviceConn, 0, len(t.open))
	for c := range t.open {
		all = append(all, c)
	}
	t.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// wait returns when no connection is open, or when ctx ends.
func (t *conns) wait(ctx context.Context) {
	t.mu.Lock()
	if len(t.open) == 0 {
		t.mu.Unlock()
		return
	}
	if t.done == nil {
		t.done = make(chan struct{})
	}
	done := t.done
	t.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// linger is how long a connection that ends with an unread request stays open for reading, so that the device can
// read its answer before it meets a reset.
const (
	linger         = 3 * time.Second
	maxLingerBytes = 1 << 20
)

// finish says goodbye and closes the connection. With unread set, the device may still be sending.
func (c *deviceConn) finish(unread bool) {
	_ = c.SetDeadline(time.Now().Add(linger))
	if c.tls.CloseWrite() == nil && unread {
		if t, ok := c.Conn.(interface{ CloseWrite() error }); ok && t.CloseWrite() == nil {
			discard(c.Conn, maxLingerBytes)
		}
	}
	_ = c.Close()
}

// discard reads until the other side ends, the deadline passes, or too much came.
func discard(r net.Conn, most int) {
	var scratch [4096]byte
	for n := 0; n < most; {
		k, err := r.Read(scratch[:])
		if err != nil {
			return
		}
		n += k
	}
}
