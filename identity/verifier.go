package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Verifier judges certificate chains against one Trust. It is safe for concurrent use. When the trust changes,
// make a new one: verdicts are cached per Verifier.
type Verifier struct {
	anchors       map[string][]authority // by subject
	intermediates map[string][]authority // by subject
	blocks        blocks
	usage         x509.ExtKeyUsage // client authentication; tests borrow server chains

	admitted cache[*Device]
	refused  cache[*causeway.Refusal]
}

// An authority is a CA certificate of the trust.
type authority struct {
	name string
	cert *x509.Certificate
}

// The bounds of the verdict caches. Refusals have their own, so that strangers cannot push devices out.
const (
	maxCachedDevices  = 2048
	maxCachedRefusals = 1024
)

// NewVerifier compiles a trust. One unfit CA or block makes the whole trust an error. A trust without CAs is
// legal and admits nobody.
func NewVerifier(t Trust) (*Verifier, error) {
	v := &Verifier{anchors: map[string][]authority{}, intermediates: map[string][]authority{}, usage: x509.ExtKeyUsageClientAuth}
	v.admitted.max, v.refused.max = maxCachedDevices, maxCachedRefusals
	for i, ca := range t.CAs {
		cert, err := ParseCA(ca.Certificate)
		if err != nil {
			return nil, fmt.Errorf("trusted CA %d %q: %w", i, ca.Name, err)
		}
		pool := v.anchors
		if ca.Intermediate {
			pool = v.intermediates
		}
		pool[string(cert.RawSubject)] = append(pool[string(cert.RawSubject)], authority{ca.Name, cert})
	}
	var err error
	v.blocks, err = compileBlocks(t.Blocked)
	return v, err
}

// ParseCA reads a CA certificate and says why it cannot vouch for devices. Validity in time is judged with each chain.
func ParseCA(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return nil, errors.New("not a CA certificate: basic constraints do not say CA")
	case len(cert.RawSubject) <= len("0\x00"):
		return nil, errors.New("it has no subject")
	}
	for _, err := range []error{signerUsage(cert), counts(cert), keyStrength(cert), noUnknownCritical(cert)} {
		if err != nil {
			return nil, err
		}
	}
	return cert, nil
}

// Verify judges a chain as the device presented it, leaf first. An error is a *causeway.Refusal with one of the
// CodeClientCertificate codes; its reason may name CAs and is for our logs only.
func (v *Verifier) Verify(chainDER [][]byte, now time.Time) (*Device, error) {
	if r := checkLimits(chainDER); r != nil {
		return nil, r
	}
	key := hashChain(chainDER)
	if d, ok := v.admitted.get(key); ok && !now.Before(d.NotBefore) && !now.After(d.NotAfter) {
		return d, nil
	}
	if r, ok := v.refused.get(key); ok {
		return nil, r
	}
	d, r, timeless := v.judge(chainDER, now)
	switch {
	case r == nil:
		v.admitted.put(key, d)
		return d, nil
	case timeless:
		v.refused.put(key, r)
	}
	return nil, r
}

// judge is Verify without caches. timeless says that the refusal holds at any time.
func (v *Verifier) judge(chainDER [][]byte, now time.Time) (d *Device, r *causeway.Refusal, timeless bool) {
	chain, r := parseChain(chainDER)
	if r != nil {
		return nil, r, true
	}
	leaf := chain[0]
	for _, c := range leafChecks {
		if _, r := c.check(leaf, basis{now, v.usage}); r != nil {
			return nil, r, !c.timed
		}
	}
	id, err := DeviceIDOf(leaf)
	if err != nil {
		return nil, unfit(leaf, "%v", err), true
	}
	p := v.findPath(chain, now)
	if p.refusal != nil {
		return nil, p.refusal, !p.timed
	}
	if r := v.blocks.device(id); r != nil {
		return nil, r, true
	}
	d = &Device{ID: id, Kind: KindCertificate, Leaf: leaf, Chain: p.certs, Thumbprint: sha256.Sum256(leaf.Raw), CA: p.ca}
	d.NotBefore, d.NotAfter = window(p.certs)
	return d, nil, true
}

// window returns the time in which every certificate of a path is valid.
func window(path []*x509.Certificate) (from, to time.Time) {
	from, to = path[0].NotBefore, path[0].NotAfter
	for _, c := range path[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	return from, to
}

// hashChain names a chain. Lengths go in, or two chains could share a name.
func hashChain(chainDER [][]byte) (key [32]byte) {
	h := sha256.New()
	var n [4]byte
	for _, der := range chainDER {
		binary.BigEndian.PutUint32(n[:], uint32(len(der)))
		h.Write(n[:])
		h.Write(der)
	}
	h.Sum(key[:0])
	return key
}
