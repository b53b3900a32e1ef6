package http1

import (
	"bytes"
	"net/netip"

	"github.com/causeway-gateway/causeway"
)

// A Request is a parsed request head. Its slices are spans of Head, except Target where noted.
// The zero value is ready; a Request may be parsed into again and again.
type Request struct {
	Method []byte
	// Target is the origin form, path and query as they came, also where the request line had the absolute form.
	Target []byte
	// Host is the authority the request is for, as received: a host name or address, perhaps with a port.
	Host  []byte
	Minor int // of HTTP/1.Minor: 0 or 1

	// Fields are all field lines in their order, those that will be dropped included.
	Fields []Field

	BodyBytes int64 // 0: no body, -1: chunked
	HasLength bool  // a Content-Length came, perhaps of 0
	Chunked   bool
	Close     bool // the connection ends with this request
	Expect100 bool // a body follows once 100 Continue was sent

	// Upgrade is what the request wants to switch to. It is nil unless Connection names Upgrade in HTTP/1.1.
	Upgrade []byte

	// Head is what was parsed, start line and empty line included.
	Head []byte

	framing framing
}

// Reset forgets the request, whose spans may soon be somebody else's bytes. The memory stays for the next Parse.
func (r *Request) Reset() {
	fields, named := r.Fields[:0], r.framing.named[:0]
	*r = Request{}
	r.Fields, r.framing.named = fields, named
}

// Parse reads a complete head: all bytes up to and including the empty line. Whatever it says after an error, the
// connection must be closed: nobody knows where the next request begins. Errors are *causeway.Refusal.
func (r *Request) Parse(head []byte, lim Limits) error {
	// A typed nil would be an error to the caller.
	if refusal := r.parse(head, lim.forRequest()); refusal != nil {
		return refusal
	}
	return nil
}

// WebSocket reports whether the request wants to switch to the WebSocket protocol.
func (r *Request) WebSocket() bool { return EqualFold(r.Upgrade, "websocket") }

// Get returns the value of the first field of that name, nil without one.
func (r *Request) Get(name string) []byte { return get(r.Fields, name) }

func get(fields []Field, name string) []byte {
	for i := range fields {
		if EqualFold(fields[i].Name, name) {
			return fields[i].Value
		}
	}
	return nil
}

func (r *Request) parse(head []byte, lim Limits) *causeway.Refusal {
	r.Reset()
	r.Head = head
	fr := &r.framing
	if len(head) > lim.MaxHeadBytes {
		return causeway.Refuse(causeway.CodeHeadersTooLarge, "head of %d bytes", len(head))
	}
	line, rest, refusal := cutLine(head)
	if refusal != nil {
		return refusal
	}
	if refusal = r.parseStartLine(line, lim); refusal != nil {
		return refusal
	}
	if r.Fields, refusal = parseFields(rest, r.Fields, lim.MaxFields, fr); refusal != nil {
		return refusal
	}
	return r.settle()
}

func (r *Request) parseStartLine(line []byte, lim Limits) *causeway.Refusal {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || !IsToken(method) {
		return bad("request line %.64q", line)
	}
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return bad("request line %.64q without a version", line)
	}
	switch string(version) {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
		r.Minor = 0
	default:
		if isVersion(version) {
			return causeway.Refuse(causeway.CodeVersionNotSupported, "version %q", version)
		}
		return bad("version %.64q", version)
	}
	if len(target) > lim.MaxTargetBytes {
		return causeway.Refuse(causeway.CodeURITooLong, "target of %d bytes", len(target))
	}
	r.Method, r.Target = method, target
	return nil
}

func isVersion(b []byte) bool {
	return len(b) == len("HTTP/1.1") && string(b[:5]) == "HTTP/" && classes[b[5]]&isDigit != 0 && b[6] == '.' && classes[b[7]]&isDigit != 0
}

