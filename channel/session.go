package channel

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Bounds of what a gateway can make a connection point hold on one link.
const (
	DefaultMaxStreams    = 16 << 10
	DefaultMaxPrincipals = 64 << 10
	DefaultDrainTimeout  = 30 * time.Second
)

// SessionConfig are the settings of a connection point's sessions. The zero value works.
type SessionConfig struct {
	Logger           *slog.Logger  // nil means slog.Default()
	PingEvery        time.Duration // zero means 1 s
	DeadAfter        time.Duration // zero means DefaultDeadAfter
	HandshakeTimeout time.Duration // zero means 10 s
	DrainTimeout     time.Duration // zero means 30 s
	Memory           *Memory       // nil gives the session a budget of its own
	MaxStreams       int           // zero means 16,384
	MaxPrincipals    int           // zero means 65,536
	Quota            *Quota        // shared by the sessions of a set; nil for none
	Bulk             *Bulk         // of the set the session belongs to; nil keeps large bodies on the request plane
	OnApplied        func(Applied) // what the gateway made of a document; called in order, must not block
}

// Memory is a budget shared by the sessions of a process.
type Memory struct{ b *budget }

// NewMemory returns a budget of limit bytes; zero means DefaultMemoryBudgetBytes.
func NewMemory(limit int64) *Memory { return &Memory{newBudget(limit)} }

// UsedBytes returns how many body bytes are held right now.
func (m *Memory) UsedBytes() int64 { return m.b.used.Load() }

// LimitBytes returns how many there may be.
func (m *Memory) LimitBytes() int64 { return m.b.limit }

// A Session is one connection of a connection point to a gateway instance.
type Session struct {
	link *link
	cfg  SessionConfig

	leaving     chan struct{}
	leavingOnce sync.Once
	acked       chan struct{} // the gateway confirmed that no more requests come
	ackedOnce   sync.Once
	parted      atomic.Bool // drained, and the gateway may end the link
	requests    atomic.Uint64
	handlers    sync.WaitGroup
	pushMu      sync.Mutex    // held while a document is sent
	work        chan *Inbound // to a handler's goroutine that is between two requests

	// Owned by the link's reader.
	principals     map[uint32]*InboundPrincipal
	principalBytes int
}

// Connect introduces a connection point on conn, whose TLS handshake is done (wrap the raw connection in Batched
// below TLS). A refusal is a causeway.Refusal. The caller checks the welcome, then calls Serve, or Close.
func Connect(ctx context.Context, conn net.Conn, h Hello, cfg SessionConfig) (*Session, Welcome, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = DefaultMaxStreams
	}
	if cfg.MaxPrincipals <= 0 {
		cfg.MaxPrincipals = DefaultMaxPrincipals
	}
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(0)
	}
	s := &Session{
		cfg: cfg, leaving: make(chan struct{}), acked: make(chan struct{}), work: make(chan *Inbound),
		link:       newLink(conn, cfg.Logger, cfg.Memory.b, cfg.PingEvery, cfg.DeadAfter),
		principals: map[uint32]*InboundPrincipal{},
	}
	h.MinVersion, h.MaxVersion = minVersion, maxVersion
	if err := s.link.sendHello(h); err != nil {
		s.link.fail(err)
		return nil, Welcome{}, err
	}
	w, err := s.link.readWelcome(ctx, orDefault(cfg.HandshakeTimeout, DefaultHandshakeTimeout))
	if err != nil {
		s.link.fail(err)
		return nil, w, err
	}
	if cfg.Bulk != nil {
		cfg.Bulk.allow(w.MaxBulk)
	}
	if cfg.OnApplied != nil {
		for _, a := range w.Applied {
			cfg.OnApplied(a)
		}
	}
	return s, w, nil
}

// Serve handles requests until the session is lost, which is its error, or ctx ends: then the gateway is told to
// send no more, requests under way get DrainTimeout to finish, and Serve returns nil. When it returns, every
// goroutine of the session is gone.
func (s *Session) Serve(ctx context.Context, h Handler) error {
	// Requests outlive ctx by the time of draining; they end with the link.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		s.drain(base)
	})
	err := s.link.serve(base, func(fh frameHeader, b *buffer) error { return s.handle(base, h, fh, b) })
	cancel()
	s.handlers.Wait()
	if !stop() {
		<-drained
	}
	if errors.Is(err, errDrained) || s.parted.Load() {
		return nil
	}
	return err
}

// errDrained ends a link that was left in order.
var errDrained = errors.New("drained")

// drain asks the gateway to open no more streams, waits for its word and for those under way, then ends the link.
func (s *Session) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(s.cfg.DrainTimeout, DefaultDrainTimeout))
	defer cancel()
	if _, err := s.link.write(frameHeader{typ: frameLeave}, []byte{leaveAnnounce}, nil, nil); err == nil {
		select {
		case <-s.acked:
			s.link.waitIdle(ctx)
			s.parted.Store(true)
			s.link.part(ctx)
		case <-s.link.ended:
		case <-ctx.Done():
		}
	}
	s.link.fail(errDrained)
}

const (
	leaveAnnounce = 0
	leaveAck      = 1
)

// Close ends a session that is not served.
func (s *Session) Close() { s.link.fail(net.ErrClosed) }

// Push sends a signed document. What the gateway makes of it comes through OnApplied.
// Documents that are pushed at the same time go one after the other.
func (s *Session) Push(document []byte) error {
	s.pushMu.Lock()
	defer s.pushMu.Unlock()
	return s.link.sendDocument(document)
}

// Leaving is closed when the gateway announced that it goes away.
func (s *Session) Leaving() <-chan struct{} { return s.leaving }

