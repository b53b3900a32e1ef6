package connpoint

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"

	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/signed"
)

// outside is where devices find a publication. It comes from configuration alone, never from a request.
type outside struct {
	authority []byte // service name or published host, with the port unless it is 443
	host      string // without the port
	prefix    []byte // "/name", "/CCM_Proxy_MutualAuth/<id>", or empty for a publication with a host of its own
}

// An outward maps the names in one publication's answers.
type outward struct {
	route *route
	index int
}

func (m outward) here() *outside { return &m.route.outside[m.index] }

func (m outward) target() *target { return m.route.targets[m.index] }

// appendFields writes the fields of an answer that may travel outward, names mapped. A field that would name an
// inside place without an outside twin is left out.
func (m outward) appendFields(dst []byte, r *http1.Response, requestPath []byte) []byte {
	for i := range r.Fields {
		f := &r.Fields[i]
		if !r.Outward(f) {
			continue
		}
		start := len(dst)
		var ok bool
		switch mapperOf(f.Name) {
		case mapNothing:
			dst = append(dst, f.Line...)
			continue
		case mapURL:
			dst = append(append(dst, f.Name...), ": "...)
			dst, ok = m.appendURL(dst, f.Value)
		case mapOrigin:
			dst = append(append(dst, f.Name...), ": "...)
			dst, ok = m.appendOrigin(dst, f.Value)
		case mapRefresh:
			dst = append(append(dst, f.Name...), ": "...)
			dst, ok = m.appendRefresh(dst, f.Value)
		case mapLink:
			dst = append(append(dst, f.Name...), ": "...)
			dst, ok = m.appendLink(dst, f.Value)
		case mapCookie:
			dst = append(append(dst, f.Name...), ": "...)
			dst, ok = m.appendCookie(dst, f.Value, requestPath)
		}
		if !ok {
			dst = dst[:start]
			continue
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}

type mapping uint8

const (
	mapNothing mapping = iota
	mapURL
	mapOrigin
	mapRefresh
	mapLink
	mapCookie
	mapDrop
)

// mapperOf knows the fields that hold URLs or their parts. Set-Cookie2 and Public-Key-Pins speak for a whole host
// and have no reader left.
func mapperOf(name []byte) mapping {
	switch len(name) {
	case len("Link"):
		if http1.EqualFold(name, "Link") {
			return mapLink
		}
	case len("Refresh"):
		if http1.EqualFold(name, "Refresh") {
			return mapRefresh
		}
	case len("Location"):
		if http1.EqualFold(name, "Location") {
			return mapURL
		}
	case len("Set-Cookie"):
		if http1.EqualFold(name, "Set-Cookie") {
			return mapCookie
		}
	case len("Set-Cookie2"):
		if http1.EqualFold(name, "Set-Cookie2") {
			return mapDrop
		}
	case len("Content-Location"):
		if http1.EqualFold(name, "Content-Location") {
			return mapURL
		}
	case len("Access-Control-Allow-Origin"):
		if http1.EqualFold(name, "Access-Control-Allow-Origin") {
			return mapOrigin
		}
	}
	return mapNothing
}

// appendURL writes the outside twin of a reference. It is false when the reference leads to a place inside that has
// none, or cannot be read.
//
//	relative                       as it is: the paths below a publication are the same on both sides
//	/path                          inside-absolute: the server's prefix gives way to the publication's
//	http(s)://server/path          the same with our scheme and authority, for every published server
//	http(s)://our own name/path    our scheme and authority, path as it is if it is a publication's already
//	another host                   as it is, unless only the inside can know that host
func (m outward) appendURL(dst, ref []byte) ([]byte, bool) {
	if len(ref) == 0 {
		return dst, false
	}
	if ref[0] == '/' && (len(ref) < 2 || ref[1] != '/' && ref[1] != '\\') {
		return m.appendPath(dst, ref, nil)
	}
	scheme, rest := splitScheme(ref)
	if scheme == "" && !bytes.HasPrefix(ref, []byte("//")) {
		return append(dst, ref...), !bytes.HasPrefix(ref, []byte("/")) && ref[0] != '\\'
	}
	if scheme != "" && scheme != "http" && scheme != "https" {
		return append(dst, ref...), true // mailto:, urn: and their like name no server of ours
	}
	if !bytes.HasPrefix(rest, []byte("//")) {
		return dst, false // "http:path" is read in several ways
	}
	rest = rest[2:]
	end := bytes.IndexAny(rest, `/?#\`)
	if end < 0 {
		end = len(rest)
	}
	if scheme == "" {
		scheme = m.target().place.scheme
	}
	return m.appendAbsolute(dst, ref, scheme, rest[:end], rest[end:])
}

// splitScheme cuts "scheme:" off a reference, in lower case.
func splitScheme(ref []byte) (scheme string, rest []byte) {
	for i, c := range ref {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 0 && (c == '+' || c == '-' || c == '.' || '0' <= c && c <= '9'):
		case c == ':' && i > 0:
			return strings.ToLower(string(ref[:i])), ref[i+1:]
		default:
			return "", ref
		}
	}
	return "", ref
}

func (m outward) appendAbsolute(dst, ref []byte, scheme string, authority, path []byte) ([]byte, bool) {
	u := url.URL{Host: string(authority)}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if bytes.IndexByte(authority, '@') >= 0 || host == "" {
		return dst, false // user information has no business in an answer
	}
	if port == "" {
		port = signed.DefaultPort(scheme)
	}
	// The own server first: two publications can share a host and a prefix.
	if p := &m.target().place; p.host == host && p.port == port {
		if out, ok := m.appendPath(dst, path, m.here().authority); ok {
			return out, true
		}
	}
	for i, t := range m.route.targets {
		if i == m.index || t.place.host != host || t.place.port != port {
			continue
		}
		if out, ok := (outward{m.route, i}).appendPath(dst, path, m.route.outside[i].authority); ok {
			return out, true
		}
	}
	if m.route.insideHost(host) {
		return dst, false
	}
	if m.route.ownHost(host) {
		return m.appendOwn(dst, host, path)
	}
	if insideOnly(host) {
		return dst, false
	}
	return append(dst, ref...), true
}

// appendPath writes path with the publication's prefix in place of the server's, behind "https://" and authority if
// there is one. It is false for paths that are not below the server's prefix.
func (m outward) appendPath(dst, path, authority []byte) ([]byte, bool) {
	rest, ok := belowPrefix(path, m.target().place.prefix)
	if !ok {
		return dst, false
	}
	if authority != nil {
		dst = append(append(dst, "https://"...), authority...)
	}
	dst = append(dst, m.here().prefix...)
	if len(rest) == 0 || rest[0] != '/' {
		dst = append(dst, '/')
	}
	return append(dst, rest...), true
}

// belowPrefix cuts prefix off path at the end of a segment.
func belowPrefix(path, prefix []byte) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(path, prefix)
	return rest, ok && (len(rest) == 0 || rest[0] == '/' || rest[0] == '?' || rest[0] == '#')
}

// appendOwn writes a URL on one of our own names, which a server that was told its outside address writes: the path
// is taken for an outside one if it is one already, else for an inside one.
func (m outward) appendOwn(dst []byte, host string, path []byte) ([]byte, bool) {
	// A server that is told its outside name still has its own paths.
	if t := m.target(); t.server.HostHeader == signed.HostOutside && m.here().host == host && len(t.place.prefix) > 0 {
		if out, ok := m.appendPath(dst, path, m.here().authority); ok {
			return out, true
		}
	}
	for i := range m.route.outside {
		o := &m.route.outside[i]
		if o.host != host {
			continue
		}
		if rest, ok := belowPrefix(path, o.prefix); ok {
			dst = append(append(dst, "https://"...), o.authority...)
			return append(append(dst, o.prefix...), rest...), true
		}
	}
	return m.appendPath(dst, path, m.here().authority)
}

// appendOrigin maps an origin, which is a URL without a path. "*" and "null" stay.
func (m outward) appendOrigin(dst, origin []byte) ([]byte, bool) {
	scheme, authority := splitScheme(origin)
	authority, ok := bytes.CutPrefix(authority, []byte("//"))
	if !ok || bytes.ContainsAny(authority, `/?#\@`) {
		return append(dst, origin...), scheme == ""
	}
	u := url.URL{Host: string(authority)}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = signed.DefaultPort(scheme)
	}
	switch p := &m.target().place; {
	case p.host == host && p.port == port:
		return append(append(dst, "https://"...), m.here().authority...), true
	case m.route.insideHost(host), insideOnly(host) && !m.route.ownHost(host):
		return dst, false
	}
	return append(dst, origin...), true
}

// insideOnly reports whether a host can mean something only inside: a name without a dot or with an inside ending,
// or an address that no route on the internet leads to.
func insideOnly(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified()
	}
	host = strings.TrimSuffix(host, ".")
	if !strings.Contains(host, ".") {
		return true
	}
	for _, ending := range []string{".local", ".internal", ".lan", ".intranet", ".home.arpa", ".localhost", ".localdomain", ".corp"} {
		if strings.HasSuffix(host, ending) {
			return true
		}
	}
	return false
}

