package connpoint

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// leavingDrain is how long a session may live on after its gateway announced to go away.
const leavingDrain = time.Minute

// place of a channel set. A site has several gateways, and each has its own slot 0.
type slotKey struct {
	gateway causeway.GatewayName
	slot    causeway.Slot
}

// An aim is what the channels of one slot are dialled to.
type aim struct {
	gateway  signed.Gateway // without its instances
	instance signed.GatewayInstance
}

func (a aim) key() slotKey { return slotKey{a.gateway.Name, a.instance.Slot} }

// same reports whether two aims are the same instance at the same place. Which service certificate it must show is
// a matter of the next dial: the sessions there are were judged by what held at theirs.
func (a aim) same(b aim) bool {
	return a.key() == b.key() && a.instance.ID == b.instance.ID && a.place(channel.SlotPort) == b.place(channel.SlotPort) && a.place(channel.SinglePort) == b.place(channel.SinglePort)
}

// aims lists where a config wants channels.
func (c *config) aims() []aim {
	var all []aim
	for _, g := range c.gateways {
		instances := g.Instances
		g.Instances = nil
		for _, i := range instances {
			all = append(all, aim{g, i})
		}
	}
	return all
}

// channels keeps the channel sets that the document in force asks for.
type channels struct {
	// Fixed at construction.
	agent  *Agent
	inside *inside
	certs  *certificateSource
	memory *channel.Memory
	work   sync.WaitGroup // every goroutine of every slot, draining ones included

	leaving atomic.Bool // everything stops: what is lost is not dialled again

	mu    sync.Mutex // guards the fields below
	slots map[slotKey]*slotSet
	push  pushed
}

// pushed is what gateways get with every hello and whenever it changes: the newest gateway document, and the documents
// by which the site's key was rotated, without which an instance that missed a rotation cannot read it.
type pushed struct {
	raw        []byte
	gateway    causeway.GatewayName
	generation uint64
	keys       [][]byte // oldest first
}

// helloKeys is how many rotations fit a hello beside the document.
const helloKeys = 3

// A slotSet is the channel set of one slot.
type slotSet struct {
	owner  *channels
	aim    aim
	name   string // of the set, in hellos
	cancel context.CancelFunc
	log    *slog.Logger
	bulk   *channel.Bulk // of all sessions
	quota  *channel.Quota

	trust  atomic.Pointer[serviceTrust] // for the next dial
	up     chan struct{}                // closed when the first session is
	upOnce sync.Once

	mu            sync.Mutex // guards the fields below
	sessions      map[*channel.Session]held
	applied       map[string]channel.Applied
	failures      map[channel.Transport]transportFailure
	lastTransport channel.Transport // that worked; empty before the first
	lastErr       string
	redials       uint64
	ended         channel.SessionStatus // sums of the sessions that are no more
}

// A held session is one that is up.
type held struct {
	transport channel.Transport
	news      chan struct{} // there may be a newer document or key
}

// want brings the channels into line with a config: new slots get theirs at once, those of removed slots drain, those
// of slots that moved once there are others. ctx is the life of what is started.
func (c *channels) want(ctx context.Context, aims []aim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := make(map[slotKey]aim, len(aims))
	for _, a := range aims {
		wanted[a.key()] = a
	}
	for key, s := range c.slots {
		if _, ok := wanted[key]; !ok {
			s.log.Info("channels drain", "reason", "no longer in the signed document")
			s.cancel()
			delete(c.slots, key)
		}
	}
	for key, a := range wanted {
		trust, err := newServiceTrust(a.gateway)
		if err != nil {
			c.agent.log().Error("gateway cannot be dialled", "gateway", string(key.gateway), "err", err)
			continue // config has checked it; nothing else can be done here
		}
		switch s := c.slots[key]; {
		case s == nil:
			c.startLocked(ctx, a, trust, crand.Text(), nil)
		case !a.same(s.aim):
			s.log.Info("channels move", "address", a.place(channel.SlotPort), "to_instance", string(a.instance.ID))
			c.startLocked(ctx, a, trust, s.name, s)
		default:
			s.trust.Store(trust)
		}
	}
}