// SessionStatus is a look at one connection.
type SessionStatus struct {
	Since     time.Time     `json:"since"`
	RoundTrip time.Duration `json:"round_trip_ns"`
	Streams   int           `json:"streams"`
	Requests  uint64        `json:"requests"`
	BytesIn   uint64        `json:"bytes_in"`
	BytesOut  uint64        `json:"bytes_out"`
	// Times a body waited for the gateway's word, and output that waits behind what is being written.
	CreditStalls uint64 `json:"credit_stalls"`
	QueuedBytes  int    `json:"queued_bytes"`
}

// Status returns the session's figures.
func (s *Session) Status() SessionStatus {
	return SessionStatus{
		Since: s.link.since, RoundTrip: s.link.roundTrip(), Streams: s.link.inFlight(), Requests: s.requests.Load(),
		BytesIn: s.link.bytesIn.Load(), BytesOut: s.link.bytesOut.Load(), CreditStalls: s.link.stalls.Load(), QueuedBytes: s.link.queued(),
	}
}

// handle takes one frame from the gateway. It runs on the link's reader and owns b.
func (s *Session) handle(ctx context.Context, h Handler, fh frameHeader, b *buffer) error {
	switch fh.typ {
	case frameOpen:
		return s.open(ctx, h, fh, b)
	case frameData, frameTrailers, frameMove:
		return s.link.deliver(fh, b)
	case frameReset:
		return s.link.deliverReset(fh, b)
	case framePrincipal:
		return s.addPrincipal(b)
	case framePrincipalClose:
		return s.dropPrincipal(b)
	case frameApplied:
		var a Applied
		if err := decode(b, &a); err != nil {
			return err
		}
		if s.cfg.OnApplied != nil {
			s.cfg.OnApplied(a)
		}
		return nil
	case frameLeave:
		defer putBuffer(b)
		if len(b.b) == 1 && b.b[0] == leaveAck {
			s.ackedOnce.Do(func() { close(s.acked) })
		} else {
			s.leavingOnce.Do(func() { close(s.leaving) })
		}
		return nil
	}
	putBuffer(b)
	return violation("frame of type %d from a gateway", fh.typ)
}

func (s *Session) addPrincipal(b *buffer) error {
	defer putBuffer(b)
	n, p, err := parsePrincipal(b.b)
	if err != nil {
		return err
	}
	if _, ok := s.principals[n]; ok {
		return violation("principal %d twice", n)
	}
	s.principalBytes += len(p.Evidence)
	if len(s.principals) >= s.cfg.MaxPrincipals || s.principalBytes > maxPrincipalBytes {
		return violation("more than %d principals or %d bytes of their evidence", s.cfg.MaxPrincipals, maxPrincipalBytes)
	}
	s.principals[n] = p
	return nil
}

func (s *Session) dropPrincipal(b *buffer) error {
	defer putBuffer(b)
	if len(b.b) != 4 {
		return violation("principalClose of %d bytes", len(b.b))
	}
	n := beUint32(b.b)
	if p, ok := s.principals[n]; ok {
		s.principalBytes -= len(p.Evidence)
		delete(s.principals, n)
	}
	return nil
}

// open starts the handler for a new request.
func (s *Session) open(ctx context.Context, h Handler, fh frameHeader, b *buffer) error {
	o, rest, err := parseOpenHeader(b.b)
	if err != nil {
		putBuffer(b)
		return err
	}
	p, body := s.principals[o.principal], rest[o.headBytes:]
	switch {
	case p == nil:
		err = violation("stream %d of unknown principal %d", fh.stream, o.principal)
	case fh.stream <= s.link.lastID:
		err = violation("stream %d after %d", fh.stream, s.link.lastID)
	case len(body) > requestWindow:
		err = violation("open frame with %d bytes of body", len(body))
	}
	if err != nil {
		putBuffer(b)
		return err
	}
	st := newStream(s.link, fh.stream, requestWindow, answerWindow)
	st.begun(len(body), fh.fin)
	room, err := s.add(st)
	if !room || err != nil {
		st.release()
		putBuffer(b)
		if err != nil {
			return err
		}
		return s.link.post(frameHeader{stream: fh.stream, typ: frameReset}, resetPayload(causeway.CodeConnectorOverloaded, NotDelivered))
	}
	in := newInbound(ctx, st, p, &o, b, fh.fin)
	in.bulk.pool, in.quota = s.cfg.Bulk, s.cfg.Quota
	s.requests.Add(1)
	select {
	case s.work <- in:
	default:
		s.handlers.Go(func() { s.handlerLoop(ctx, h, in) })
	}
	return nil
}

// add registers the stream of a new request, if there is room for one more. It fails once the link ended.
func (s *Session) add(st *stream) (room bool, err error) {
	l := s.link
	l.smu.Lock()
	l.lastID = st.id
	if room = len(l.streams) < s.cfg.MaxStreams && s.cfg.Quota.take(); room {
		l.streams[st.id] = st
	}
	l.smu.Unlock()
	if room && l.failed.Load() { // fail may have missed it
		l.remove(st.id)
		s.cfg.Quota.give()
		return false, l.failure()
	}
	return room, nil
}

// handlerIdle is how long a handler's goroutine waits for another request. Those that come soon find its stack
// grown already, which is a tenth of the cost of a small request.
const handlerIdle = time.Second

// handlerLoop runs the handler for in, and for what comes while it is idle.
func (s *Session) handlerLoop(ctx context.Context, h Handler, in *Inbound) {
	idle := time.NewTimer(handlerIdle)
	defer idle.Stop()
	for {
		in.run(h)
		idle.Reset(handlerIdle)
		select {
		case in = <-s.work:
		case <-idle.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
