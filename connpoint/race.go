package connpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

const (
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

// A reached is a session with the transport that it uses.
type reached struct {
	session   *channel.Session
	transport channel.Transport
	keys      int // how many of the site's keys the hello was made of
}

// A transportFailure is why a transport is not in use.
type transportFailure struct {
	err error
	at  time.Time
}

// An attempt is what became of one transport in a race.
type attempt struct {
	reached
	err error
}

// race makes a session by the first of some transports that leads to the instance. They are begun one after the other, each
// when the one before has failed or has had nextAfter; the first that is there wins, and the others end.
func (s *slotSet) race(ctx context.Context, order []channel.Transport, index int) (reached, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(order))
	waiting := make(map[channel.Transport]time.Time) // since when
	progress := make(chan struct{}, len(order))      // of any that is waited for
	begun := 0
	begin := func() {
		t := order[begun]
		begun++
		waiting[t] = time.Now()
		s.owner.work.Go(func() {
			r, err := s.try(ctx, t, index, func() { progress <- struct{}{} })
			results <- attempt{r, err}
		})
	}
	timer := time.NewTimer(nextAfter)
	defer timer.Stop()
	begin()
	var failed failures
	for {
		select {
		case <-timer.C:
			if begun < len(order) && ctx.Err() == nil {
				begin()
				timer.Reset(nextAfter)
			}
		case <-progress:
			timer.Reset(nextAfter)
		case r := <-results:
			delete(waiting, r.transport)
			if r.err == nil {
				cancel()
				s.won(r.transport, waiting, results)
				return r.reached, nil
			}
			if ctx.Err() == nil {
				s.failed(r.transport, r.err)
			}
			failed = append(failed, r)
			_, told := errors.AsType[*causeway.Refusal](r.err)
			switch {
			case begun < len(order) && !told && ctx.Err() == nil:
				begin()
				timer.Reset(nextAfter)
			case len(waiting) == 0: // a gateway that refuses us does so on every way
				return reached{}, failed.withHints()
			}
		}
	}
}

// won notes what became of a race, and has the sessions end that come second.
func (s *slotSet) won(t channel.Transport, waiting map[channel.Transport]time.Time, results <-chan attempt) {
	late := len(waiting)
	s.owner.work.Go(func() {
		for range late {
			if r := <-results; r.err == nil {
				r.session.Close()
			}
		}
	})
	for other, since := range waiting {
		s.failed(other, fmt.Errorf("no channel to %s within %s", s.aim.place(other), time.Since(since).Round(100*time.Millisecond)))
	}
	s.succeeded(t)
}

// failures is why no transport of a race led to the instance, as one line.
type failures []attempt

func (f failures) Error() string {
	var said []TransportFailure
	for _, a := range f {
		said = append(said, TransportFailure{Transport: a.transport, Error: a.err.Error()})
	}
	return Causes(said)
}

// Causes is why transports failed, as one line. What several failed for stands there once, and so does an address that the
// cause names.
func Causes(failed []TransportFailure) string {
	var causes []string
	whose := make(map[string][]string)
	for _, f := range failed {
		cause := strings.Join(strings.Fields(strings.ReplaceAll(f.Error, "\n", ", ")), " ")
		if whose[cause] == nil {
			causes = append(causes, cause)
		}
		who := string(f.Transport)
		if f.Address != "" && !strings.Contains(cause, f.Address) {
			who += " " + f.Address
		}
		whose[cause] = append(whose[cause], who)
	}
	for i, cause := range causes {
		causes[i] = strings.Join(whose[cause], ", ") + ": " + cause
	}
	return strings.Join(causes, "; ")
}

func (f failures) Unwrap() []error {
	all := make([]error, len(f))
	for i, a := range f {
		all[i] = a.err
	}
	return all
}

func (f failures) withHints() error {
	var told []TransportFailure
	var bySlot error
	for _, a := range f {
		if a.transport == channel.SlotPort {
			bySlot = a.err
		}
	}
	for _, a := range f {
		told = append(told, TransportFailure{Transport: a.transport, Hint: hintOf(a.err, bySlot)})
	}
	return causeway.WithHint(f, "%s", Hints(told))
}

// hintOf is what can be done about a transport that failed. Who meets the same certificate on the slot's own port met the
// gateway and no box on the way, whose CA would help.
func hintOf(err, bySlot error) string {
	if sameCertificate(err, bySlot) {
		return causeway.Hint(bySlot)
	}
	return causeway.Hint(err)
}

