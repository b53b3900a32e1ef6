package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

const (
	required  = causeway.CodeClientCertificateRequired
	untrusted = causeway.CodeClientCertificateUntrusted
	expired   = causeway.CodeClientCertificateExpired
	notYet    = causeway.CodeClientCertificateNotYet
	unfitCode = causeway.CodeClientCertificateUnfit
	blocked   = causeway.CodeClientCertificateBlocked
)

func TestAdmitsDevice(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "pc-17.example", func(c *x509.Certificate) { c.NotAfter = noon.Add(time.Hour) })
	d := wantAdmitted(t, trusting(t, root), chainOf(leaf), noon)
	if d.ID != "pc-17.example" || d.Kind != KindCertificate || d.CA != "root" || d.Thumbprint != sha256.Sum256(leaf.Raw) || len(d.Chain) != 2 {
		t.Errorf("got %+v", d)
	}
	if !d.NotAfter.Equal(leaf.NotAfter) || !d.NotBefore.Equal(leaf.NotBefore) {
		t.Errorf("valid %s to %s, want the leaf's %s to %s", d.NotBefore, d.NotAfter, leaf.NotBefore, leaf.NotAfter)
	}
}

func TestAdmitsKeysInUse(t *testing.T) {
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(t, "root", nil)
	for name, public := range map[string]any{"rsa-2048": &newRSAKey(t).PublicKey, "p-384": &p384.PublicKey, "ed25519": edPublic} {
		wantAdmitted(t, trusting(t, root), chainOf(root.deviceWith(t, name, public, nil)), noon)
	}
	rsaRoot := newRootWith(t, "rsa root", newRSAKey(t), nil)
	wantAdmitted(t, trusting(t, rsaRoot), chainOf(rsaRoot.device(t, "pkcs1", nil)), noon)
	pss := rsaRoot.device(t, "pss", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSAPSS })
	wantAdmitted(t, trusting(t, rsaRoot), chainOf(pss), noon)
}

func TestNoCertificateIsRequired(t *testing.T) {
	wantRefused(t, trusting(t, newRoot(t, "root", nil)), nil, noon, required)
}

func TestAnotherCAIsUntrusted(t *testing.T) {
	root, other := newRoot(t, "root", nil), newRoot(t, "other", nil)
	r := wantRefused(t, trusting(t, root), chainOf(other.device(t, "pc", nil), other.cert), noon, untrusted)
	if !strings.Contains(r.Reason, `root "CN=other" is not a trusted`) {
		t.Errorf("reason %q does not name the root", r.Reason)
	}
}

func TestForgedCAOfTheSameNameIsUntrusted(t *testing.T) {
	root, forged := newRoot(t, "root", nil), newRoot(t, "root", nil)
	leaf := forged.device(t, "pc", nil)
	wantRefused(t, trusting(t, root), chainOf(leaf), noon, untrusted)
	wantRefused(t, trusting(t, root), chainOf(leaf, forged.cert), noon, untrusted)
}

func TestNobodyIsTrustedWithoutCAs(t *testing.T) {
	root := newRoot(t, "root", nil)
	wantRefused(t, trusting(t), chainOf(root.device(t, "pc", nil), root.cert), noon, untrusted)
}

func TestMissingIntermediateIsNamed(t *testing.T) {
	root := newRoot(t, "root", nil)
	policyCA := root.ca(t, "policy CA", nil)
	issuing := policyCA.ca(t, "issuing CA", nil)
	leaf := issuing.device(t, "pc", nil)
	v := trusting(t, root)
	for _, tt := range []struct {
		chain [][]byte
		want  string
	}{
		{chainOf(leaf), `issuer "CN=issuing CA" of "CN=pc" is missing`},
		{chainOf(leaf, issuing.cert), `issuer "CN=policy CA" of "CN=issuing CA" is missing`},
	} {
		if r := wantRefused(t, v, tt.chain, noon, untrusted); !strings.Contains(r.Reason, tt.want) {
			t.Errorf("reason %q, want %q", r.Reason, tt.want)
		}
	}
	wantAdmitted(t, v, chainOf(leaf, policyCA.cert, issuing.cert), noon) // in any order
}

