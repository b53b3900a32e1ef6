package channel

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
)

// PoolConfig are the settings of a gateway instance's end of its channels. Gatekeeper is required; the other
// zero values work.
type PoolConfig struct {
	Gatekeeper       Gatekeeper
	Logger           *slog.Logger  // nil means slog.Default()
	PingEvery        time.Duration // zero means 1 s
	DeadAfter        time.Duration // zero means DefaultDeadAfter
	HandshakeTimeout time.Duration // zero means 10 s
	Memory           *Memory       // nil gives the pool a budget of its own
	OnChange         func()        // a channel came or went; must not block
}

// maxLinksPerSet bounds how many connections one channel set may have.
const maxLinksPerSet = 4

// A Pool holds the channels that connection points keep to this gateway instance and sends requests over them.
type Pool struct {
	cfg PoolConfig

	turn     atomic.Uint64                 // round robin over the sets
	rechecks atomic.Uint64                 // calls of Recheck
	open     atomic.Pointer[[]*channelSet] // those that can take a request, for pick

	mu       sync.Mutex // guards the fields below
	draining bool
	room     waitingRoom
	sets     map[causeway.ConnectionPointID]*channelSet
}

// A channelSet is what one connection point keeps to this instance.
type channelSet struct {
	id    causeway.ConnectionPointID
	turn  atomic.Uint64
	links atomic.Pointer[[]*gatewayLink] // those that can take a request
	bulk  bulkSet

	// Guarded by Pool.mu.
	all     []*gatewayLink
	since   time.Time
	redials uint64
	// Of connections that are gone.
	requests, bytesIn, bytesOut, stalls uint64
}

// A gatewayLink is one connection of a set.
type gatewayLink struct {
	*link
	hello    Hello
	by       Transport
	set      *channelSet
	requests atomic.Uint64
	busy     atomic.Int64 // exchanges under way
	leaving  bool         // guarded by Pool.mu: pick no more

	openMu sync.Mutex // guards the order of principal, open and principalClose frames, and closed
	closed bool       // the connection point was told that no more requests come
	spent  atomic.Bool

	nextPrincipal atomic.Uint32
	maxPrincipals int // fixed at construction
	maxTold       int // bytes; fixed at construction

	pmu        sync.Mutex // guards the fields below
	principals map[*Principal]struct{}
	told       int // bytes of their evidence
}

// NewPool returns an empty pool.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(0)
	}
	p := &Pool{cfg: cfg, sets: map[causeway.ConnectionPointID]*channelSet{}}
	p.open.Store(&[]*channelSet{})
	return p
}

// Serve runs one connection from a connection point whose TLS handshake is done (wrap the raw connection in
// Batched below TLS), from hello to loss, which is its error. by is the way it came, for the status. When Serve
// returns, the connection is closed and every goroutine of it is gone.
func (p *Pool) Serve(ctx context.Context, conn net.Conn, by Transport) error {
	l := &gatewayLink{link: newLink(conn, p.cfg.Logger, p.cfg.Memory.b, p.cfg.PingEvery, p.cfg.DeadAfter), principals: map[*Principal]struct{}{},
		maxPrincipals: maxToldPrincipals, maxTold: maxToldBytes}
	stop := context.AfterFunc(ctx, func() { l.fail(ctx.Err()) })
	defer stop()
	checked := p.rechecks.Load()
	h, w, err := l.readHello(p.cfg.Gatekeeper, orDefault(p.cfg.HandshakeTimeout, DefaultHandshakeTimeout))
	if err == nil && p.leaving() {
		err = causeway.Refuse(causeway.CodeNoConnectionPoint, "this instance is going away")
	}
	if err != nil {
		if refused(err) {
			l.refuse(err)
		}
		l.fail(err)
		return err
	}
	w.MaxBulk = maxBulkConns
	if h.Plane == PlaneBulk {
		return p.serveBulk(ctx, l.link, h, w, checked)
	}
	l.hello, l.by = h, by
	if err := errors.Join(conn.SetReadDeadline(time.Time{}), l.sendJSON(frameWelcome, w)); err != nil {
		l.fail(err)
		return err
	}
	if err := p.join(l); err != nil {
		l.fail(err)
		return err
	}
	defer p.part(l)
	if err := p.rejudge(l.link, h, checked); err != nil {
		return err
	}
	var docs assembly
	return l.serve(ctx, func(fh frameHeader, b *buffer) error { return p.handle(l, &docs, fh, b) })
}