// Hints is what can be done about transports that failed. Where not all fail alike, it says which hint is for whom.
func Hints(failed []TransportFailure) string {
	var hints []string
	whose := make(map[string][]string)
	for _, f := range failed {
		if whose[f.Hint] == nil && f.Hint != "" {
			hints = append(hints, f.Hint)
		}
		whose[f.Hint] = append(whose[f.Hint], string(f.Transport))
	}
	if len(whose) == 1 {
		return strings.Join(hints, "")
	}
	for i, hint := range hints {
		hints[i] = strings.Join(whose[hint], ", ") + ": " + hint
	}
	return strings.Join(hints, "; ")
}

// seekBetter tries the transports that are preferred to t now and then, until one of them leads to the instance.
func (s *slotSet) seekBetter(ctx context.Context, t channel.Transport, index int, found chan<- reached, log *slog.Logger) {
	better := s.better(t)
	if len(better) == 0 {
		return
	}
	every := cmp.Or(s.owner.agent.ReturnEvery, defaultReturnEvery)
	for sleep(ctx, every/2+rand.N(every)) { // not all at once
		r, err := s.race(ctx, better, index)
		if err == nil {
			found <- r
			return
		}
		log.Debug("no better transport yet", "in_use", string(t), "err", err)
	}
}

// try makes a session by one transport: connected, both sides proven, welcomed, and by the instance that is meant.
func (s *slotSet) try(ctx context.Context, t channel.Transport, index int, progress func()) (r reached, err error) {
	r.transport = t
	own, err := s.owner.certs.wait(ctx)
	if err != nil {
		return r, err
	}
	conn, err := s.reach(ctx, t, own, progress)
	if err != nil {
		return r, err
	}
	place := s.aim.place(t)
	hello, keys := s.hello(index)
	session, welcome, err := channel.Connect(ctx, conn, hello, s.sessionConfig())
	if err != nil {
		_ = conn.NetConn().Close() // the reason is known
		return r, fmt.Errorf("hello to %s: %w", place, err)
	}
	if welcome.Instance != s.aim.instance.ID || welcome.Slot != s.aim.instance.Slot {
		session.Close()
		return r, fmt.Errorf("%s is instance %q in slot %d, meant was %q in slot %d", place,
			welcome.Instance, welcome.Slot, s.aim.instance.ID, s.aim.instance.Slot)
	}
	r.session, r.keys = session, keys
	return r, nil
}

// round is the transports that are tried together, after so many rounds that failed.
func (s *slotSet) round(failed int) []channel.Transport {
	order := s.order()
	if failed%fullRound != 0 {
		return order[:1]
	}
	return order
}

// order is the transports in the order in which a lost connection tries them: what worked last is the first.
func (s *slotSet) order() []channel.Transport {
	all := s.owner.agent.transports()
	s.mu.Lock()
	last := s.lastTransport
	s.mu.Unlock()
	if !slices.Contains(all, last) {
		return all
	}
	order := []channel.Transport{last}
	for _, t := range all {
		if t != last {
			order = append(order, t)
		}
	}
	return order
}

// better lists the transports that are preferred to t.
func (s *slotSet) better(t channel.Transport) []channel.Transport {
	all := s.owner.agent.transports()
	return all[:max(0, slices.Index(all, t))]
}

func (s *slotSet) failed(t channel.Transport, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[t] = transportFailure{err, s.owner.inside.now()}
}

// succeeded forgets why t and what is less preferred failed: nobody tries those as long as t works, so what is known of
// them gets old, and would be told as the reason when t ends.
func (s *slotSet) succeeded(t channel.Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.owner.agent.transports()
	for _, lesser := range all[max(0, slices.Index(all, t)):] {
		delete(s.failures, lesser)
	}
	s.lastTransport = t
}

// TransportFailure is why a transport that would be preferred is not in use.
type TransportFailure struct {
	Transport channel.Transport `json:"transport"`
	Address   string            `json:"address"`
	Error     string            `json:"error"`
	Hint      string            `json:"hint,omitempty"`
	At        time.Time         `json:"at"`
}

// failuresLocked lists the failures of the transports that are preferred to the one in use, or of all when none is.
func (s *slotSet) failuresLocked(inUse channel.Transport) (out []TransportFailure) {
	for _, t := range s.owner.agent.transports() {
		if t == inUse {
			break
		}
		if f, ok := s.failures[t]; ok {
			out = append(out, TransportFailure{t, s.aim.place(t), f.err.Error(), hintOf(f.err, s.failures[channel.SlotPort].err), f.at.UTC()})
		}
	}
	return out
}