func TestIntermediateOfTheTrustCompletesAChain(t *testing.T) {
	root := newRoot(t, "root", nil)
	issuing := root.ca(t, "issuing CA", nil)
	leaf := issuing.device(t, "pc", nil)
	known := CA{Name: "issuing", Certificate: issuing.cert.Raw, Intermediate: true}
	d := wantAdmitted(t, verifier(t, Trust{CAs: append(cas(root), known)}), chainOf(leaf), noon)
	if d.CA != "root" || len(d.Chain) != 3 {
		t.Errorf("got CA %q, chain of %d", d.CA, len(d.Chain))
	}
	// By itself an intermediate vouches for nobody; named as a CA it does.
	wantRefused(t, verifier(t, Trust{CAs: []CA{known}}), chainOf(leaf, root.cert), noon, untrusted)
	wantAdmitted(t, trusting(t, issuing), chainOf(leaf), noon)
}

func TestValidityIsExact(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "pc", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = noon, noon.Add(time.Hour) })
	v := trusting(t, root)
	wantRefused(t, v, chainOf(leaf), noon.Add(-time.Second), notYet)
	wantAdmitted(t, v, chainOf(leaf), noon)
	wantAdmitted(t, v, chainOf(leaf), noon.Add(time.Hour))
	wantRefused(t, v, chainOf(leaf), noon.Add(time.Hour+time.Second), expired)
	wantAdmitted(t, v, chainOf(leaf), noon.Add(time.Minute)) // a refusal by time is not remembered
}

func TestExpiredCARefuses(t *testing.T) {
	root := newRoot(t, "root", nil)
	old := root.ca(t, "issuing CA", func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Hour) })
	r := wantRefused(t, trusting(t, root), chainOf(old.device(t, "pc", nil), old.cert), noon, expired)
	if !strings.Contains(r.Reason, "issuing CA") {
		t.Errorf("reason %q does not name the CA", r.Reason)
	}
	future := newRoot(t, "future", func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Hour) })
	wantRefused(t, trusting(t, future), chainOf(future.device(t, "pc", nil)), noon, notYet)
}

func TestUnfitLeaf(t *testing.T) {
	root := newRoot(t, "root", nil)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaOf := func(bits uint) any {
		return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), int(bits-1), 1), E: 65537}
	}
	for _, tt := range []struct {
		name   string
		public any
		change func(*x509.Certificate)
		reason string
	}{
		{"wrong EKU", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "lacks client authentication"},
		{"no EKU", nil, func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "no extended key usage"},
		{"any EKU", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "any purpose"},
		{"any EKU beside client authentication", nil, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny}
		}, "any purpose"},
		{"unknown EKU", nil, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 20, 2, 2}}
		}, "lacks client authentication"},
		{"CA as leaf", nil, func(c *x509.Certificate) { c.IsCA = true }, "CA certificate"},
		{"keyCertSign", nil, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "sign certificates"},
		{"cRLSign", nil, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, "revocation lists"},
		{"no digitalSignature", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "digital signature"},
		{"name constraints", nil, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidNameConstraints, Value: []byte{0x30, 0x0b, 0xa0, 0x09, 0x30, 0x07, 0x82, 0x05, 'l', 'o', 'c', 'a', 'l'}}}
		}, "constrains names"},
		{"RSA of 1024 bits", rsaOf(1024), nil, "RSA key of 1024"},
		{"RSA of 2047 bits", rsaOf(2047), nil, "RSA key of 2047"},
		{"RSA of 8200 bits", rsaOf(8200), nil, "RSA key of 8200"},
		{"P-224", &p224.PublicKey, nil, "P-224"},
		{"unknown critical extension", nil, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, "critical extension 1.2.3.4"},
		{"serial of 21 bytes", nil, func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 160) }, "serial number"},
		{"no name at all", nil, func(c *x509.Certificate) { c.Subject = pkix.Name{} }, "names no device"},
		{"two common names", nil, func(c *x509.Certificate) {
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "a"}, {Type: oidCommonName, Value: "b"}}}
		}, "2 common names"},
		{"line break in the name", nil, func(c *x509.Certificate) { c.Subject.CommonName = "pc\r\nX-Evil: 1" }, "device id"},
		{"name in another script", nil, func(c *x509.Certificate) { c.Subject.CommonName = "рс-17" }, "device id"},
		{"wildcard", nil, func(c *x509.Certificate) { c.Subject.CommonName = "*.example" }, "device id"},
		{"space at the end of the name", nil, func(c *x509.Certificate) { c.Subject.CommonName = "pc " }, "space"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			public := tt.public
			if public == nil {
				public = newKey(t).Public()
			}
			r := wantRefused(t, trusting(t, root), chainOf(root.deviceWith(t, "pc", public, tt.change)), noon, unfitCode)
			if !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("reason %q, want %q in it", r.Reason, tt.reason)
			}
		})
	}
}

