package policy

import (
	"errors"

	"github.com/causeway-gateway/causeway"
)

// Proof is how a device proved who it is. The numbers are those of identity.Kind.
type Proof uint8

const (
	ProofNone        Proof = 0
	ProofCertificate Proof = 1
	ProofToken       Proof = 2
)

// An Ask is what a device wants, as http1 read it.
type Ask struct {
	Method    []byte
	Authority []byte // host with optional port, as received
	Target    []byte // origin form
	BodyBytes int64  // -1: not known beforehand
	Upgrade   bool   // it wants to switch protocols
	WebSocket bool   // namely to WebSocket
	Proof     Proof
}

// Local says what the gateway answers by itself.
type Local uint8

const (
	LocalNone            Local = iota
	LocalServiceMetadata       // /CCM_Proxy_MutualAuth/ServiceMetadata, /CCM_Proxy_ServerAuth/ServiceMetadata
	LocalAADAuthInfo           // /CCM_Proxy_ServerAuth/AADAuthInfo
)

// A Verdict is what Decide made of an Ask. Its slices are spans of the Ask.
type Verdict struct {
	// Code is 0 when the request may pass. Reason says for our logs why not; it holds nothing of the request.
	Code   causeway.Code
	Reason string

	// Publication and Rule are those of the Set, with defaults filled in; nil as long as none was found, and set
	// in a refusal that came after they were. Do not change them.
	Publication *Publication
	Index       int // of Publication in what Compile got, -1 without one
	Rule        *Rule
	RuleIndex   int // of Rule in its publication, -1 without one

	// Prefix is the part of the target that leads to the publication; Rest is what lies below it, query included.
	// Rest always begins with "/" and has the very bytes that came.
	Prefix []byte
	Rest   []byte

	Local Local
}

// Allowed reports whether the request may pass, to a server or to what is Local.
func (v *Verdict) Allowed() bool { return v.Code == causeway.CodeNone }

// Refusal returns the verdict as an error, nil if it is allowed.
func (v *Verdict) Refusal() error {
	if v.Allowed() {
		return nil
	}
	return &causeway.Refusal{Code: v.Code, Reason: v.Reason}
}

// A Step is one consideration of a decision, for people.
type Step struct {
	OK   bool   // it spoke for the request
	Text string // one sentence without a full stop
}

// A Set is a compiled policy. It does not change and may be used by any number of goroutines.
type Set struct {
	serviceName string
	servicePort int
	pubs        []Publication
}

// Compile checks publications and makes a Set of them. serviceName is the name (or address) devices call and
// servicePort the port they call it on. An error names the publication and the field.
func Compile(serviceName string, servicePort int, pubs []Publication) (*Set, error) {
	return nil, errors.New("policy: Compile arrives with the next commit")
}

// Publications returns the publications with defaults filled in. Do not change them.
func (s *Set) Publications() []Publication { return s.pubs }

// External returns where devices find publication i: the authority (without a port) and the path prefix, which is
// empty for one that has a host of its own. A management point has this prefix for certificates and another for tokens.
func (s *Set) External(i int) (host, prefix string) { return "", "" }

// Decide judges one request. It allocates nothing when the request may pass.
func (s *Set) Decide(a *Ask) Verdict {
	return Verdict{Code: causeway.CodeInternalError, Index: -1, RuleIndex: -1}
}

// Explain returns the considerations of Decide(a), in their order; the last one is the verdict.
func (s *Set) Explain(a *Ask) []Step { return nil }
