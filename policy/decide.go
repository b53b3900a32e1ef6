package policy

import "github.com/causeway-gateway/causeway"

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

// A Verdict is what Decide made of an Ask. Its slices are mostly spans of the Ask: do not write into them.
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

// The reasons of refusals. They are constants, so that a verdict costs nothing and says nothing of the request.
const (
	reasonAuthority   = "host is none of ours"
	reasonCertificate = "no client certificate"
	reasonToken       = "no token"
	reasonNoServer    = "no server is published there"
	reasonNoRule      = "no rule of the server covers the path"
	reasonReadings    = "path can be read in two ways that lead to different rules"
	reasonSemicolon   = "path has a semicolon, which the rule does not allow"
	reasonCCMPath     = "ConfigMgr path has a dot segment or an encoded slash"
	reasonMethod      = "rule does not allow the method"
	reasonBody        = "body is above the rule's limit"
	reasonUpgrade     = "rule does not allow the upgrade"
)

// Decide judges one request. It allocates nothing when the request may pass, save for a target that names a server
// and goes on with a query at once.
func (s *Set) Decide(a *Ask) Verdict { return s.decide(a, nil) }

// decide asks in this order: is it our host, has the path one meaning, who answers there, who is asking, and only
// then whether such a thing is published. A stranger learns nothing of what is.
func (s *Set) decide(a *Ask, t *trace) Verdict {
	v := Verdict{Index: -1, RuleIndex: -1}
	where, ok := s.host(a.Authority)
	if !ok {
		return v.refuse(t, causeway.CodeMisdirected, reasonAuthority)
	}
	if reason := checkTarget(a.Target); reason != "" {
		return v.refuse(t, causeway.CodeBadRequest, reason)
	}
	path := pathOf(a.Target)
	has, reason := checkPath(path)
	if reason != "" {
		return v.refuse(t, causeway.CodeBadRequest, reason)
	}
	at := entrance{index: where, needs: ProofCertificate, anyProof: true}
	if where < 0 {
		at, reason = s.enter(path, has)
		if reason != "" {
			return v.refuse(t, causeway.CodeBadRequest, reason)
		}
	}
	t.entered(s, where, &at, a.Target)
	v.Local = at.local
	if code, reason := at.checkProof(a.Proof); code != causeway.CodeNone {
		return v.refuse(t, code, reason)
	}
	t.proved(a.Proof, &at)
	if at.local != LocalNone {
		return v.local(a, t)
	}
	if at.index < 0 {
		return v.refuse(t, causeway.CodeURLNotPublished, reasonNoServer)
	}
	v.Index, v.Publication = at.index, &s.pubs[at.index]
	v.Prefix, v.Rest = split(a.Target, at.prefix)
	if v = s.pick(v, path[at.prefix:], has, t); !v.Allowed() {
		return v
	}
	return v.judge(a, t)
}

func (v Verdict) refuse(t *trace, code causeway.Code, reason string) Verdict {
	v.Code, v.Reason = code, reason
	t.refused(code, reason)
	return v
}

// host finds whom an authority means: -1 for the service name itself, else the publication with that host.
func (s *Set) host(authority []byte) (index int, ok bool) {
	host, port := splitPort(authority)
	if port != nil && !portIs(port, s.servicePort) && !portIs(port, causeway.HTTPSPort) {
		return 0, false
	}
	var buf [maxHostBytes]byte
	if len(host) > len(buf) {
		return 0, false
	}
	for i, c := range host {
		buf[i] = lower(c)
	}
	name := buf[:len(host)]
	if string(name) == s.serviceName {
		return -1, true
	}
	index, ok = s.byHost[string(name)]
	return index, ok
}

// splitPort cuts the port off an authority; nil without one.
func splitPort(authority []byte) (host, port []byte) {
	for i := len(authority) - 1; i >= 0; i-- {
		switch authority[i] {
		case ':':
			return authority[:i], authority[i+1:]
		case ']':
			return authority, nil
		}
	}
	return authority, nil
}

func portIs(b []byte, port int) bool {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return len(b) > 0 && b[0] != '0' && n == port
}

// entrance is where the first segments of a path on the service name lead.
type entrance struct {
	index    int // publication, -1 for none
	prefix   int // how many bytes of the path lead there
	local    Local
	needs    Proof // ProofNone: everybody may
	anyProof bool  // any proof other than ProofNone will do
}

// enter reads the segments that lead to a publication.
func (s *Set) enter(path []byte, has traits) (at entrance, reason string) {
	at = entrance{index: -1, needs: ProofCertificate, anyProof: true}
	segment, rest := nextName(path)
	if reason = plain(segment); reason != "" {
		return at, reason
	}
	var buf [MaxNameBytes]byte
	n, fits := decode(segment, buf[:])
	if !fits {
		return at, ""
	}
	name := buf[:n]
	if len(name) >= 4 && equal(name[:4], "ccm_", true) {
		if has.dot || has.slash {
			return at, reasonCCMPath
		}
		return s.enterCCM(name, rest, len(path))
	}
	if i, ok := s.byName[string(name)]; ok {
		at.index, at.prefix = i, len(path)-len(rest)
	}
	return at, ""
}

