package connpoint

import (
	"bytes"
	"net/netip"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// inward is one request on its way to a server: everything that its new head is made of.
type inward struct {
	req     *http1.Request
	id      causeway.RequestID
	source  string
	body    int64 // length of the body, -1 for unknown
	upgrade bool

	route   *route
	target  *target
	verdict *policy.Verdict
	device  *verdict
	by      string // our obfuscated name in Forwarded
	path    []byte // room for the target inside
}

// appendHead writes the head that the server gets. What it refuses is never sent.
func (in *inward) appendHead(dst []byte) ([]byte, error) {
	var err error
	if dst, err = in.appendStart(dst); err != nil {
		return dst, err
	}
	destinations := 0
	for i := range in.req.Fields {
		f := &in.req.Fields[i]
		switch {
		case !in.req.Inward(f) || ownName(f.Name):
		case http1.EqualFold(f.Name, "Destination"):
			if destinations++; destinations > 1 {
				return dst, causeway.Refuse(causeway.CodeConnectorBadRequest, "two Destination fields")
			}
			if dst, err = in.appendDestination(dst, f.Value); err != nil {
				return dst, err
			}
		case http1.EqualFold(f.Name, "If"):
			dst = in.appendIf(dst, f.Value)
		default:
			dst = append(dst, f.Line...)
		}
	}
	if dst, err = in.appendIdentity(dst); err != nil {
		return dst, err
	}
	return http1.AppendEnd(in.appendFraming(dst)), nil
}

// appendStart writes the request line and Host. Scheme, host, port and prefix are the target's; of the request there
// is only what policy found below the publication, and it stays below the prefix.
func (in *inward) appendStart(dst []byte) ([]byte, error) {
	host := in.target.place.authority
	if in.target.server.HostHeader == signed.HostOutside {
		host = in.req.Host
	}
	in.path = append(append(in.path[:0], in.target.place.prefix...), in.verdict.Rest...)
	dst, err := http1.AppendRequestHead(dst, in.req.Method, in.path, host)
	if err != nil {
		return dst, &causeway.Refusal{Code: causeway.CodeConnectorBadRequest, Err: err}
	}
	return dst, nil
}

// ownName reports whether a field name is one that only this connection point sets, in any spelling a server may
// take for it. http1's list is longer; this one makes sure that it covers ours.
func ownName(name []byte) bool {
	for _, own := range identityNames {
		if sameSpelling(name, own) {
			return true
		}
	}
	return false
}

func sameSpelling(name []byte, own string) bool {
	if len(name) != len(own) {
		return false
	}
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		o := own[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if 'A' <= o && o <= 'Z' {
			o += 'a' - 'A'
		}
		if c != o {
			return false
		}
	}
	return true
}

func (in *inward) appendIdentity(dst []byte) ([]byte, error) {
	lines, err := in.device.linesFor(in.target.formsKey, in.target.forms)
	if err != nil {
		return dst, &causeway.Refusal{Code: causeway.CodeConnectorForbidden, Err: err}
	}
	dst = append(dst, lines...)
	dst = in.appendForwarded(dst)
	dst = append(dst, "X-Request-Id: "...)
	dst, _ = in.id.AppendText(dst)
	dst = append(dst, "\r\n"...)
	parents := 0
	for i := range in.req.Fields {
		if http1.EqualFold(in.req.Fields[i].Name, "traceparent") {
			parents++
		}
	}
	return appendTrace(dst, parents, in.req.Get("traceparent"), in.req.Get("tracestate"), in.id), nil
}

// appendForwarded writes RFC 7239's field. The device's address is the gateway's word, so it is read before it is
// repeated; our own name is obfuscated.
func (in *inward) appendForwarded(dst []byte) []byte {
	dst = append(dst, "Forwarded: for="...)
	if ap, err := netip.ParseAddrPort(in.source); err == nil {
		dst = append(dst, '"')
		dst = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()).AppendTo(dst)
		dst = append(dst, '"')
	} else {
		dst = append(dst, "unknown"...)
	}
	dst = append(dst, `;proto=https;host="`...)
	dst = append(dst, in.req.Host...) // checked by http1 and by policy: no quote can stand in it
	dst = append(dst, `";by=_`...)
	dst = append(dst, in.by...)
	return append(dst, "\r\n"...)
}