func TestDeviceIDFromDNSName(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := root.device(t, "", func(c *x509.Certificate) {
		c.Subject = pkix.Name{Organization: []string{"Example"}}
		c.DNSNames = []string{"first.example", "second.example"}
	})
	if d := wantAdmitted(t, trusting(t, root), chainOf(leaf), noon); d.ID != "first.example" {
		t.Errorf("id %q, want the first DNS name", d.ID)
	}
	long := strings.Repeat("a", MaxDeviceIDBytes)
	if err := CheckDeviceID(causeway.DeviceID(long)); err != nil {
		t.Error(err)
	}
	if err := CheckDeviceID(causeway.DeviceID(long + "a")); err == nil {
		t.Error("an id of 129 bytes is legal")
	}
}

// resign turns a certificate that SHA-256 signed into one that an older hash did.
func resign(t *testing.T, c *x509.Certificate, key *rsa.PrivateKey, algorithm byte, hash crypto.Hash) *x509.Certificate {
	t.Helper()
	sha256WithRSA := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11}
	old := append(bytes.Clone(sha256WithRSA[:8]), algorithm)
	o, err := parseOuter(c)
	if err != nil {
		t.Fatal(err)
	}
	o.TBS.FullBytes = bytes.Replace(o.TBS.FullBytes, sha256WithRSA, old, 1)
	o.Algorithm.FullBytes = bytes.Replace(o.Algorithm.FullBytes, sha256WithRSA, old, 1)
	h := hash.New()
	h.Write(o.TBS.FullBytes)
	if o.Signature.Bytes, err = rsa.SignPKCS1v15(rand.Reader, key, hash, h.Sum(nil)); err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestOldHashesAreRefused(t *testing.T) {
	root := newRootWith(t, "root", newRSAKey(t), nil)
	issuing := root.ca(t, "issuing CA", nil)
	for _, tt := range []struct {
		name      string
		algorithm byte
		hash      crypto.Hash
	}{{"MD5", 4, crypto.MD5}, {"SHA1", 5, crypto.SHA1}} {
		t.Run(tt.name, func(t *testing.T) {
			leaf := resign(t, root.device(t, "pc", nil), newRSAKey(t), tt.algorithm, tt.hash)
			r := wantRefused(t, trusting(t, root), chainOf(leaf), noon, unfitCode)
			if !strings.Contains(r.Reason, "signed with "+tt.name) {
				t.Errorf("reason %q", r.Reason)
			}
			ca := resign(t, issuing.cert, newRSAKey(t), tt.algorithm, tt.hash)
			r = wantRefused(t, trusting(t, root), chainOf(issuing.device(t, "pc", nil), ca), noon, unfitCode)
			if !strings.Contains(r.Reason, "issuing CA") {
				t.Errorf("reason %q does not name the CA", r.Reason)
			}
		})
	}
	// A trust anchor's own signature proves nothing and may be old.
	anchor := resign(t, root.cert, newRSAKey(t), 5, crypto.SHA1)
	wantAdmitted(t, trusting(t, issuer{anchor, root.key}), chainOf(root.device(t, "pc", nil)), noon)
}

