package connpoint

import (
	"bytes"
	"strings"

	"github.com/causeway-gateway/causeway/internal/http1"
)

// appendCookie maps one Set-Cookie (RFC 6265 4.1) so that the cookie comes back to the server that set it, and to
// no other publication.
//
//	Domain   a publication with a host of its own: the server's name becomes that host, anything wider is left out;
//	         on the shared service name it is always left out
//	Path     mapped like the path of a URL; on the shared service name it never leaves the publication's prefix,
//	         and where it is missing it is written, because a device would take it from the request's path
//
// All other attributes stay as they are. It is false for a cookie that could not come back to the server inside either.
func (m outward) appendCookie(dst, value, requestPath []byte) ([]byte, bool) {
	pair, rest, more := bytes.Cut(value, []byte{';'})
	dst = append(dst, pair...)
	prefix := m.here().prefix
	hasPath := false
	for more {
		var attribute []byte
		attribute, rest, more = bytes.Cut(rest, []byte{';'})
		name, v, _ := bytes.Cut(attribute, []byte{'='})
		name, v = bytes.TrimSpace(name), bytes.TrimSpace(v)
		switch {
		case http1.EqualFold(name, "domain"):
			dst = m.appendCookieDomain(dst, v)
		case http1.EqualFold(name, "path"):
			path, ok := m.cookiePath(v)
			if !ok {
				return dst, false
			}
			if path == nil { // no usable path: as if it were missing
				continue
			}
			hasPath = true
			dst = append(append(dst, "; Path="...), path...)
		default:
			dst = append(append(dst, ';'), attribute...)
		}
	}
	if !hasPath && len(prefix) > 0 {
		dst = append(dst, "; Path="...)
		dst = append(dst, prefix...)
		dst = append(dst, defaultCookiePath(requestPath)...)
	}
	return dst, true
}

func (m outward) appendCookieDomain(dst, v []byte) []byte {
	o := m.here()
	if len(o.prefix) > 0 {
		return dst
	}
	domain := strings.ToLower(strings.TrimPrefix(string(v), "."))
	if domain != m.target().place.host && domain != o.host {
		return dst
	}
	return append(append(dst, "; Domain="...), o.host...)
}

// cookiePath maps a Path. nil stands for one that devices ignore; false for a path outside of what is published.
func (m outward) cookiePath(v []byte) ([]byte, bool) {
	if len(v) == 0 || v[0] != '/' {
		return nil, true
	}
	inside, prefix := m.target().place.prefix, m.here().prefix
	// The server's prefix lies below the path: the cookie is for all of the publication.
	if _, above := belowPrefix(inside, bytes.TrimRight(v, "/")); above {
		return append(bytes.Clone(prefix), '/'), true
	}
	rest, ok := belowPrefix(v, inside)
	if !ok || hasDotSegment(rest) {
		return nil, false
	}
	return append(bytes.Clone(prefix), rest...), true
}

// defaultCookiePath is RFC 6265 5.1.4 below the publication: the request's path up to its last slash.
func defaultCookiePath(requestPath []byte) []byte {
	if i := bytes.IndexByte(requestPath, '?'); i >= 0 {
		requestPath = requestPath[:i]
	}
	i := bytes.LastIndexByte(requestPath, '/')
	if i <= 0 || bytes.IndexByte(requestPath[:i], ';') >= 0 || hasDotSegment(requestPath[:i]) {
		return []byte("/")
	}
	return requestPath[:i]
}

// hasDotSegment reports whether a path could climb out of the prefix it is put behind.
func hasDotSegment(path []byte) bool {
	for segment := range bytes.SplitSeq(path, []byte{'/'}) {
		s := strings.ToLower(string(segment))
		s = strings.ReplaceAll(s, "%2e", ".")
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}