// startLocked starts the channels of a slot, in place of those of old, if any.
func (c *channels) startLocked(ctx context.Context, a aim, trust *serviceTrust, name string, old *slotSet) {
	ctx, cancel := context.WithCancel(ctx)
	s := &slotSet{
		owner: c, aim: a, name: name, cancel: cancel, up: make(chan struct{}),
		log:      c.agent.log().With("gateway", string(a.gateway.Name), "slot", int(a.instance.Slot), "instance", string(a.instance.ID)),
		sessions: make(map[*channel.Session]held), applied: make(map[string]channel.Applied), failures: make(map[channel.Transport]transportFailure),
	}
	if old != nil {
		old.mu.Lock()
		s.lastTransport = old.lastTransport
		old.mu.Unlock()
	}
	s.trust.Store(trust)
	s.bulk = channel.NewBulk(channel.BulkConfig{Logger: s.log, Memory: c.memory})
	s.quota = channel.NewQuota(c.agent.MaxInFlight)
	c.work.Go(func() { s.bulk.Run(ctx, s.dialBulk) })
	if c.slots == nil {
		c.slots = make(map[slotKey]*slotSet)
	}
	c.slots[a.key()] = s
	for i := range c.agent.connections() {
		c.work.Go(func() { s.keep(ctx, i) })
	}
	if old != nil {
		c.work.Go(func() { s.replace(ctx, old) })
	}
}

// replace has old drain as soon as s can take its requests, and after leavingDrain in any case: what the document no
// longer names must not live on because its successor is away.
func (s *slotSet) replace(ctx context.Context, old *slotSet) {
	late := time.NewTimer(leavingDrain)
	defer late.Stop()
	select {
	case <-s.up:
	case <-late.C:
	case <-ctx.Done(): // s is unwanted already, or everything stops
	}
	old.log.Info("channels drain", "reason", "moved")
	old.cancel()
}

// keep holds connection index of the set until ctx ends.
func (s *slotSet) keep(ctx context.Context, index int) {
	log := s.log.With("connection", index)
	var wait backoff
	failed := 0 // rounds of dials, one after the other
	// Of the last warning: a gateway that is away for long gets a line a minute, or when the cause is another.
	var told time.Time
	var cause string
	for {
		up, err := s.connect(ctx, index, s.round(failed), log)
		if ctx.Err() != nil {
			return
		}
		if failed++; up > 0 {
			failed = 0
		}
		if up >= lasted {
			wait.reset()
		}
		pause := wait.next()
		s.note(err)
		level := slog.LevelDebug
		if quiet := time.Since(told); up > 0 || quiet >= checkEvery || quiet >= redialMost && causeOf(err) != cause {
			level, told, cause = slog.LevelWarn, time.Now(), causeOf(err)
		}
		attrs := []any{"err", err, "retry_in_ms", pause.Milliseconds()}
		if hint := causeway.Hint(err); hint != "" {
			attrs = append(attrs, "hint", hint)
		}
		log.Log(ctx, level, "channel down", attrs...)
		if !sleep(ctx, pause) {
			return
		}
	}
}

// causeOf is an error without what differs each time: ports of ours, how long it took.
func causeOf(err error) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}

func (s *slotSet) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redials++
	if err != nil {
		s.lastErr = err.Error()
	}
}

var errLeaving = errors.New("the gateway instance goes away")

// connect makes one connection and serves it until it is lost, the gateway leaves, or ctx ends; meanwhile it may move to a
// better transport. It returns how long there was a connection.
func (s *slotSet) connect(ctx context.Context, index int, by []channel.Transport, log *slog.Logger) (up time.Duration, err error) {
	r, err := s.race(ctx, by, index)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for {
		next, err := s.hold(ctx, r, index, log)
		if next == nil {
			return time.Since(start), err
		}
		r = *next
	}
}

// hold serves one connection. It returns when it is lost or the gateway leaves, or with a connection by a better transport
// that takes its place; requests under way finish on the old one.
func (s *slotSet) hold(ctx context.Context, r reached, index int, log *slog.Logger) (next *reached, err error) {
	news := s.add(r)
	s.logUp(r.transport, log)
	sctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	s.owner.work.Go(func() {
		defer cancel()
		err := r.session.Serve(sctx, &handler{s.owner.inside, s.aim.gateway.Name})
		s.remove(r.session)
		served <- err
	})
	s.owner.work.Go(func() { s.tell(sctx, r, news, log) })
	better := make(chan reached, 1)
	looking, stopLooking := context.WithCancel(ctx)
	looked := make(chan struct{})
	s.owner.work.Go(func() {
		defer close(looked)
		s.seekBetter(looking, r.transport, index, better, log)
	})
	defer func() {
		stopLooking()
		<-looked
		select {
		case late := <-better: // it came at the same moment
			late.session.Close()
		default:
		}
	}()
	select {
	case err := <-served:
		return nil, lostCause(err)
	case n := <-better:
		log.Info("channel moves to a better transport", "from", string(r.transport), "to", string(n.transport))
		cancel()
		return &n, nil
	case <-r.session.Leaving():
		// Requests under way finish on the old session while another one is dialled.
		stop := time.AfterFunc(leavingDrain, cancel)
		s.owner.work.Go(func() {
			defer stop.Stop()
			<-sctx.Done()
		})
		return nil, errLeaving
	}
}