func TestUnfitIntermediates(t *testing.T) {
	root := newRoot(t, "root", nil)
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
	}{
		{"not a CA", func(c *x509.Certificate) { c.IsCA = false }},
		{"no keyCertSign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }},
		{"for servers only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
		{"other names permitted", func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"other.example"}
		}},
		{"unknown critical extension", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuing := root.ca(t, "issuing CA", tt.change)
			leaf := issuing.device(t, "pc", func(c *x509.Certificate) { c.DNSNames = []string{"pc.example"} })
			if d, err := trusting(t, root).Verify(chainOf(leaf, issuing.cert), noon); err == nil {
				t.Errorf("admitted as %s", d.ID)
			}
		})
	}
	t.Run("a device as issuer", func(t *testing.T) {
		key := newKey(t)
		device := issuer{root.deviceWith(t, "pc", key.Public(), nil), key}
		forged := device.device(t, "admin", nil)
		if d, err := trusting(t, root).Verify(chainOf(forged, device.cert), noon); err == nil {
			t.Errorf("admitted as %s", d.ID)
		}
	})
	t.Run("path length", func(t *testing.T) {
		short := root.ca(t, "short", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
		below := short.ca(t, "below", nil)
		wantRefused(t, trusting(t, root), chainOf(below.device(t, "pc", nil), below.cert, short.cert), noon, unfitCode)
	})
}

func TestUnfitTrust(t *testing.T) {
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(t, "root", nil)
	for name, der := range map[string][]byte{
		"garbage":        []byte("garbage"),
		"a device":       root.device(t, "pc", nil).Raw,
		"no keyCertSign": newRoot(t, "r", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }).cert.Raw,
		"P-224":          newRootWith(t, "r", weak, nil).cert.Raw,
		"no subject":     newRoot(t, "", func(c *x509.Certificate) { c.Subject = pkix.Name{} }).cert.Raw,
	} {
		if _, err := NewVerifier(Trust{CAs: append(cas(root), CA{Name: "bad", Certificate: der})}); err == nil || !strings.Contains(err.Error(), `"bad"`) {
			t.Errorf("%s: error %v, want one that names the CA", name, err)
		}
	}
}

func TestChainLimits(t *testing.T) {
	root := newRoot(t, "root", nil)
	v := trusting(t, root)
	leaf := root.device(t, "pc", nil)
	chain := chainOf(leaf)
	for len(chain) < MaxChainCertificates {
		chain = append(chain, leaf.Raw)
	}
	wantAdmitted(t, v, chain, noon)
	if r := wantRefused(t, v, append(chain, leaf.Raw), noon, unfitCode); !strings.Contains(r.Reason, "11 certificates") {
		t.Errorf("reason %q", r.Reason)
	}
	fifty := make([][]byte, 50)
	for i := range fifty {
		fifty[i] = leaf.Raw
	}
	wantRefused(t, v, fifty, noon, unfitCode)
	// Bytes are counted before anything is parsed: the second element is no certificate at all.
	if r := wantRefused(t, v, [][]byte{leaf.Raw, make([]byte, MaxEvidenceBytes)}, noon, unfitCode); !strings.Contains(r.Reason, "bytes, at most") {
		t.Errorf("reason %q", r.Reason)
	}
	wantRefused(t, v, [][]byte{leaf.Raw, {}}, noon, unfitCode)
	wantRefused(t, v, [][]byte{leaf.Raw, []byte("junk")}, noon, unfitCode)
}