// rejudge judges a connection again that can be found by now, if there was a Recheck since its first verdict began: that one
// may have missed it.
func (p *Pool) rejudge(l *link, h Hello, checked uint64) error {
	if p.rechecks.Load() == checked {
		return nil
	}
	_, err := l.judge(p.cfg.Gatekeeper, h)
	if err != nil {
		l.fail(err)
	}
	return err
}

func (p *Pool) leaving() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}

// join makes l available for requests.
func (p *Pool) join(l *gatewayLink) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining { // it would not be told any more
		return errLinkClosed
	}
	set := p.sets[l.hello.ConnectionPoint]
	if set == nil {
		set = &channelSet{id: l.hello.ConnectionPoint, since: time.Now()}
		p.sets[set.id] = set
	}
	if len(set.all) >= 2*maxLinksPerSet { // twice: a set being replaced overlaps with its successor
		return violation("connection point %q has %d connections already", set.id, len(set.all))
	}
	if len(set.all) == 0 {
		set.since = time.Now()
	}
	for _, other := range set.all {
		if other.hello.Set != l.hello.Set { // a restart within deadAfter, or a stolen key
			p.cfg.Logger.Warn("second channel set of one connection point", "connection_point", set.id,
				"source", l.conn.RemoteAddr().String(), "other_source", other.conn.RemoteAddr().String(),
				"hint", "unless it was just restarted, its key is in use elsewhere: remove the connection point and add it again")
			break
		}
	}
	set.redials++
	l.set = set
	set.all = append(set.all, l)
	p.publishLocked()
	return nil
}

// part takes l out and tells its principals.
func (p *Pool) part(l *gatewayLink) {
	p.mu.Lock()
	set := l.set
	set.all = slices.DeleteFunc(set.all, func(o *gatewayLink) bool { return o == l })
	set.requests += l.requests.Load()
	set.bytesIn += l.bytesIn.Load()
	set.bytesOut += l.bytesOut.Load()
	set.stalls += l.stalls.Load()
	if len(set.all) == 0 { // no stream is left that could use them
		set.bulk.closeAll(errLinkEnded)
	}
	p.publishLocked()
	p.mu.Unlock()

	l.pmu.Lock()
	gone := l.principals
	l.principals = nil
	l.pmu.Unlock()
	for pr := range gone {
		pr.take(l)
	}
}

// publishLocked renews what pick reads without a lock.
func (p *Pool) publishLocked() {
	open := []*channelSet{}
	for _, set := range p.sets {
		links := []*gatewayLink{}
		for _, l := range set.all {
			if !l.leaving {
				links = append(links, l)
			}
		}
		set.links.Store(&links)
		if len(links) > 0 {
			open = append(open, set)
		}
	}
	slices.SortFunc(open, func(a, b *channelSet) int { return cmp.Compare(a.id, b.id) })
	before := len(*p.open.Swap(&open))
	p.room.changedLocked(before, len(open))
	if p.cfg.OnChange != nil {
		p.cfg.OnChange()
	}
}