// logUp says which transport is in use, and why those that are preferred to it are not.
func (s *slotSet) logUp(t channel.Transport, log *slog.Logger) {
	s.mu.Lock()
	failures := s.failuresLocked(t)
	s.mu.Unlock()
	attrs := []any{"address", s.aim.place(t), "transport", string(t)}
	if proxy := s.owner.agent.proxyName(s.aim.place(t)); proxy != "" {
		attrs = append(attrs, "proxy", proxy)
	}
	if len(failures) == 0 {
		log.Info("channel up", attrs...)
		return
	}
	attrs = append(attrs, "better_failed", Causes(failures),
		"hint", cmp.Or(Hints(failures), "let this host reach the better one; it is tried again by itself"))
	log.Warn("channel up by a lesser transport", attrs...)
}

func lostCause(err error) error {
	if err == nil {
		return errors.New("session ended")
	}
	return err
}

// hello returns a hello with the newest documents, and how many keys there were then.
func (s *slotSet) hello(index int) (h channel.Hello, keys int) {
	a := s.owner.agent
	h = channel.Hello{
		Site: a.Site, Gateway: s.aim.gateway.Name, ConnectionPoint: a.ID, ConnectionID: a.ConnectionID,
		Slot: s.aim.instance.Slot, Instance: s.aim.instance.ID, Set: s.name, Index: index, Count: a.connections(), Software: a.Software,
		MaxInFlight: a.MaxInFlight,
	}
	p := s.owner.newest()
	h.Documents = append(h.Documents, p.keys[max(0, len(p.keys)-helloKeys):]...)
	if p.raw != nil && p.gateway == h.Gateway {
		h.Documents = append(h.Documents, p.raw)
	}
	return h, len(p.keys)
}

func (s *slotSet) sessionConfig() channel.SessionConfig {
	return channel.SessionConfig{
		Logger: s.log, DrainTimeout: s.owner.agent.DrainTimeout, Memory: s.owner.memory, OnApplied: s.onApplied, Bulk: s.bulk,
		Quota: s.quota,
	}
}

// dialBulk makes one more connection for large bodies, by the transport that the sessions use.
func (s *slotSet) dialBulk(ctx context.Context) (net.Conn, channel.Hello, error) {
	own, err := s.owner.certs.wait(ctx)
	if err != nil {
		return nil, channel.Hello{}, err
	}
	conn, err := s.reach(ctx, s.order()[0], own, func() {})
	if err != nil {
		return nil, channel.Hello{}, err
	}
	hello, _ := s.hello(0)
	return conn, hello, nil
}

// onApplied notes what the instance made of a document.
func (s *slotSet) onApplied(a channel.Applied) {
	if len(a.Kind) > 64 {
		return
	}
	s.mu.Lock()
	before, known := s.applied[a.Kind]
	if known || len(s.applied) < 8 { // a gateway names the kinds
		s.applied[a.Kind] = a
	}
	s.mu.Unlock()
	switch {
	case a.Error != "":
		s.log.Warn("document refused by the gateway", "kind", a.Kind, "generation", a.Generation, "err", a.Error)
	case before.Generation != a.Generation:
		s.log.Info("document in force at the gateway", "kind", a.Kind, "generation", a.Generation)
	}
}

// add makes a session one of those that are told what is new. News says when there may be something.
func (s *slotSet) add(r reached) (news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := held{r.transport, make(chan struct{}, 1)}
	s.sessions[r.session] = h
	s.lastErr = ""
	s.upOnce.Do(func() { close(s.up) })
	return h.news
}

func (s *slotSet) remove(session *channel.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
	last := session.Status()
	s.ended.Requests += last.Requests
	s.ended.BytesIn += last.BytesIn
	s.ended.BytesOut += last.BytesOut
	s.ended.CreditStalls += last.CreditStalls
}

// newest returns the newest gateway document.
func (c *channels) newest() pushed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.push
}

// publish takes what is new for gateways, and has all sessions told. It does not wait for any: one may be slow.
func (c *channels) publish(p pushed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push = p
	for _, s := range c.slots {
		s.announce()
	}
}

