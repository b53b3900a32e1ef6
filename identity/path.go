package identity

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A path leads from a device's certificate to a trusted CA.
type path struct {
	certs   []*x509.Certificate
	ca      string            // name of the trusted CA
	refusal *causeway.Refusal // why there is no good path; the other fields are then not set
	timed   bool              // the refusal may end with time
	checks  int               // signatures that were checked at most
}

// Bounds of the search by names, which checks no signatures.
const (
	maxPaths = MaxSignatureChecks // each path costs at least one check
	maxSteps = 500
)

// findPath lists paths by name, drops those that need no signature to be refused, and has x509 verify the rest,
// the likeliest first, until one is good or MaxSignatureChecks are spent.
func (v *Verifier) findPath(chain []*x509.Certificate, now time.Time) path {
	if len(v.anchors) == 0 {
		return path{refusal: causeway.Refuse(causeway.CodeClientCertificateUntrusted, "no device CA is trusted")}
	}
	s := search{v: v, presented: chain[1:]}
	s.extend([]*x509.Certificate{chain[0]})
	if len(s.paths) == 0 {
		return path{refusal: v.missingIssuer(chain)}
	}
	var first *causeway.Refusal // the likeliest path's
	failed := path{}
	for _, p := range s.paths {
		r := cheapChecks(p.certs, now)
		if r != nil {
			failed.timed = failed.timed || r.Code == causeway.CodeClientCertificateExpired || r.Code == causeway.CodeClientCertificateNotYet
		} else if cost := checksNeeded(p.certs); failed.checks+cost > MaxSignatureChecks {
			r = unfit(chain[0], "more than %d signatures to check", MaxSignatureChecks)
		} else {
			failed.checks += cost
			r = v.verifyPath(p.certs, now)
		}
		if r == nil {
			p.checks = failed.checks
			return p
		}
		if first == nil {
			first = r
		}
	}
	failed.refusal = first
	return failed
}

// A search collects paths by name.
type search struct {
	v         *Verifier
	presented []*x509.Certificate
	paths     []path
	steps     int
}

// extend continues a path that begins with certs, to trusted CAs first and then through intermediates.
func (s *search) extend(certs []*x509.Certificate) {
	last := certs[len(certs)-1]
	if s.steps++; s.steps > maxSteps || len(certs) >= MaxChainCertificates {
		return
	}
	for _, match := range []bool{true, false} { // key ids that agree first
		for _, anchor := range s.v.anchors[string(last.RawIssuer)] {
			if agree(last, anchor.cert) == match && len(s.paths) < maxPaths && !contains(certs, anchor.cert) {
				s.paths = append(s.paths, path{certs: with(certs, anchor.cert), ca: anchor.name})
			}
		}
		for _, c := range s.presented {
			s.through(certs, c, match)
		}
		for _, known := range s.v.intermediates[string(last.RawIssuer)] {
			s.through(certs, known.cert, match)
		}
	}
}

func (s *search) through(certs []*x509.Certificate, next *x509.Certificate, match bool) {
	last := certs[len(certs)-1]
	if len(s.paths) >= maxPaths || !bytes.Equal(last.RawIssuer, next.RawSubject) || agree(last, next) != match || contains(certs, next) {
		return
	}
	s.extend(with(certs, next))
}

// agree says whether key ids speak for parent as the issuer of c, or at least not against it.
func agree(c, parent *x509.Certificate) bool {
	return len(c.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, parent.SubjectKeyId)
}

func contains(certs []*x509.Certificate, c *x509.Certificate) bool {
	for _, have := range certs {
		if have.Equal(c) {
			return true
		}
	}
	return false
}

func with(certs []*x509.Certificate, c *x509.Certificate) []*x509.Certificate {
	return append(certs[:len(certs):len(certs)], c)
}

// cheapChecks judges a path without its signatures. The leaf was judged before; of the trusted CA only time is asked.
func cheapChecks(certs []*x509.Certificate, now time.Time) *causeway.Refusal {
	for _, c := range certs[1:] {
		if r := validAt(c, now); r != nil {
			return r
		}
	}
	for _, c := range certs[1 : len(certs)-1] {
		for _, check := range []func(*x509.Certificate) error{signerUsage, serial, keyStrength, signatureStrength, noUnknownCritical, canonical} {
			if err := check(c); err != nil {
				return unfit(c, "%v", err)
			}
		}
	}
	return nil
}

// checksNeeded bounds how many signatures x509 may check on a path. It is one for each link where every subject
// stands once; x509 tries all certificates of a name, so names that repeat cost more.
func checksNeeded(certs []*x509.Certificate) int {
	n := 0
	var walk func(at int, used []bool)
	walk = func(at int, used []bool) {
		for i := 1; i < len(certs) && n <= MaxSignatureChecks; i++ {
			if used[i] || !bytes.Equal(certs[at].RawIssuer, certs[i].RawSubject) {
				continue
			}
			n++
			if i < len(certs)-1 {
				used[i] = true
				walk(i, used)
				used[i] = false
			}
		}
	}
	walk(0, make([]bool, len(certs)))
	return n
}

// verifyPath checks signatures, path lengths, name constraints and the nesting of usages, and then the block list:
// only a certificate that is what it claims can be a blocked one.
func (v *Verifier) verifyPath(certs []*x509.Certificate, now time.Time) *causeway.Refusal {
	last := len(certs) - 1
	opts := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{v.usage},
	}
	opts.Roots.AddCert(certs[last])
	for _, c := range certs[1:last] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := certs[0].Verify(opts); err != nil {
		return refusalOf(certs, err)
	}
	for i, c := range certs {
		issuer := certs[min(i+1, last)]
		if r := v.blocks.certificate(c, issuer); r != nil {
			return r
		}
	}
	return nil
}

// refusalOf words an error of x509.
func refusalOf(certs []*x509.Certificate, err error) *causeway.Refusal {
	code := causeway.CodeClientCertificateUnfit
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		code = causeway.CodeClientCertificateUntrusted
	}
	return causeway.Refuse(code, "%s: path to %s: %s", nameOf(certs[0]), nameOf(certs[len(certs)-1]), cut(err.Error()))
}

// missingIssuer names the certificate where every way to a trusted CA ends.
func (v *Verifier) missingIssuer(chain []*x509.Certificate) *causeway.Refusal {
	at, seen := chain[0], map[*x509.Certificate]bool{}
	for !seen[at] {
		seen[at] = true
		for _, c := range append(v.known(at.RawIssuer), chain[1:]...) {
			if !seen[c] && bytes.Equal(at.RawIssuer, c.RawSubject) {
				at = c
				break
			}
		}
	}
	if bytes.Equal(at.RawIssuer, at.RawSubject) {
		return causeway.Refuse(causeway.CodeClientCertificateUntrusted, "%s: its root %s is not a trusted device CA", nameOf(chain[0]), nameOf(at))
	}
	return causeway.Refuse(causeway.CodeClientCertificateUntrusted,
		"%s: issuer %s of %s is missing: the device did not send it and it is not a trusted device CA", nameOf(chain[0]), quoteName(at.Issuer), nameOf(at))
}

func (v *Verifier) known(subject []byte) (certs []*x509.Certificate) {
	for _, a := range v.intermediates[string(subject)] {
		certs = append(certs, a.cert)
	}
	return certs
}

// cut bounds a text that may quote the device.
func cut(s string) string {
	const limit = 300
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return fmt.Sprintf("%q", s)
}