// pick chooses the next set in turn that is not among the tried ones and takes requests, and in it the link with the
// fewest under way. full says that there is none because all that are left have as many requests as they take.
func (p *Pool) pick(tried []*channelSet) (l *gatewayLink, full bool) {
	open := *p.open.Load()
	if len(open) == 0 {
		return nil, false
	}
	start := p.turn.Add(1)
	for i := range open {
		set := open[(start+uint64(i))%uint64(len(open))]
		if slices.Contains(tried, set) { // at most maxTries
			continue
		}
		l, busy := set.pick()
		if l != nil {
			return l, false
		}
		full = full || busy
	}
	return nil, full
}

// pick chooses the link with the fewest requests under way. full says that together they have as many as the
// connection point takes. Requests that pick at the same time may exceed that by their number.
func (s *channelSet) pick() (best *gatewayLink, full bool) {
	links := *s.links.Load()
	if len(links) == 0 {
		return nil, false
	}
	start := s.turn.Add(1)
	busy, limit := int64(0), links[len(links)-1].hello.MaxInFlight // the newest hello's
	for i := range links {
		l := links[(start+uint64(i))%uint64(len(links))]
		n := l.busy.Load()
		busy += n
		if !l.failed.Load() && !l.spent.Load() && (best == nil || n < best.busy.Load()) {
			best = l
		}
	}
	if limit > 0 && busy >= int64(limit) {
		return nil, true
	}
	return best, false
}

// handle takes one frame from a connection point. It runs on the link's reader and owns b.
func (p *Pool) handle(l *gatewayLink, docs *assembly, fh frameHeader, b *buffer) error {
	switch fh.typ {
	case frameAnswer, frameData, frameInform, frameTrailers, frameMove:
		return l.deliver(fh, b)
	case frameReset:
		return l.deliverReset(fh, b)
	case frameOffer:
		defer putBuffer(b)
		if len(b.b) != 4 || beUint32(b.b) == 0 {
			return violation("offer of %d bytes", len(b.b))
		}
		if s := l.find(fh.stream); s != nil {
			s.offerBulk(l.link, fh.stream, beUint32(b.b))
		}
		return nil
	case frameDocument:
		d, err := docs.add(fh, b)
		if err != nil || d == nil {
			return err
		}
		a, err := json.Marshal(apply(p.cfg.Gatekeeper, d))
		if err != nil {
			return err
		}
		return l.post(frameHeader{typ: frameApplied}, a)
	case frameLeave:
		putBuffer(b)
		p.mu.Lock()
		l.leaving = true
		p.publishLocked()
		p.mu.Unlock()
		// A request that picked the link just before either has its open frame ahead of this one or finds closed.
		l.openMu.Lock()
		defer l.openMu.Unlock()
		l.closed = true
		return l.post(frameHeader{typ: frameLeave}, []byte{leaveAck})
	}
	putBuffer(b)
	return violation("frame of type %d from a connection point", fh.typ)
}

// maxStreamID leaves room to notice: a link that comes this far is replaced.
const maxStreamID = 1<<32 - 1<<16

var errLinkClosed = errors.New("channel takes no more requests")

// nextIDLocked returns a new stream id.
func (l *gatewayLink) nextIDLocked() (uint32, error) {
	if l.closed {
		return 0, errLinkClosed
	}
	l.smu.Lock()
	id := l.lastID + 1
	if id <= maxStreamID {
		l.lastID = id
	}
	l.smu.Unlock() // a post that fails takes it
	if id > maxStreamID {
		l.closed = true
		l.spent.Store(true)
		return 0, errors.Join(errLinkClosed, l.post(frameHeader{typ: frameLeave}, []byte{leaveAnnounce}))
	}
	return id, nil
}

// Ready reports whether a request could be sent now.
func (p *Pool) Ready() bool { return len(*p.open.Load()) > 0 }

