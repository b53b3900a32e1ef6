package policy

import (
	"fmt"

	"github.com/causeway-gateway/causeway"
)

// A Step is one consideration of a decision, for people.
type Step struct {
	OK   bool   `json:"ok"`   // it spoke for the request
	Text string `json:"text"` // one sentence without a full stop
}

// Explain returns the considerations of Decide(a), in their order; the last one is the verdict. They are notes that
// the decision itself takes, so they cannot differ from it.
func (s *Set) Explain(a *Ask) []Step {
	t := &trace{}
	s.decide(a, t)
	return t.steps
}

// trace takes the notes. A nil trace takes none, and costs Decide a comparison.
type trace struct {
	steps []Step
}

func (t *trace) add(ok bool, format string, args ...any) {
	t.steps = append(t.steps, Step{ok, fmt.Sprintf(format, args...)})
}

func (t *trace) entered(s *Set, host int, at *entrance, target []byte) {
	if t == nil {
		return
	}
	if host >= 0 {
		t.add(true, "host belongs to server %q", s.pubs[host].Name)
	} else {
		t.add(true, "host is the service name %q", s.serviceName)
	}
	t.add(true, "path %.200q has one meaning", pathOf(target))
	switch {
	case at.local == LocalServiceMetadata:
		t.add(true, "path is ServiceMetadata, which the gateway answers")
	case at.local == LocalAADAuthInfo:
		t.add(true, "path is AADAuthInfo, which the gateway answers")
	case at.index >= 0:
		t.add(true, "path leads to server %q", s.pubs[at.index].Name)
	}
}

func (t *trace) proved(p Proof, at *entrance) {
	switch {
	case t == nil:
	case at.needs == ProofNone:
		t.add(true, "nobody needs a proof there")
	default:
		t.add(true, "device has a %s", p)
	}
}

func (t *trace) tried(p *Publication, rule int, covered bool) {
	if t == nil {
		return
	}
	if covered {
		t.add(true, "rule %d %q covers the path", rule, p.Rules[rule].Path)
	} else {
		t.add(false, "rule %d %q does not cover the path", rule, p.Rules[rule].Path)
	}
}

func (t *trace) refused(code causeway.Code, reason string) {
	if t != nil {
		t.add(false, "refused with %d %s: %s", code.Status(), code, reason)
	}
}

func (t *trace) allowed(v *Verdict) {
	switch {
	case t == nil:
	case v.Local != LocalNone:
		t.add(true, "allowed: the gateway answers")
	default:
		t.add(true, "allowed: server %q, rule %d, target %.200q", v.Publication.Name, v.RuleIndex, v.Rest)
	}
}

// String returns the proof in a word.
func (p Proof) String() string {
	switch p {
	case ProofNone:
		return "nothing"
	case ProofCertificate:
		return "certificate"
	case ProofToken:
		return "token"
	}
	return fmt.Sprintf("proof of kind %d", uint8(p))
}