func (s *slotSet) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.sessions {
		select {
		case h.news <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// tell pushes what is new to one session until that ends, a new key before what it signed. What came between the hello and
// the first look is new, too.
func (s *slotSet) tell(ctx context.Context, r reached, news <-chan struct{}, log *slog.Logger) {
	keys := r.keys
	for {
		p := s.owner.newest()
		for _, key := range p.keys[min(keys, len(p.keys)):] {
			s.send(r.session, key, log)
		}
		keys = len(p.keys)
		s.pushTo(r.session, p, log)
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// pushTo sends a document that the instance has not applied yet.
func (s *slotSet) pushTo(session *channel.Session, p pushed, log *slog.Logger) {
	if p.raw == nil || p.gateway != s.aim.gateway.Name {
		return
	}
	s.mu.Lock()
	inForce := s.applied[signed.KindGateway].Generation
	s.mu.Unlock()
	if inForce >= p.generation {
		return
	}
	s.send(session, p.raw, log)
}

func (s *slotSet) send(session *channel.Session, document []byte, log *slog.Logger) {
	if err := session.Push(document); err != nil {
		log.Debug("document not pushed", "err", err) // the session is lost; the next hello carries it
	}
}

func (c *channels) sortedLocked() []*slotSet {
	sets := make([]*slotSet, 0, len(c.slots))
	for _, s := range c.slots {
		sets = append(sets, s)
	}
	slices.SortFunc(sets, func(x, y *slotSet) int {
		return cmp.Or(cmp.Compare(x.aim.gateway.Name, y.aim.gateway.Name), cmp.Compare(x.aim.instance.Slot, y.aim.instance.Slot))
	})
	return sets
}

// draining is the state of what ends with the connection point, once requests under way have.
const draining = "Draining"

// ChannelStatus is the state of the channels to one slot of one gateway.
type ChannelStatus struct {
	Gateway   causeway.GatewayName `json:"gateway"`
	Slot      causeway.Slot        `json:"slot"`
	Instance  causeway.InstanceID  `json:"instance"`
	Address   string               `json:"address"`
	State     string               `json:"state"`               // Connected, Disconnected, Draining
	Transport channel.Transport    `json:"transport,omitempty"` // in use; of several the last in preference
	Proxy     string               `json:"proxy,omitempty"`     // on the way
	Better    []TransportFailure   `json:"better_failed,omitempty"`
	Connected int                  `json:"connected"`
	Wanted    int                  `json:"wanted"`
	Redials   uint64               `json:"redials"`
	LastError string               `json:"last_error,omitempty"`

	// Of all sessions there were.
	Requests uint64 `json:"requests"`
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// Times a body waited for the gateway's word.
	CreditStalls uint64 `json:"credit_stalls"`
	// Of those there are.
	Streams     int                `json:"streams"`
	QueuedBytes int                `json:"queued_bytes"`  // output that waits behind what is being written
	RoundTrip   time.Duration      `json:"round_trip_ns"` // the longest
	Bulk        channel.BulkStatus `json:"bulk"`          // connections for large bodies

	Applied  []channel.Applied       `json:"applied,omitempty"`
	Sessions []channel.SessionStatus `json:"sessions,omitempty"`
}

func (c *channels) status() []ChannelStatus {
	c.mu.Lock()
	sets := c.sortedLocked()
	c.mu.Unlock()
	all := make([]ChannelStatus, 0, len(sets))
	for _, s := range sets {
		all = append(all, s.status())
	}
	return all
}

func (s *slotSet) status() ChannelStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ChannelStatus{
		Gateway: s.aim.gateway.Name, Slot: s.aim.instance.Slot, Instance: s.aim.instance.ID,
		State: "Disconnected", Connected: len(s.sessions), Wanted: s.owner.agent.connections(), Redials: s.redials, LastError: s.lastErr,
		Requests: s.ended.Requests, BytesIn: s.ended.BytesIn, BytesOut: s.ended.BytesOut, CreditStalls: s.ended.CreditStalls,
		Bulk: s.bulk.Status(),
	}
	if st.Connected > 0 {
		st.State = "Connected"
	}
	for _, a := range s.applied {
		st.Applied = append(st.Applied, a)
	}
	slices.SortFunc(st.Applied, func(x, y channel.Applied) int { return cmp.Compare(x.Kind, y.Kind) })
	all := s.owner.agent.transports()
	for session, h := range s.sessions {
		now := session.Status()
		st.Sessions = append(st.Sessions, now)
		st.Requests += now.Requests
		st.BytesIn += now.BytesIn
		st.BytesOut += now.BytesOut
		st.CreditStalls += now.CreditStalls
		st.Streams += now.Streams
		st.QueuedBytes += now.QueuedBytes
		st.RoundTrip = max(st.RoundTrip, now.RoundTrip)
		if slices.Index(all, h.transport) > slices.Index(all, st.Transport) {
			st.Transport = h.transport
		}
	}
	st.Address = s.aim.place(cmp.Or(st.Transport, all[0]))
	st.Proxy = s.owner.agent.proxyName(st.Address)
	if s.owner.leaving.Load() {
		st.State = draining
	} else {
		st.Better = s.failuresLocked(st.Transport)
	}
	slices.SortFunc(st.Sessions, func(x, y channel.SessionStatus) int { return x.Since.Compare(y.Since) })
	return st
}
