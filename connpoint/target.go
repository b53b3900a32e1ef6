package connpoint

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/signed"
)

// A target is one published server as this connection point reaches it. Nothing of a request ever changes it.
type target struct {
	// Fixed at construction.
	server   signed.Server
	place    place
	tls      *tls.Config // nil for http
	forms    []string
	formsKey string
	pool     *serverPool
}

// place is where a server is: the part of a URL in front of what a publication's requests add.
type place struct {
	scheme    string
	host      string // without brackets, lower case
	port      string
	authority []byte // for Host: without the scheme's own port
	prefix    []byte // raw path without a slash at its end; empty for the root
}

// newTarget compiles a server of the signed document.
func newTarget(s signed.Server, maxOpen int) (*target, error) {
	p, err := parsePlace(s.URL)
	if err != nil {
		return nil, serverError(s, err)
	}
	if s.HostHeader != "" && s.HostHeader != signed.HostInside && s.HostHeader != signed.HostOutside {
		return nil, serverError(s, causeway.WithHint(fmt.Errorf("host_header %q", s.HostHeader), "use %s or %s", signed.HostInside, signed.HostOutside))
	}
	if err := checkForms(s.IdentityForms); err != nil {
		return nil, serverError(s, err)
	}
	t := &target{server: s, place: p, forms: s.IdentityForms, formsKey: strings.Join(s.IdentityForms, "+")}
	if t.tls, err = serverTLS(s, p); err != nil {
		return nil, serverError(s, err)
	}
	t.pool = newServerPool(net.JoinHostPort(p.host, p.port), t.tls, maxOpen)
	return t, nil
}

// CheckServer says what is wrong with a server before it is published. Errors carry a hint where there is one.
func CheckServer(s signed.Server) error {
	_, err := newTarget(s, 1)
	return err
}

func serverError(s signed.Server, err error) error {
	return causeway.WithHint(fmt.Errorf("server %q: %w", s.Name, err), "%s", causeway.Hint(err))
}

// sameServer reports whether two definitions reach the same server in the same way, so that its connections can stay.
func sameServer(a, b signed.Server) bool {
	forms := slices.Equal(a.IdentityForms, b.IdentityForms)
	a.IdentityForms, b.IdentityForms = nil, nil
	return forms && a.Name == b.Name && a.URL == b.URL && a.CAs == b.CAs && a.ClientCertificate == b.ClientCertificate &&
		a.ClientKey == b.ClientKey && a.HostHeader == b.HostHeader
}

// parsePlace takes http and https URLs with a host, an optional port and an optional path, and nothing else.
func parsePlace(raw string) (place, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return place{}, causeway.WithHint(fmt.Errorf("URL %q cannot be read", raw), "write it like http://10.0.0.5:8080/path")
	}
	hint := func(format string, args ...any) (place, error) {
		return place{}, causeway.WithHint(fmt.Errorf("URL %q "+format, append([]any{u.Redacted()}, args...)...), "write it like http://10.0.0.5:8080/path")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return hint("has neither the scheme http nor https")
	case u.Opaque != "" || u.Hostname() == "":
		return hint("names no host")
	case u.User != nil:
		return hint("holds a user name or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return hint("has a query or fragment")
	case strings.HasSuffix(u.Host, ":"):
		return hint("has an empty port")
	}
	p := place{scheme: u.Scheme, host: strings.ToLower(u.Hostname()), port: u.Port()}
	if p.port == "" {
		p.port = defaultPort(p.scheme)
	}
	if err := checkAddress(p.host); err != nil {
		return hint("cannot be published: %v", err)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	p.authority = []byte(authorityOf(p.scheme, p.host, p.port))
	p.prefix = []byte(path)
	if _, err := http1.AppendRequestHead(nil, []byte("GET"), append([]byte(path), '/'), p.authority); err != nil {
		return hint("cannot be asked for in HTTP/1.1")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if d, err := url.PathUnescape(segment); err != nil || d == "." || d == ".." {
			return hint("has a dot segment in its path")
		}
	}
	if strings.Contains(path, "//") {
		return hint("has an empty segment in its path")
	}
	return p, nil
}

// checkAddress refuses literal addresses that are never a management server: link-local ones, where clouds keep
// their metadata services, multicast, and the unspecified address, which means this host.
func checkAddress(host string) error {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return nil // a name; what it resolves to is checked on each dial
	}
	return checkResolved(a)
}

func checkResolved(a netip.Addr) error {
	switch a = a.Unmap(); {
	case a.Zone() != "" || a.IsLinkLocalUnicast():
		return errors.New("link-local address")
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("multicast or broadcast address")
	case a.IsUnspecified():
		return errors.New("unspecified address")
	}
	return nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

func authorityOf(scheme, host, port string) string {
	if port != defaultPort(scheme) {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// serverTLS returns the settings for an https server: its own CAs or the system's, and the certificate it asks for.
func serverTLS(s signed.Server, p place) (*tls.Config, error) {
	if p.scheme != "https" {
		if s.CAs != "" || s.ClientCertificate != "" || s.ClientKey != "" {
			return nil, causeway.WithHint(errors.New("certificates for a server without TLS"), "use an https:// URL or leave them out")
		}
		return nil, nil
	}
	c := &tls.Config{ServerName: p.host, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if s.CAs != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(s.CAs)) {
			return nil, causeway.WithHint(errors.New("no certificate among the CAs"), "give a PEM file with at least one CA certificate")
		}
	}
	if s.ClientCertificate == "" && s.ClientKey == "" {
		return c, nil
	}
	pair, err := tls.X509KeyPair([]byte(s.ClientCertificate), []byte(s.ClientKey))
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("client certificate: %w", err), "give certificate and key as PEM, belonging together")
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
