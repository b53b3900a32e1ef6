package channel

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

const (
	// warmBulk is how many idle bulk connections are kept at hand while bodies move to them, maxWarmBulk the most
	// that are dialled at a time when many ask at once.
	warmBulk    = 2
	maxWarmBulk = 8
	// bulkIdle is how long bulk connections stay when no body has asked for one.
	bulkIdle = time.Minute
	// bulkRedial is how long no bulk connection is dialled after one could not be, at most; the request plane goes
	// on without.
	bulkRedial = 10 * time.Second
)

// BulkConfig are the settings of a connection point's bulk connections to one instance. The zero value works.
type BulkConfig struct {
	Logger           *slog.Logger  // nil means slog.Default()
	PingEvery        time.Duration // zero means 1 s
	DeadAfter        time.Duration // zero means DefaultDeadAfter
	HandshakeTimeout time.Duration // zero means 10 s
	Memory           *Memory       // nil gives them a budget of their own
}

// A Bulk keeps the bulk connections of one channel set at the connection point. Large bodies of the set's sessions
// move to them; without one at hand they stay where they are. Connections are dialled when bodies ask for them and
// stay for a minute after the last did, so that a channel that carries only small requests costs none.
type Bulk struct {
	cfg  BulkConfig
	wake chan struct{}

	mu      sync.Mutex // guards the fields below
	limit   int        // that the gateway allows; 0 until a welcome said so
	idle    []*bulkConn
	used    int
	dialing int
	short   int       // asked for in vain since the last look
	asked   time.Time // last
	notYet  time.Time // no dial before
	failed  int       // dials since the last one that was of use
	closing bool
	moved   uint64 // bodies that moved
}

// NewBulk returns a Bulk without connections. Give it to the sessions of a set, and run it.
func NewBulk(cfg BulkConfig) *Bulk {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(0)
	}
	return &Bulk{cfg: cfg, wake: make(chan struct{}, 1)}
}

// A BulkDial makes one more connection to the instance, whose TLS handshake is done (wrap the raw connection in
// Batched below TLS), and the hello of the set it belongs to.
type BulkDial func(ctx context.Context) (net.Conn, Hello, error)

// Run keeps connections at hand until ctx ends, and then until those in use are done. When it returns, every goroutine
// of theirs is gone.
func (b *Bulk) Run(ctx context.Context, dial BulkDial) {
	var work sync.WaitGroup
	defer work.Wait()
	t := time.NewTicker(bulkIdle / 4)
	defer t.Stop()
	for {
		for range b.missing(time.Now()) {
			work.Go(func() { b.keep(ctx, dial) })
		}
		select {
		case <-ctx.Done():
			b.close()
			return
		case <-b.wake:
		case <-t.C:
			b.trim(time.Now())
		}
	}
}

// allow notes how many connections the gateway's welcome allows.
func (b *Bulk) allow(n int) {
	b.mu.Lock()
	b.limit = min(n, maxBulkConns)
	b.mu.Unlock()
}

// take returns an idle connection, lent to stream id of l, or nil.
func (b *Bulk) take(l *link, id uint32) *bulkConn {
	if b == nil || !l.budget.roomy() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit == 0 || b.closing {
		return nil
	}
	b.asked = time.Now()
	for len(b.idle) > 0 {
		c := b.idle[len(b.idle)-1]
		b.idle = b.idle[:len(b.idle)-1]
		b.used++
		if c.lend(l, id) == nil {
			b.moved++
			if len(b.idle) == 0 {
				signal(b.wake)
			}
			return c
		}
		// It ended just now; keep counts it out.
	}
	b.short++
	signal(b.wake)
	return nil
}

// missing says how many connections to dial now, and counts them as being dialled.
func (b *Bulk) missing(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	want := 0
	if now.Sub(b.asked) < bulkIdle {
		want = min(warmBulk+b.short, maxWarmBulk)
	}
	b.short = 0
	if b.closing || now.Before(b.notYet) {
		return 0
	}
	open := len(b.idle) + b.used + b.dialing
	n := max(0, min(want-len(b.idle)-b.dialing, b.limit-open))
	b.dialing += n
	return n
}