// enterCCM reads /CCM_Proxy_MutualAuth/… and /CCM_Proxy_ServerAuth/….
func (s *Set) enterCCM(name, rest []byte, pathBytes int) (at entrance, reason string) {
	at = entrance{index: -1, needs: ProofCertificate}
	tokens := equal(name, "ccm_proxy_serverauth", true)
	if tokens {
		at.needs = ProofToken
	}
	if !tokens && !equal(name, "ccm_proxy_mutualauth", true) || len(rest) == 0 {
		return at, ""
	}
	segment, rest := reading{}.next(rest)
	if reason = plain(segment); reason != "" {
		return at, reason
	}
	switch last := len(rest) == 0 || string(rest) == "/"; {
	case last && equal(segment, "servicemetadata", true):
		at.local = LocalServiceMetadata
		if !tokens {
			at.needs = ProofNone // the public sign that the service is up
		}
	case last && tokens && equal(segment, "aadauthinfo", true):
		at.local, at.needs = LocalAADAuthInfo, ProofNone // asked before a device has a token
	default:
		if i, ok := s.byID[parseID(segment)]; ok {
			at.index, at.prefix = i, pathBytes-len(rest)
		}
	}
	return at, ""
}

// nextName takes the first segment that is not ".".
func nextName(path []byte) (segment, rest []byte) {
	for rest = path; len(rest) > 0; {
		if segment, rest = (reading{}).next(rest); string(segment) != "." {
			return segment, rest
		}
	}
	return nil, nil
}

// plain refuses a leading segment that servers would cut at different places.
func plain(segment []byte) (reason string) {
	if len(cutParams(segment)) < len(segment) {
		return reasonReadings
	}
	for i, c := range segment {
		if c == '%' && unescape(segment[i:]) == '/' {
			return reasonReadings
		}
	}
	return ""
}

// parseID reads a management point's id as clients write it; 0 if it is none.
func parseID(segment []byte) (id uint64) {
	var buf [20]byte
	n, fits := decode(segment, buf[:])
	if !fits || n == 0 || n > 18 || buf[0] == '0' {
		return 0
	}
	for _, c := range buf[:n] {
		if c < '0' || c > '9' {
			return 0
		}
		id = id*10 + uint64(c-'0')
	}
	return id
}

// checkProof says what a device lacks here.
func (e *entrance) checkProof(p Proof) (causeway.Code, string) {
	switch {
	case e.needs == ProofNone, p == e.needs, e.anyProof && p != ProofNone:
		return causeway.CodeNone, ""
	case e.needs == ProofToken:
		return causeway.CodeInvalidToken, reasonToken
	}
	return causeway.CodeClientCertificateRequired, reasonCertificate
}

// local judges a request that the gateway answers by itself.
func (v Verdict) local(a *Ask, t *trace) Verdict {
	switch {
	case string(a.Method) != "GET" && string(a.Method) != "HEAD":
		return v.refuse(t, causeway.CodeMethodNotAllowed, reasonMethod)
	case a.Upgrade || a.WebSocket:
		return v.refuse(t, causeway.CodeUpgradeRefused, reasonUpgrade)
	case a.BodyBytes != 0:
		return v.refuse(t, causeway.CodeBodyTooLarge, reasonBody)
	}
	t.allowed(&v)
	return v
}

var root = []byte("/")

// split cuts a target behind the prefix. What is left always begins with "/".
func split(target []byte, prefix int) (before, rest []byte) {
	before, rest = target[:prefix:prefix], target[prefix:]
	switch {
	case len(rest) == 0:
		return before, root
	case rest[0] == '?':
		return before, append([]byte{'/'}, rest...)
	}
	return before, rest
}

// pick finds the rule. Every way to read the path must lead to the same one.
func (s *Set) pick(v Verdict, below []byte, has traits, t *trace) Verdict {
	srv := &s.servers[v.Index]
	found := srv.match(below, reading{}, t, v.Publication)
	for _, r := range [...]reading{{slash: true}, {params: true}, {slash: true, params: true}} {
		if r.slash && !has.slash || r.params && !has.semicolon {
			continue
		}
		if srv.match(below, r, nil, nil) != found {
			return v.refuse(t, causeway.CodeBadRequest, reasonReadings)
		}
	}
	if found < 0 {
		return v.refuse(t, causeway.CodeURLNotPublished, reasonNoRule)
	}
	v.RuleIndex, v.Rule = found, &v.Publication.Rules[found]
	if has.semicolon && !v.Rule.Semicolon {
		return v.refuse(t, causeway.CodeBadRequest, reasonSemicolon)
	}
	return v
}

// match returns the rule with the longest path that covers what lies below the publication, or -1.
func (srv *server) match(below []byte, r reading, t *trace, p *Publication) int {
	for i := range srv.rules {
		covered := srv.rules[i].covers(below, r, srv.fold)
		t.tried(p, srv.rules[i].rule, covered)
		if covered {
			return srv.rules[i].rule
		}
	}
	return -1
}

// judge asks what the rule says of method, body and upgrade.
func (v Verdict) judge(a *Ask, t *trace) Verdict {
	switch {
	case !v.Rule.allows(a.Method):
		return v.refuse(t, causeway.CodeMethodNotAllowed, reasonMethod)
	case a.BodyBytes > v.Rule.MaxBodyBytes:
		return v.refuse(t, causeway.CodeBodyTooLarge, reasonBody)
	case (a.Upgrade || a.WebSocket) && (!v.Rule.WebSocket || !a.WebSocket || string(a.Method) != "GET" || a.BodyBytes != 0):
		return v.refuse(t, causeway.CodeUpgradeRefused, reasonUpgrade)
	}
	t.allowed(&v)
	return v
}

func (r *Rule) allows(method []byte) bool {
	for _, m := range r.Methods {
		if string(method) == m {
			return true
		}
	}
	return false
}