// settle draws the conclusions from all fields together.
func (r *Request) settle() (refusal *causeway.Refusal) {
	fr := &r.framing
	if r.BodyBytes, r.HasLength, r.Chunked, refusal = fr.body(r.Minor); refusal != nil {
		return refusal
	}
	if fr.hosts != 1 {
		return bad("%d Host fields", fr.hosts)
	}
	r.Host = fr.host
	if refusal = checkHost(r.Host); refusal != nil {
		return refusal
	}
	if refusal = r.settleTarget(); refusal != nil {
		return refusal
	}
	r.Close = fr.close || r.Minor == 0 && !fr.persist
	if r.Minor == 0 {
		return nil // Expect and Upgrade are no words of HTTP/1.0
	}
	if refusal = r.settleExpect(); refusal != nil {
		return refusal
	}
	if fr.upgrading {
		if fr.upgrades != 1 || len(fr.upgrade) == 0 {
			return bad("Connection names Upgrade, %d Upgrade fields", fr.upgrades)
		}
		r.Upgrade = fr.upgrade
	}
	return nil
}

func (r *Request) settleExpect() *causeway.Refusal {
	fr := &r.framing
	if fr.expects == 0 {
		return nil
	}
	if fr.expects > 1 || !EqualFold(fr.expect, "100-continue") {
		return causeway.Refuse(causeway.CodeExpectationFailed, "%d Expect fields, the last %.64q", fr.expects, fr.expect)
	}
	r.Expect100 = r.BodyBytes != 0
	return nil
}

// rootTarget is the path of an absolute form that has none.
var rootTarget = []byte("/")

// settleTarget brings the target into origin form. The absolute form must name the same authority as Host:
// which of the two counts differs between programs.
func (r *Request) settleTarget() *causeway.Refusal {
	t := r.Target
	if len(t) == 0 || t[0] != '/' {
		skip := len("http://")
		if len(t) > skip && EqualFold(t[:skip+1], "https://") {
			skip++
		} else if len(t) < skip || !EqualFold(t[:skip], "http://") {
			return bad("target %.64q is neither origin nor absolute form", t)
		}
		t = t[skip:]
		slash := bytes.IndexByte(t, '/')
		authority := t
		if slash >= 0 {
			authority, t = t[:slash], t[slash:]
		} else {
			t = rootTarget
		}
		if !EqualFold(authority, r.Host) {
			return bad("target names %.64q, Host %.64q", authority, r.Host)
		}
		r.Target = t
	}
	return checkTarget(t)
}

// checkTarget looks at an origin form byte by byte. What its path means is policy's to judge.
func checkTarget(t []byte) *causeway.Refusal {
	if len(t) == 0 || t[0] != '/' || !all(t, isTarget) {
		return bad("target %.64q", t)
	}
	for i := 0; i < len(t) && t[i] != '?'; i++ {
		if t[i] == '%' && (len(t)-i < 3 || classes[t[i+1]]&classes[t[i+2]]&isHex == 0) {
			return bad("invalid escape in target %.64q", t)
		}
	}
	return nil
}

// checkHost takes a host name or address with an optional port: no user information, no escapes, no empty port.
func checkHost(h []byte) *causeway.Refusal {
	host := h
	if i := bytes.LastIndexByte(h, ':'); i >= 0 && (h[0] != '[' || h[i-1] == ']') {
		port := h[i+1:]
		if len(port) == 0 || len(port) > 5 || !all(port, isDigit) || len(port) == 5 && string(port) > "65535" {
			return bad("port in Host %.64q", h)
		}
		host = h[:i]
	}
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		if a, err := netip.ParseAddr(string(host[1 : len(host)-1])); err != nil || !a.Is6() || a.Zone() != "" {
			return bad("address in Host %.64q", h)
		}
		return nil
	}
	if len(host) == 0 || len(host) > 255 || !all(host, isHost) {
		return bad("Host %.64q", h)
	}
	return nil
}

// checkStart looks at the beginning of a head whose end has not come yet, until the request line was seen.
func checkStart(sofar []byte, lim Limits) (done bool, err error) {
	const longestRest = len(" HTTP/1.1\r\n") + 64 // and a method
	line, _, found := bytes.Cut(sofar, []byte(crlf))
	if !found {
		if classes[sofar[0]]&isToken == 0 {
			return false, bad("the first byte is %#x", sofar[0])
		}
		if len(sofar) > lim.MaxTargetBytes+longestRest {
			return false, causeway.Refuse(causeway.CodeURITooLong, "request line of more than %d bytes", len(sofar))
		}
		return false, nil
	}
	var probe Request
	if refusal := probe.parseStartLine(line, lim); refusal != nil {
		return false, refusal
	}
	return true, nil
}
