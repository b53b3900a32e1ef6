package connpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// A Transport is a way by which a channel reaches its instance. Each carries the same TLS, end to end with the instance.
type Transport string

// The transports, the best first: what comes later costs more on the way, and passes more of what stands there.
const (
	SlotPort   Transport = "slot-port"   // TLS on the slot's own port
	SinglePort Transport = "single-port" // TLS on the devices' port, told apart by its ALPN
	WebSocket  Transport = "websocket"   // TLS in a WebSocket on the devices' port, where only HTTPS passes
)

var everyTransport = []Transport{SlotPort, SinglePort, WebSocket}

// ParseTransports reads a list of transports in the order of preference. "auto" is all of them, the best first.
func ParseTransports(list []string) ([]Transport, error) {
	if len(list) == 0 || len(list) == 1 && list[0] == "auto" {
		return everyTransport, nil
	}
	var out []Transport
	for _, text := range list {
		switch t := Transport(text); {
		case !slices.Contains(everyTransport, t):
			return nil, causeway.WithHint(fmt.Errorf("transport %q does not exist", text), "choose auto, or of slot-port, single-port and websocket in the order of your preference")
		case slices.Contains(out, t):
			return nil, causeway.WithHint(fmt.Errorf("transport %s is named twice", text), "name each once")
		default:
			out = append(out, t)
		}
	}
	return out, nil
}

const (
	// dialTimeout bounds a try of one transport: name look-up, TCP, proxy and TLS.
	dialTimeout = 10 * time.Second
	// nextAfter is how long one transport may make no progress before the next one is tried beside it. A network that drops
	// what it does not like must not cost more than that. Progress is to be connected: what comes then may have to wait for
	// its turn at a gateway that was away.
	nextAfter = 3 * time.Second
	// fullRound is in how many rounds of dials that all failed the other transports are tried, too: in the first, and then
	// in one of so many. An instance that is down answers on none, and its siblings should not be asked in vain all the time.
	fullRound = 4
	// defaultReturnEvery is how long a channel stays on a lesser transport before the better ones are tried again.
	defaultReturnEvery = time.Minute
)

// place returns where a transport dials.
func (a aim) place(t Transport) string {
	host := strings.Trim(cmp.Or(a.instance.Address, a.gateway.Address), "[]")
	port := a.instance.ChannelPort
	if t != SlotPort {
		port = cmp.Or(a.gateway.ServicePort, causeway.HTTPSPort)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// reach connects to the instance by one transport and makes TLS with it. It calls progress once it is connected.
func (s *slotSet) reach(ctx context.Context, t Transport, own *tls.Certificate, progress func()) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	place, trust := s.aim.place(t), s.trust.Load()
	raw, err := s.owner.agent.dialOut(ctx, place)
	if err != nil {
		return nil, err
	}
	progress()
	config := trust.config(own)
	switch t {
	case SinglePort:
		config.NextProtos = []string{channel.ALPN(s.aim.instance.Slot)}
	case WebSocket:
		outer := trust.outerConfig(s.owner.agent.ExtraCAs)
		if raw, err = overWebSocket(ctx, raw, outer, trust.name, place, s.aim.instance.Slot); err != nil {
			return nil, err
		}
	}
	conn := tls.Client(channel.Batched(raw), config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with %s: %w", place, err), raw.Close())
	}
	if t == SinglePort && conn.ConnectionState().NegotiatedProtocol == "" {
		return nil, errors.Join(fmt.Errorf("%s takes no channels on this port", place), raw.Close())
	}
	return conn, nil
}

// outerConfig is for the TLS around a WebSocket. It protects nothing that the TLS within does not, so whoever the system,
// the site or the administrator trusts may end it.
func (t *serviceTrust) outerConfig(extra *x509.CertPool) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.name, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if t.roots == nil && t.verifyPin(state) == nil {
			return nil // the very certificate that the site pinned
		}
		return verifyAny(state, t.name, t.roots, extra)
	}
	return c
}

// verifyAny checks a certificate for a name against the system's CAs and some others; pools that are nil are none.
func verifyAny(state tls.ConnectionState, name string, others ...*x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate is shown")
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Intermediates: between})
	for _, roots := range others {
		if err == nil {
			return nil
		}
		if roots != nil {
			if _, other := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between}); other == nil {
				return nil
			}
		}
	}
	if err != nil {
		return causeway.WithHint(fmt.Errorf("certificate of %q: %w", leaf.Subject.String(), err), "if a proxy or middle box ends TLS here, give its CA with extra_ca_file")
	}
	return nil
}

// A reached is a session with the transport that it uses.
type reached struct {
	session   *channel.Session
	transport Transport
}

// A transportFailure is why a transport is not in use.
type transportFailure struct {
	err error
	at  time.Time
}

