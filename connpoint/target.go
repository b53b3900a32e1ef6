package connpoint

import (
	"crypto/tls"
	"slices"
	"strings"

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

// place is a signed.Place as heads are made from it.
type place struct {
	scheme, host, port string
	authority, prefix  []byte
}

func newPlace(p signed.Place) place {
	return place{p.Scheme, p.Host, p.Port, []byte(p.Authority), []byte(p.Prefix)}
}

// newTarget compiles a server of the signed document.
func newTarget(s signed.Server, maxOpen int) (*target, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	p, err := signed.ParsePlace(s.URL)
	if err != nil {
		return nil, err
	}
	t := &target{server: s, place: newPlace(p), forms: s.IdentityForms, formsKey: strings.Join(s.IdentityForms, "+")}
	if t.tls, err = s.TLS(); err != nil {
		return nil, err
	}
	t.pool = newServerPool(p.Address(), t.tls, maxOpen)
	return t, nil
}

// sameServer reports whether two definitions reach the same server in the same way, so that its connections can stay.
func sameServer(a, b signed.Server) bool {
	forms := slices.Equal(a.IdentityForms, b.IdentityForms)
	a.IdentityForms, b.IdentityForms = nil, nil
	return forms && a.Name == b.Name && a.URL == b.URL && a.CAs == b.CAs && a.ClientCertificate == b.ClientCertificate &&
		a.ClientKey == b.ClientKey && a.HostHeader == b.HostHeader
}
