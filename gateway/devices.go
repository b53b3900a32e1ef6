package gateway

import (
	"bytes"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
)

// maxDevices bounds the device table. Devices with an open connection stay in it; of the others only those whose
// buckets are not full yet are worth remembering.
const maxDevices = 1 << 17

// maxRuleUses bounds what one device's entry remembers of rules that a newer configuration no longer has.
const maxRuleUses = 256

// devices is what the gateway remembers of each device while it matters: its requests in flight and its buckets.
// Connections hold their entry, so that the table is asked once per connection and never per request.
type devices struct {
	now func() int64

	mu      sync.Mutex // guards entries and every entry's connections
	entries map[causeway.DeviceID]*deviceEntry
}

// A deviceEntry is one device, over all its connections.
type deviceEntry struct {
	id          causeway.DeviceID
	connections int // guarded by devices.mu

	bucket bucket

	mu       sync.Mutex // guards the fields below
	inFlight int
	uses     map[ruleKey]*ruleUse
	evidence []byte // the last that was shared; nil without connections
}

// A ruleKey names a rule across configurations, so that a new document does not refill everybody's buckets.
type ruleKey struct {
	publication causeway.ServerName
	path        string
}

// A ruleUse is one device's use of one rule.
type ruleUse struct {
	inFlight int // guarded by the entry's mu
	bucket   bucket
}

func newDevices(now func() int64) *devices {
	return &devices{now: now, entries: make(map[causeway.DeviceID]*deviceEntry)}
}

// join returns the device's entry for one more connection of it, or nil when the table is full.
func (t *devices) join(id causeway.DeviceID) *deviceEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[id]
	if e == nil {
		if len(t.entries) >= maxDevices {
			t.sweepLocked()
		}
		if len(t.entries) >= maxDevices {
			return nil
		}
		e = &deviceEntry{id: id}
		t.entries[id] = e
	}
	e.connections++
	return e
}

// part undoes one join.
func (t *devices) part(e *deviceEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.connections--
	if e.connections > 0 {
		return
	}
	e.share(nil)
	if e.forgettable(t.now()) {
		delete(t.entries, e.id)
	}
}

// share returns evidence, or what another connection of the device has of the same content.
func (e *deviceEntry) share(evidence []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if evidence == nil || !bytes.Equal(e.evidence, evidence) {
		e.evidence = evidence
	}
	return e.evidence
}

// sweep forgets devices that are gone and whose limits have recovered.
func (t *devices) sweep() {
	t.mu.Lock()
	t.sweepLocked()
	t.mu.Unlock()
}

func (t *devices) sweepLocked() {
	now := t.now()
	for id, e := range t.entries {
		if e.connections == 0 && e.forgettable(now) {
			delete(t.entries, id)
		}
	}
}

func (t *devices) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

func (e *deviceEntry) forgettable(now int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inFlight > 0 || !e.bucket.full(now) {
		return false
	}
	for _, u := range e.uses {
		if u.inFlight > 0 || !u.bucket.full(now) {
			return false
		}
	}
	return true
}

// A quota is what one request must fit into: the device's limits and those of the rule it matched.
// Zero means no limit.
type quota struct {
	deviceRate        rate
	deviceConcurrency int
	rule              ruleKey
	ruleRate          rate
	ruleConcurrency   int
}

func (q *quota) limitsRule() bool { return q.ruleRate.interval > 0 || q.ruleConcurrency > 0 }

// enter admits one request of the device, or says for how long it must stay away. Every nil answer must be
// followed by one leave with the same quota and use.
func (e *deviceEntry) enter(q *quota, now int64) (*ruleUse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if q.deviceConcurrency > 0 && e.inFlight >= q.deviceConcurrency {
		return nil, tooMany("device has %d requests in flight", e.inFlight, time.Second)
	}
	var use *ruleUse
	if q.limitsRule() {
		use = e.useLocked(q.rule, now)
		if q.ruleConcurrency > 0 && use.inFlight >= q.ruleConcurrency {
			return nil, tooMany("device has %d requests in flight under this rule", use.inFlight, time.Second)
		}
	}
	if wait := e.bucket.take(q.deviceRate, now); wait > 0 {
		return nil, tooMany("device is %d ms over its rate", int(wait.Milliseconds()), wait)
	}
	if use != nil {
		if wait := use.bucket.take(q.ruleRate, now); wait > 0 {
			return nil, tooMany("device is %d ms over the rule's rate", int(wait.Milliseconds()), wait)
		}
		use.inFlight++
	}
	e.inFlight++
	return use, nil
}

func (e *deviceEntry) leave(use *ruleUse) {
	e.mu.Lock()
	e.inFlight--
	if use != nil {
		use.inFlight--
	}
	e.mu.Unlock()
}

func (e *deviceEntry) useLocked(k ruleKey, now int64) *ruleUse {
	if u := e.uses[k]; u != nil {
		return u
	}
	if e.uses == nil {
		e.uses = make(map[ruleKey]*ruleUse)
	}
	if len(e.uses) >= maxRuleUses {
		for k, u := range e.uses {
			if u.inFlight == 0 && u.bucket.full(now) {
				delete(e.uses, k)
			}
		}
	}
	u := &ruleUse{}
	e.uses[k] = u
	return u
}

func tooMany(format string, n int, wait time.Duration) error {
	r := causeway.Refuse(causeway.CodeTooManyRequests, format, n)
	r.RetryAfter = wait
	return r
}