// TestCountLimits presents certificates whose counts are over a bound. They are signed by nobody we trust, so the
// code also shows that no signature was asked for.
func TestCountLimits(t *testing.T) {
	stranger := newRoot(t, "stranger", nil)
	v := trusting(t, newRoot(t, "root", nil))
	names := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("n%d.example", i))
		}
		return list
	}
	for _, tt := range []struct {
		name  string
		chain [][]byte
		want  string
	}{
		{"names of the leaf", chainOf(stranger.device(t, "pc", func(c *x509.Certificate) { c.DNSNames = names(maxNames + 1) })), "subject alternative names"},
		{"mixed names", chainOf(stranger.device(t, "pc", func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = names(maxNames), []net.IP{{10, 0, 0, 1}}
		})), "subject alternative names"},
		{"name constraints of a CA", chainOf(stranger.device(t, "pc", nil),
			stranger.ca(t, "x", func(c *x509.Certificate) { c.ExcludedDNSDomains = names(maxNameConstraints + 1) }).cert), "name constraints"},
		{"extensions", chainOf(stranger.device(t, "pc", func(c *x509.Certificate) {
			for i := range maxExtensions {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Value: []byte{5, 0}})
			}
		})), "extensions"},
		{"usages", chainOf(stranger.device(t, "pc", func(c *x509.Certificate) {
			for i := range maxListed {
				c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, asn1.ObjectIdentifier{1, 2, 3, i})
			}
		})), "extended key usages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := wantRefused(t, v, tt.chain, noon, unfitCode); !strings.Contains(r.Reason, tt.want) {
				t.Errorf("reason %q, want %q", r.Reason, tt.want)
			}
		})
	}
}

// TestSignatureBudget presents chains made to be expensive and counts the signatures that may have been checked.
func TestSignatureBudget(t *testing.T) {
	root := newRoot(t, "x", nil)
	v := trusting(t, root)
	t.Run("many CAs of one name", func(t *testing.T) {
		chain := []*x509.Certificate{newRoot(t, "x", nil).device(t, "pc", nil)}
		for len(chain) < MaxChainCertificates {
			chain = append(chain, newRoot(t, "x", func(c *x509.Certificate) { c.SubjectKeyId = []byte{byte(len(chain))} }).cert)
		}
		p := v.findPath(chain, noon)
		if p.refusal == nil || p.checks > MaxSignatureChecks {
			t.Errorf("refusal %v after %d checks, at most %d", p.refusal, p.checks, MaxSignatureChecks)
		}
		wantRefused(t, v, chainOf(chain...), noon, untrusted)
	})
	t.Run("many anchors of one name", func(t *testing.T) {
		var roots []issuer
		for range 50 {
			roots = append(roots, newRoot(t, "x", nil))
		}
		p := trusting(t, roots...).findPath([]*x509.Certificate{root.device(t, "pc", nil)}, noon)
		if p.refusal == nil || p.checks != MaxSignatureChecks {
			t.Errorf("refusal %v after %d checks, want %d", p.refusal, p.checks, MaxSignatureChecks)
		}
	})
	t.Run("a ladder of names", func(t *testing.T) {
		// Two CAs on every rung, each able to have issued both below: the paths double with every rung.
		top := newRoot(t, "rung4", nil)
		var chain []*x509.Certificate
		for rung := range 4 {
			for range 2 {
				chain = append(chain, issuer{sign(t, caTemplate(fmt.Sprintf("rung%d", rung), nil),
					&x509.Certificate{Subject: pkix.Name{CommonName: fmt.Sprintf("rung%d", rung+1)}}, newKey(t).Public(), newKey(t)), nil}.cert)
			}
		}
		leaf := issuer{&x509.Certificate{Subject: pkix.Name{CommonName: "rung0"}}, newKey(t)}.device(t, "pc", nil)
		p := trusting(t, top).findPath(append([]*x509.Certificate{leaf}, chain...), noon)
		if p.refusal == nil || p.checks > MaxSignatureChecks {
			t.Errorf("refusal %v after %d checks", p.refusal, p.checks)
		}
	})
}

