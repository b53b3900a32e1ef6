package signed

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
)

// The values of Server.HostHeader.
const (
	HostInside  = "inside"
	HostOutside = "outside"
)

// The values of Server.IdentityForms: what a server is told about the device, beside Client-Cert (RFC 9440) and
// X-Causeway-Device-Id, which every server gets.
const (
	FormNginx  = "nginx"  // X-Client-Verify, X-Client-DN (RFC 2253), X-Client-Cert (URL-encoded PEM)
	FormApache = "apache" // X-SSL-Client-Verify, X-SSL-Client-S-DN and -I-DN (/CN=…), X-SSL-Client-M-Serial, X-SSL-Client-Cert (one-line PEM)
	FormNone   = "none"
)

// Check says what is wrong with the server's definition, for whoever publishes it and for the connection point, which
// refuses a whole document for one bad server. Errors carry a hint.
func (s Server) Check() error {
	p, err := ParsePlace(s.URL)
	if err == nil {
		err = errors.Join(s.checkHostHeader(), s.checkForms(), s.checkCertificates(p))
	}
	if err != nil {
		return causeway.WithHint(fmt.Errorf("server %s: %w", s.Name, err), "%s", causeway.Hint(err))
	}
	return nil
}

func (s Server) checkHostHeader() error {
	switch s.HostHeader {
	case "", HostInside, HostOutside:
		return nil
	}
	return causeway.WithHint(fmt.Errorf("host header %q is neither inside nor outside", s.HostHeader), "choose inside or outside")
}

// checkForms refuses a form that this version does not know: a server that waits for it would see no identity.
func (s Server) checkForms() error {
	for i, f := range s.IdentityForms {
		switch {
		case f != FormNginx && f != FormApache && f != FormNone:
			return causeway.WithHint(fmt.Errorf("identity form %q is not known", f), "choose from %s, %s and %s", FormNginx, FormApache, FormNone)
		case f == FormNone && len(s.IdentityForms) > 1:
			return causeway.WithHint(fmt.Errorf("identity form %q stands for no form and cannot be combined", f), "choose either")
		case slices.Contains(s.IdentityForms[:i], f):
			return causeway.WithHint(fmt.Errorf("identity form %q stands twice", f), "name it once")
		}
	}
	return nil
}

func (s Server) checkCertificates(p Place) error {
	switch {
	case p.Scheme == "https":
		_, err := s.TLS()
		return err
	case s.CAs != "" || s.ClientCertificate != "" || s.ClientKey != "":
		return causeway.WithHint(errors.New("certificates are of no use to an http:// server"), "write https:// in its URL, or leave the certificates out")
	}
	return nil
}

// TLS returns the settings for an https server: its own CAs or the system's, and the certificate it asks for. It is
// nil for an http one.
func (s Server) TLS() (*tls.Config, error) {
	p, err := ParsePlace(s.URL)
	if err != nil || p.Scheme != "https" {
		return nil, err
	}
	c := &tls.Config{ServerName: p.Host, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if s.CAs != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(s.CAs)) {
			return nil, causeway.WithHint(errors.New("no certificate in its CAs"), "give a PEM file with at least one CA certificate")
		}
	}
	switch {
	case s.ClientCertificate == "" && s.ClientKey == "":
		return c, nil
	case s.ClientCertificate == "" || s.ClientKey == "":
		return nil, causeway.WithHint(errors.New("a client certificate and its key come together"), "give both")
	}
	pair, err := tls.X509KeyPair([]byte(s.ClientCertificate), []byte(s.ClientKey))
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("client certificate: %w", err), "give the certificate and the key that belongs to it, both as PEM without a password")
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// A Place is where a server is: the part of a URL in front of what a publication's requests add.
type Place struct {
	Scheme    string // http, https
	Host      string // without brackets, lower case
	Port      string
	Authority string // for Host: without the scheme's own port
	Prefix    string // escaped path without a slash at its end; empty for the root
}

// Address is what to dial.
func (p *Place) Address() string { return net.JoinHostPort(p.Host, p.Port) }

// ParsePlace takes http and https URLs with a host, an optional port and an optional path, and nothing else. What it
// says of others does not repeat a password.
func ParsePlace(raw string) (Place, error) {
	const form = "write it like http://10.0.0.5:8080/path"
	u, err := url.Parse(raw)
	if e, ok := errors.AsType[*url.Error](err); ok {
		switch e.Err.(type) { // their texts are short and hold no user
		case url.EscapeError, url.InvalidHostError:
			return Place{}, causeway.WithHint(fmt.Errorf("URL is malformed: %w", e.Err), form)
		}
	}
	if err != nil {
		return Place{}, causeway.WithHint(errors.New("URL is malformed"), form)
	}
	p := Place{Scheme: u.Scheme, Host: strings.ToLower(u.Hostname()), Port: u.Port(), Prefix: strings.TrimRight(u.EscapedPath(), "/")}
	if p.Port == "" {
		p.Port = DefaultPort(p.Scheme)
	}
	p.Authority = authorityOf(p.Scheme, p.Host, p.Port)
	if wrong := p.wrong(u); wrong != "" {
		if u.User != nil {
			raw = u.Redacted()
		}
		return Place{}, causeway.WithHint(fmt.Errorf("URL %q %s", raw, wrong), form)
	}
	return p, nil
}

// wrong says what makes u no place of a server.
func (p *Place) wrong(u *url.URL) string {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "does not start with http:// or https://"
	case u.Opaque != "" || p.Host == "":
		return "names no host"
	case u.User != nil:
		return "holds a user name; use a client certificate instead"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "ends in a query or fragment; give the server's address and at most a path"
	case strings.HasSuffix(u.Host, ":"):
		return "has an empty port"
	case !validPort(p.Port):
		return "has a port that does not exist"
	case strings.Contains(p.Prefix, "//"):
		return "has an empty segment in its path"
	}
	for segment := range strings.SplitSeq(p.Prefix, "/") {
		if d, err := url.PathUnescape(segment); err != nil || d == "." || d == ".." {
			return "has a dot segment in its path"
		}
	}
	if a, err := netip.ParseAddr(p.Host); err == nil { // what a name resolves to is checked on each dial
		if err := CheckAddress(a); err != nil {
			return "cannot be published: " + err.Error()
		}
	}
	if _, err := http1.AppendRequestHead(nil, []byte("GET"), []byte(p.Prefix+"/"), []byte(p.Authority)); err != nil {
		return "cannot be asked for in HTTP/1.1"
	}
	return ""
}

// CheckAddress refuses addresses that are never a management server: link-local ones, where clouds keep their metadata
// services, multicast, and the unspecified address, which means this host.
func CheckAddress(a netip.Addr) error {
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

func validPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535
}

// DefaultPort is the port of a URL that names none.
func DefaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

func authorityOf(scheme, host, port string) string {
	if port != DefaultPort(scheme) {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