// trim closes what has been idle for long.
func (b *Bulk) trim(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.asked) < bulkIdle {
		return
	}
	for _, c := range b.idle {
		c.Interrupt() // keep takes it off the list
	}
}

func (b *Bulk) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closing = true
	for _, c := range b.idle {
		c.Interrupt()
	}
}

// keep dials one connection and watches it until it ends.
func (b *Bulk) keep(ctx context.Context, dial BulkDial) {
	c, err := b.connect(ctx, dial)
	if err != nil {
		b.mu.Lock()
		b.dialing--
		b.refusedLocked(ctx, err)
		b.mu.Unlock()
		return
	}
	b.mu.Lock()
	b.dialing--
	if b.closing {
		c.Interrupt()
	}
	b.idle = append(b.idle, c)
	b.mu.Unlock()
	// Bodies that ride on it outlive ctx by the time of draining, and end it with themselves.
	err = c.run(context.WithoutCancel(ctx), c.done)
	b.lost(ctx, c, err)
	b.cfg.Logger.Debug("bulk connection ended", "bulk", c.number, "err", err)
}

// connect dials and says hello.
func (b *Bulk) connect(ctx context.Context, dial BulkDial) (*bulkConn, error) {
	conn, h, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	l := newLink(conn, b.cfg.Logger, b.cfg.Memory.b, b.cfg.PingEvery, b.cfg.DeadAfter)
	h.Plane, h.Bulk, h.Documents = PlaneBulk, newBulkNumber(), nil
	h.MinVersion, h.MaxVersion = minVersion, maxVersion
	w, err := Welcome{}, l.sendHello(h)
	if err == nil {
		w, err = l.readWelcome(ctx, orDefault(b.cfg.HandshakeTimeout, DefaultHandshakeTimeout))
	}
	if err == nil && h.Instance != "" && (w.Instance != h.Instance || w.Slot != h.Slot) {
		err = fmt.Errorf("it is instance %q in slot %d, meant was %q in slot %d", w.Instance, w.Slot, h.Instance, h.Slot)
	}
	if err != nil {
		l.fail(err)
		return nil, err
	}
	return newBulkConn(l, h.Bulk), nil
}

// newBulkNumber names a bulk connection: by chance, because a set that moves has a successor with the same name.
func newBulkNumber() uint32 {
	var n [4]byte
	_, _ = rand.Read(n[:]) // never fails
	return max(1, binary.BigEndian.Uint32(n[:]))
}

// refusedLocked notes a dial that failed, or a connection that ended before it was of use, and waits with the next: longer
// each time, and never as long as another.
func (b *Bulk) refusedLocked(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	b.failed++
	pause := min(time.Second<<min(b.failed, 8), bulkRedial)
	b.notYet = time.Now().Add(pause/2 + mrand.N(pause/2))
	if b.failed == 1 {
		b.cfg.Logger.Warn("no bulk connection", "err", err, "code", causeway.CodeOf(err).String(),
			"hint", "large bodies go over the request connections meanwhile")
	}
}

// freed takes a connection back that its stream has given up, and that the gateway has done with or never used.
func (b *Bulk) freed(c *bulkConn) {
	c.unlend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.gone { // it ended in the same moment
		return
	}
	b.used--
	b.failed = 0
	b.idle = append(b.idle, c)
	if b.closing {
		c.Interrupt()
	}
}

// lost counts a connection out that ended with err.
func (b *Bulk) lost(ctx context.Context, c *bulkConn, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.gone = true
	if i := slices.Index(b.idle, c); i >= 0 {
		b.idle = slices.Delete(b.idle, i, i+1)
	} else {
		b.used--
	}
	if c.useless() {
		b.refusedLocked(ctx, err)
	} else {
		b.failed = 0
	}
	signal(b.wake)
}

// BulkStatus is a look at the bulk connections of a set.
type BulkStatus struct {
	Idle  int    `json:"idle"`
	Used  int    `json:"used"`
	Moved uint64 `json:"moved"` // times one was lent to a stream, since the start
}

// Status returns the figures.
func (b *Bulk) Status() BulkStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BulkStatus{Idle: len(b.idle), Used: b.used, Moved: b.moved}
}