// appendFraming says where the request ends. A method that usually has a body says so also when it has none, or
// some servers refuse it.
func (in *inward) appendFraming(dst []byte) []byte {
	switch {
	case in.upgrade:
		return append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case in.body < 0:
		return http1.AppendChunkedEncoding(dst)
	case in.body > 0 || in.req.HasLength || usuallyHasBody(in.req.Method):
		return http1.AppendContentLength(dst, in.body)
	}
	return dst
}

func usuallyHasBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH", "CCM_POST", "BITS_POST":
		return true
	}
	return false
}

// appendDestination maps WebDAV's Destination (RFC 4918 10.3). It must name the same publication, by the same policy
// that let the request itself in: a server that is told to copy to another one would be a way around the list.
func (in *inward) appendDestination(dst, value []byte) ([]byte, error) {
	rest, ok := in.below(value)
	if !ok {
		return dst, causeway.Refuse(causeway.CodeConnectorForbidden, "Destination is not below the publication of the request")
	}
	dst = append(dst, "Destination: "...)
	dst = in.appendInsideURL(dst, value, rest)
	return append(dst, "\r\n"...), nil
}

// appendInsideURL writes the inside twin of an outside reference: absolute if it was, with the authority that the
// server takes for its own.
func (in *inward) appendInsideURL(dst, outside, rest []byte) []byte {
	if outside[0] != '/' {
		if in.target.server.HostHeader == signed.HostOutside {
			dst = append(dst, "https://"...)
			dst = append(dst, in.req.Host...)
		} else {
			dst = append(dst, in.target.place.scheme...)
			dst = append(dst, "://"...)
			dst = append(dst, in.target.place.authority...)
		}
	}
	dst = append(dst, in.target.place.prefix...)
	return append(dst, rest...)
}

// below judges a reference as policy would judge a request for it, and returns what lies below the publication.
func (in *inward) below(ref []byte) ([]byte, bool) {
	authority, path := in.req.Host, ref
	if len(ref) > 0 && ref[0] != '/' {
		scheme, after, ok := bytes.Cut(ref, []byte("://"))
		if !ok || !http1.EqualFold(scheme, "https") {
			return nil, false
		}
		i := bytes.IndexAny(after, "/?#")
		if i < 0 || after[i] != '/' {
			return nil, false
		}
		authority, path = after[:i], after[i:]
	}
	if len(path) == 0 || len(path) > http1.DefaultMaxTargetBytes {
		return nil, false
	}
	// Authority and target are held to what a request may say, by the parser that reads requests.
	var probe http1.Request
	head, err := http1.AppendRequestHead(nil, in.req.Method, path, authority)
	if err != nil || probe.Parse(http1.AppendEnd(head), requestLimits) != nil {
		return nil, false
	}
	v := in.route.set.Decide(&policy.Ask{Method: in.req.Method, Authority: probe.Host, Target: probe.Target, Proof: policy.ProofCertificate})
	if !v.Allowed() || v.Local != policy.LocalNone || v.Index != in.verdict.Index {
		return nil, false
	}
	return v.Rest, true
}

// appendIf maps the resource tags of WebDAV's If field (RFC 4918 10.4): <…> outside of parentheses. One that is not
// ours to map stays, and matches nothing inside.
func (in *inward) appendIf(dst, value []byte) []byte {
	dst = append(dst, "If: "...)
	depth := 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == '<' && depth == 0:
			if end := bytes.IndexByte(value[i:], '>'); end > 0 {
				tag := value[i+1 : i+end]
				if rest, ok := in.below(tag); ok {
					dst = append(dst, '<')
					dst = in.appendInsideURL(dst, tag, rest)
					dst = append(dst, '>')
					i += end
					continue
				}
			}
		}
		dst = append(dst, value[i])
	}
	return append(dst, "\r\n"...)
}

// connectionBound reports whether a request or answer speaks an authentication that counts for its connection
// instead of its request.
func connectionBound(fields []http1.Field, name string) bool {
	for i := range fields {
		if !http1.EqualFold(fields[i].Name, name) {
			continue
		}
		for part := range bytes.SplitSeq(fields[i].Value, []byte{','}) {
			scheme := bytes.TrimSpace(part)
			if end := bytes.IndexAny(scheme, " \t"); end >= 0 {
				scheme = scheme[:end]
			}
			if http1.EqualFold(scheme, "NTLM") || http1.EqualFold(scheme, "Negotiate") {
				return true
			}
		}
	}
	return false
}