func TestCACrossSignedByARenewedKey(t *testing.T) {
	// After a renewal with a new key, the old root signs the new key under the same name.
	old := newRoot(t, "corp root", nil)
	renewed := newRoot(t, "corp root", nil)
	bridge := sign(t, caTemplate("corp root", nil), old.cert, renewed.key.Public(), old.key)
	leaf := renewed.device(t, "pc", nil)
	wantAdmitted(t, trusting(t, old), chainOf(leaf, bridge), noon)
	wantAdmitted(t, trusting(t, renewed), chainOf(leaf), noon)
	wantRefused(t, trusting(t, old), chainOf(leaf), noon, untrusted)
}

func TestAnExpiredPathDoesNotHideAGoodOne(t *testing.T) {
	root := newRoot(t, "root", nil)
	issuing := root.ca(t, "issuing CA", nil)
	stale := sign(t, caTemplate("issuing CA", func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Hour) }), root.cert, issuing.key.Public(), root.key)
	wantAdmitted(t, trusting(t, root), chainOf(issuing.device(t, "pc", nil), stale, issuing.cert), noon)
}

func TestCachedVerdictKnowsTheTime(t *testing.T) {
	root := newRoot(t, "root", nil)
	issuing := root.ca(t, "issuing CA", func(c *x509.Certificate) { c.NotAfter = noon.Add(time.Minute) })
	chain := chainOf(issuing.device(t, "pc", nil), issuing.cert)
	v := trusting(t, root)
	first := wantAdmitted(t, v, chain, noon)
	if second := wantAdmitted(t, v, chain, noon); second != first {
		t.Error("the second verdict was not remembered")
	}
	wantRefused(t, v, chain, noon.Add(2*time.Minute), expired)
}

func TestCacheIsBounded(t *testing.T) {
	c := cache[int]{max: 100}
	hot := sha256.Sum256([]byte("hot"))
	c.put(hot, 1)
	for i := range 10_000 {
		c.put(sha256.Sum256(fmt.Append(nil, i)), i)
		if _, ok := c.get(hot); !ok {
			t.Fatalf("a value in use was dropped at %d", i)
		}
		if n := len(c.young) + len(c.old); n > 200 {
			t.Fatalf("%d values, at most 200", n)
		}
	}
}

func TestVerifyConcurrently(t *testing.T) {
	root := newRoot(t, "root", nil)
	v := trusting(t, root)
	good, bad := chainOf(root.device(t, "pc", nil)), chainOf(newRoot(t, "other", nil).device(t, "pc", nil))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := v.Verify(good, noon); err != nil {
					t.Error(err)
				}
				if _, err := v.Verify(bad, noon); err == nil {
					t.Error("admitted")
				}
			}
		})
	}
	wg.Wait()
}

func TestExplainNamesEveryFault(t *testing.T) {
	root := newRoot(t, "root", nil)
	leaf := newRoot(t, "other", nil).device(t, "pc", func(c *x509.Certificate) {
		c.NotAfter, c.ExtKeyUsage = noon.Add(-time.Hour), nil
	})
	failed := map[string]bool{}
	list := trusting(t, root).Explain(chainOf(leaf), noon)
	for _, f := range list {
		failed[f.Check] = !f.OK
		if f.Detail == "" {
			t.Errorf("%s: no detail", f.Check)
		}
	}
	for _, check := range []string{"validity", "extended key usage", "path to a trusted device CA", "verdict"} {
		if !failed[check] {
			t.Errorf("%s did not fail: %+v", check, list)
		}
	}
	if last := list[len(list)-1]; !strings.Contains(last.Detail, expired.String()) {
		t.Errorf("verdict %q, want the code that Verify gives", last.Detail)
	}
}