// race makes a session by the first of some transports that leads to the instance. They are begun one after the other, each
// when the one before has failed or has had nextAfter; the first that is there wins, and the others end.
func (s *slotSet) race(ctx context.Context, order []Transport, index int) (reached, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		reached
		err error
	}
	results := make(chan result, len(order))
	waiting := make(map[Transport]time.Time)    // since when
	progress := make(chan struct{}, len(order)) // of any that is waited for
	begun := 0
	begin := func() {
		t := order[begun]
		begun++
		waiting[t] = time.Now()
		s.owner.work.Go(func() {
			session, err := s.try(ctx, t, index, func() { progress <- struct{}{} })
			results <- result{reached{session, t}, err}
		})
	}
	timer := time.NewTimer(nextAfter)
	defer timer.Stop()
	begin()
	var errs []error
	for {
		select {
		case <-timer.C:
			if begun < len(order) {
				begin()
				timer.Reset(nextAfter)
			}
		case <-progress:
			timer.Reset(nextAfter)
		case r := <-results:
			delete(waiting, r.transport)
			if r.err == nil {
				cancel()
				late := len(waiting)
				s.owner.work.Go(func() { // who comes second is not needed
					for range late {
						if r := <-results; r.err == nil {
							r.session.Close()
						}
					}
				})
				for t, since := range waiting {
					s.failed(t, fmt.Errorf("no channel to %s within %s", s.aim.place(t), time.Since(since).Round(100*time.Millisecond)))
				}
				s.succeeded(r.transport)
				return r.reached, nil
			}
			if ctx.Err() == nil {
				s.failed(r.transport, r.err)
			}
			errs = append(errs, fmt.Errorf("%s: %w", r.transport, r.err))
			_, told := errors.AsType[*causeway.Refusal](r.err)
			switch {
			case begun < len(order) && !told && ctx.Err() == nil:
				begin()
				timer.Reset(nextAfter)
			case len(waiting) == 0: // a gateway that refuses us does so on every way
				return reached{}, joinFailures(errs)
			}
		}
	}
}

// joinFailures makes one line of what several transports met.
func joinFailures(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return failures(errs)
}

type failures []error

func (f failures) Error() string {
	var b strings.Builder
	for i, err := range f {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return b.String()
}

func (f failures) Unwrap() []error { return f }

// try makes a session by one transport: connected, both sides proven, welcomed, and by the instance that is meant.
func (s *slotSet) try(ctx context.Context, t Transport, index int, progress func()) (*channel.Session, error) {
	own, err := s.owner.certs.wait(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := s.reach(ctx, t, own, progress)
	if err != nil {
		return nil, err
	}
	place := s.aim.place(t)
	session, welcome, err := channel.Connect(ctx, conn, s.hello(index), s.sessionConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hello to %s: %w", place, err), conn.NetConn().Close())
	}
	if welcome.Instance != s.aim.instance.ID || welcome.Slot != s.aim.instance.Slot {
		session.Close()
		return nil, fmt.Errorf("%s is instance %q in slot %d, meant was %q in slot %d", place,
			welcome.Instance, welcome.Slot, s.aim.instance.ID, s.aim.instance.Slot)
	}
	return session, nil
}

// round is the transports that are tried together, after so many rounds that failed.
func (s *slotSet) round(failed int) []Transport {
	order := s.order()
	if failed%fullRound != 0 {
		return order[:1]
	}
	return order
}

// order is the transports in the order in which a lost connection tries them: what worked last is the first.
func (s *slotSet) order() []Transport {
	all := s.owner.agent.transports()
	s.mu.Lock()
	last := s.lastTransport
	s.mu.Unlock()
	if !slices.Contains(all, last) {
		return all
	}
	order := []Transport{last}
	for _, t := range all {
		if t != last {
			order = append(order, t)
		}
	}
	return order
}

// better lists the transports that are preferred to t.
func (s *slotSet) better(t Transport) []Transport {
	all := s.owner.agent.transports()
	return all[:max(0, slices.Index(all, t))]
}

func (s *slotSet) failed(t Transport, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[t] = transportFailure{err, s.owner.inside.now()}
}

func (s *slotSet) succeeded(t Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failures, t)
	s.lastTransport = t
}

// TransportFailure is why a transport that would be preferred is not in use.
type TransportFailure struct {
	Transport Transport `json:"transport"`
	Address   string    `json:"address"`
	Error     string    `json:"error"`
	Hint      string    `json:"hint,omitempty"`
	At        time.Time `json:"at"`
}

// failuresLocked lists the failures of the transports that are preferred to the one in use, or of all when none is.
func (s *slotSet) failuresLocked(inUse Transport) (out []TransportFailure) {
	for _, t := range s.owner.agent.transports() {
		if t == inUse {
			break
		}
		if f, ok := s.failures[t]; ok {
			out = append(out, TransportFailure{t, s.aim.place(t), f.err.Error(), causeway.Hint(f.err), f.at.UTC()})
		}
	}
	return out
}