// SetStatus is a look at the channels of one connection point. Counters cover this instance's life.
type SetStatus struct {
	ConnectionPoint causeway.ConnectionPointID `json:"connection_point"`
	Connections     int                        `json:"connections"`
	Transports      map[Transport]int          `json:"transports,omitempty"` // connections, by the way they came
	Since           time.Time                  `json:"since"`                // of the oldest unbroken presence
	RoundTrip       time.Duration              `json:"round_trip_ns"`
	Streams         int                        `json:"streams"`
	Requests        uint64                     `json:"requests"`
	BytesIn         uint64                     `json:"bytes_in"`
	BytesOut        uint64                     `json:"bytes_out"`
	CreditStalls    uint64                     `json:"credit_stalls"` // times a body waited for the other side's word
	QueuedBytes     int                        `json:"queued_bytes"`  // output that waits behind what is being written
	BulkConnections int                        `json:"bulk_connections"`
	BulkUsed        int                        `json:"bulk_used"` // of these, those that carry a body
	Dials           uint64                     `json:"dials"`
	Software        string                     `json:"software"`
}

// Status returns a row for every connection point seen since the start, in order of their ids.
func (p *Pool) Status() []SetStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []SetStatus
	for _, set := range p.sets {
		st := SetStatus{ConnectionPoint: set.id, Connections: len(set.all), Since: set.since, Dials: set.redials,
			Transports: make(map[Transport]int), Requests: set.requests, BytesIn: set.bytesIn, BytesOut: set.bytesOut, CreditStalls: set.stalls}
		for _, l := range set.all {
			st.RoundTrip = max(st.RoundTrip, l.roundTrip())
			st.Streams += l.inFlight()
			st.Requests += l.requests.Load()
			st.BytesIn += l.bytesIn.Load()
			st.BytesOut += l.bytesOut.Load()
			st.CreditStalls += l.stalls.Load()
			st.QueuedBytes += l.queued()
			st.Software = l.hello.Software
			st.Transports[l.by]++
		}
		var bulkIn, bulkOut uint64
		st.BulkConnections, st.BulkUsed, bulkIn, bulkOut = set.bulk.figures()
		st.BytesIn += bulkIn
		st.BytesOut += bulkOut
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b SetStatus) int { return cmp.Compare(a.ConnectionPoint, b.ConnectionPoint) })
	return out
}

// MemoryUsedBytes returns how many body bytes are held for slow devices right now.
func (p *Pool) MemoryUsedBytes() int64 { return p.cfg.Memory.UsedBytes() }

// MemoryTight reports whether so much of the budget is in use that the rest is kept for small answers.
func (p *Pool) MemoryTight() bool { return !p.cfg.Memory.b.roomy() }

// MemoryBudgetBytes returns how many there may be.
func (p *Pool) MemoryBudgetBytes() int64 { return p.cfg.Memory.LimitBytes() }

// Drain tells every connection point that this instance goes away, admits no new channel, and waits until no
// request is under way or ctx ends. The channels stay usable meanwhile: devices that are still connected may
// finish what they have.
func (p *Pool) Drain(ctx context.Context) {
	p.mu.Lock()
	p.draining = true
	p.room.wakeLocked()
	var links []*gatewayLink
	for _, set := range p.sets {
		links = append(links, set.all...)
	}
	p.mu.Unlock()
	for _, l := range links {
		_, _ = l.write(frameHeader{typ: frameLeave}, []byte{leaveAnnounce}, nil, nil)
	}
	for _, l := range links {
		l.waitIdle(ctx)
	}
}

// Recheck judges every connected connection point again, as is due when the documents that name them changed,
// and cuts those that are no longer admitted.
func (p *Pool) Recheck() {
	p.rechecks.Add(1) // who joins now is found below, or sees this
	p.mu.Lock()
	var links []*gatewayLink
	sets := slices.Collect(maps.Values(p.sets))
	for _, set := range sets {
		links = append(links, set.all...)
	}
	p.mu.Unlock()
	for _, set := range sets {
		set.bulk.recheck(p.cfg.Gatekeeper)
	}
	for _, l := range links {
		if _, err := l.judge(p.cfg.Gatekeeper, l.hello); err != nil {
			l.fail(err)
		}
	}
}