// appendRefresh maps "5; url=…", the reference quoted or not.
func (m outward) appendRefresh(dst, value []byte) ([]byte, bool) {
	seconds, rest, found := bytes.Cut(value, []byte{';'})
	if !found {
		seconds, rest, found = bytes.Cut(value, []byte{','})
	}
	dst = append(dst, seconds...)
	if !found {
		return dst, true
	}
	ref := bytes.TrimSpace(rest)
	if len(ref) < 4 || !http1.EqualFold(ref[:3], "url") {
		return dst, false
	}
	ref, ok := bytes.CutPrefix(bytes.TrimSpace(ref[3:]), []byte{'='})
	if !ok {
		return dst, false
	}
	ref = bytes.Trim(bytes.TrimSpace(ref), `'"`)
	return m.appendURL(append(dst, "; url="...), ref)
}

// appendLink maps the references of a Link field (RFC 8288): all in <…> outside of quotes, and the anchor parameter's.
// If one has no outside twin, the whole field is left out.
func (m outward) appendLink(dst, value []byte) ([]byte, bool) {
	quoted := false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '\\' && quoted && i+1 < len(value):
			dst = append(dst, c)
			i++
			c = value[i]
		case c == '"':
			quoted = !quoted
			if quoted && bytes.HasSuffix(bytes.ToLower(dst), []byte("anchor=")) {
				return dst, false // a link of something else than this answer: nobody needs it enough to map it
			}
		case c == '<' && !quoted:
			end := bytes.IndexByte(value[i:], '>')
			if end < 0 {
				return dst, false
			}
			var ok bool
			if dst, ok = m.appendURL(append(dst, '<'), value[i+1:i+end]); !ok {
				return dst, false
			}
			i += end
			c = '>'
		}
		dst = append(dst, c)
	}
	return dst, !quoted
}
