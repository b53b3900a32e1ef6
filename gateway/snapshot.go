package gateway

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// What a device may do where the signed document says nothing.
const (
	defaultDeviceRate        = 2000 // requests per second
	defaultDeviceBurst       = 4000
	defaultDeviceConcurrency = 1024
)

// A snapshot is one signed document, compiled. It never changes; a newer document makes a newer snapshot, and every
// request is judged by the one it found at its beginning.
type snapshot struct {
	header   signed.Header
	doc      *signed.GatewayDocument
	verifier *identity.Verifier
	policy   *policy.Set
	siteCAs  *x509.CertPool
	limits   Limits // of the configuration, governed by the document

	targets [][]*target // by publication and rule, as policy numbers them
}

// A target is what the gateway holds for one rule: limits, and counters that outlive the snapshot.
type target struct {
	publication causeway.ServerName
	gate        *gate
	quota       quota
	endpoint    *endpoint

	maxBodyBytes  int64
	answerTimeout time.Duration
	idle          time.Duration
}

// compile checks everything in a document and builds the snapshot of it. Nothing of the server changes before all
// of it is known to be good.
func (s *Server) compile(h signed.Header, doc *signed.GatewayDocument) (*snapshot, error) {
	if doc.Site != s.site {
		return nil, fmt.Errorf("document is for site %q; this instance belongs to %q", shown(string(doc.Site)), s.site)
	}
	if doc.Gateway != s.gateway {
		return nil, fmt.Errorf("document is for gateway %q; this instance belongs to %q", shown(string(doc.Gateway)), s.gateway)
	}
	snap := &snapshot{header: h, doc: doc, limits: governed(s.limits, doc.Limits)}
	err := snap.limits.check()
	if err != nil {
		return nil, err
	}
	if snap.verifier, err = identity.NewVerifier(doc.DeviceTrust); err != nil {
		return nil, fmt.Errorf("device trust: %w", err)
	}
	if snap.policy, err = policy.Compile(doc.ServiceName, doc.ServicePort, doc.Publications); err != nil {
		return nil, err
	}
	if snap.siteCAs, err = certPool(doc.SiteCAs); err != nil {
		return nil, err
	}
	return snap, nil
}

func certPool(ders [][]byte) (*x509.CertPool, error) {
	if len(ders) == 0 {
		return nil, errors.New("document names no site CA")
	}
	pool := x509.NewCertPool()
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("site CA %d: %w", i+1, err)
		}
		pool.AddCert(c)
	}
	return pool, nil
}

// governed applies the limits that the document names.
func governed(l Limits, d signed.Limits) Limits {
	set := func(own *int, n int) {
		if n > 0 {
			*own = n
		}
	}
	set(&l.MaxConnections, d.MaxConnections)
	set(&l.MaxConnectionsPerSource, d.MaxConnectionsPerSource)
	set(&l.MaxInFlight, d.MaxInFlight)
	return l
}

// attach gives the snapshot its gates and counters, those of the snapshot before where the name is the same.
// The caller holds applying.
func (s *Server) attach(snap *snapshot) {
	d := snap.doc.Limits
	device := quota{
		deviceRate:        perSecond(cmp.Or(d.DeviceRatePerSecond, defaultDeviceRate), cmp.Or(d.DeviceBurst, defaultDeviceBurst)),
		deviceConcurrency: max(0, cmp.Or(d.DeviceConcurrency, defaultDeviceConcurrency)),
	}
	port := ""
	if snap.doc.ServicePort != causeway.HTTPSPort {
		port = ":" + strconv.Itoa(snap.doc.ServicePort)
	}
	gates := make(map[causeway.ServerName]*gate)
	var keys []ruleKey
	var uris []string
	var flat []*target
	for i, p := range snap.policy.Publications() {
		g := s.gateOf(p)
		gates[p.Name] = g
		host, prefix := snap.policy.External(i)
		row := make([]*target, len(p.Rules))
		for j, r := range p.Rules {
			t := &target{publication: p.Name, gate: g, quota: device,
				maxBodyBytes: r.MaxBodyBytes, answerTimeout: time.Duration(r.AnswerTimeout),
				idle: cmp.Or(time.Duration(r.IdleTimeout), policy.DefaultIdleTimeout)}
			t.quota.rule = ruleKey{p.Name, r.Path}
			t.quota.ruleRate = perSecond(r.RatePerSecond, r.Burst)
			t.quota.ruleConcurrency = max(0, r.Concurrency)
			row[j] = t
			flat = append(flat, t)
			keys = append(keys, t.quota.rule)
			uris = append(uris, "https://"+host+port+prefix+r.Path)
		}
		snap.targets = append(snap.targets, row)
	}
	s.gates = gates
	for i, e := range s.traffic.keep(keys, uris) {
		flat[i].endpoint = e
	}
}

func (s *Server) gateOf(p policy.Publication) *gate {
	limit := p.MaxInFlight
	if limit <= 0 {
		limit = math.MaxInt
	}
	g := s.gates[p.Name]
	if g == nil {
		return newGate(limit)
	}
	g.resize(limit)
	return g
}

// target returns what belongs to a verdict that passed.
func (snap *snapshot) target(v *policy.Verdict) *target { return snap.targets[v.Index][v.RuleIndex] }

// lists reports whether the document names this life of this instance.
func (snap *snapshot) lists(slot causeway.Slot, id causeway.InstanceID) bool {
	return slices.ContainsFunc(snap.doc.Instances, func(i signed.Instance) bool { return i.Slot == slot && i.ID == id })
}

// connectionPoint finds one by its id.
func (snap *snapshot) connectionPoint(id causeway.ConnectionPointID) (signed.ConnectionPoint, bool) {
	i := slices.IndexFunc(snap.doc.ConnectionPoints, func(c signed.ConnectionPoint) bool { return c.ID == id })
	if i < 0 {
		return signed.ConnectionPoint{}, false
	}
	return snap.doc.ConnectionPoints[i], true
}

// stale reports whether the document is so old that devices must not be admitted by it any more.
func (snap *snapshot) stale(now time.Time, grace time.Duration) bool {
	return now.After(snap.header.ValidUntil.Add(grace))
}
