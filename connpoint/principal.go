package connpoint

import (
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/identity"
)

// Verdicts on evidence are kept with the principal, so that one device connection is judged once and not once for
// each request. They hold as long as the trust they were made by is in force, and not beyond these times: clocks
// move certificates in and out of their validity.
const (
	admittedFor = 10 * time.Minute
	refusedFor  = 5 * time.Second
)

// trust is what devices are judged by. A new document brings a new one, and every verdict of the old one is void.
type trust struct {
	verifier *identity.Verifier
}

// A verdict is what evidence was found to prove.
type verdict struct {
	by     *trust
	until  time.Time
	device *identity.Device
	err    error

	mu    sync.Mutex
	lines map[string][]byte // identity lines, by the forms they hold
}

// judge returns the verdict on the evidence of p: the one it remembers, or a new one.
func (t *trust) judge(p *channel.InboundPrincipal, now time.Time) *verdict {
	if m := p.Memo.Load(); m != nil {
		if v, ok := (*m).(*verdict); ok && v.by == t && now.Before(v.until) {
			return v
		}
	}
	v := t.verify(p, now)
	var memo any = v
	p.Memo.Store(&memo)
	return v
}

func (t *trust) verify(p *channel.InboundPrincipal, now time.Time) *verdict {
	v := &verdict{by: t, until: now.Add(refusedFor)}
	if identity.Kind(p.Kind) != identity.KindCertificate {
		v.err = causeway.Refuse(causeway.CodeConnectorForbidden, "proof of kind %d is not accepted", p.Kind)
		return v
	}
	chain, err := identity.DecodeEvidence(p.Evidence)
	if err != nil {
		v.err = &causeway.Refusal{Code: causeway.CodeConnectorForbidden, Reason: "evidence", Err: err}
		return v
	}
	if v.device, v.err = t.verifier.Verify(chain, now); v.err != nil {
		return v
	}
	v.until = now.Add(admittedFor)
	if end := v.device.NotAfter; end.Before(v.until) {
		v.until = end
	}
	return v
}

// linesFor returns the field lines that tell a server of these forms who the device is.
func (v *verdict) linesFor(key string, forms []string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if b, ok := v.lines[key]; ok {
		return b, nil
	}
	b, err := identityLines(v.device, forms)
	if err != nil {
		return nil, err
	}
	if v.lines == nil {
		v.lines = make(map[string][]byte, 1)
	}
	v.lines[key] = b
	return b, nil
}
