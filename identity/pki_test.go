package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// noon is the time of the tests; certificates are valid a year around it unless a test says otherwise.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// An issuer can issue.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newRSAKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var serials int64 = 1000

func template(name string) *x509.Certificate {
	serials++
	return &x509.Certificate{
		SerialNumber: big.NewInt(serials),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    noon.AddDate(0, -6, 0),
		NotAfter:     noon.AddDate(0, 6, 0),
	}
}

func sign(t testing.TB, tmpl, parent *x509.Certificate, public any, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func caTemplate(name string, change func(*x509.Certificate)) *x509.Certificate {
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if change != nil {
		change(tmpl)
	}
	return tmpl
}

// newRoot makes a self-signed CA.
func newRoot(t testing.TB, name string, change func(*x509.Certificate)) issuer {
	t.Helper()
	return newRootWith(t, name, newKey(t), change)
}

func newRootWith(t testing.TB, name string, key crypto.Signer, change func(*x509.Certificate)) issuer {
	t.Helper()
	tmpl := caTemplate(name, change)
	return issuer{sign(t, tmpl, tmpl, key.Public(), key), key}
}

// ca makes a CA below another.
func (i issuer) ca(t testing.TB, name string, change func(*x509.Certificate)) issuer {
	t.Helper()
	key := newKey(t)
	return issuer{sign(t, caTemplate(name, change), i.cert, key.Public(), i.key), key}
}

// device issues a good client certificate, changed by the test.
func (i issuer) device(t testing.TB, name string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return i.deviceWith(t, name, newKey(t).Public(), change)
}

func (i issuer) deviceWith(t testing.TB, name string, public any, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	tmpl := template(name)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	tmpl.BasicConstraintsValid = true
	if change != nil {
		change(tmpl)
	}
	return sign(t, tmpl, i.cert, public, i.key)
}

func trusting(t testing.TB, roots ...issuer) *Verifier {
	t.Helper()
	return verifier(t, Trust{CAs: cas(roots...)})
}

func cas(roots ...issuer) (list []CA) {
	for _, r := range roots {
		list = append(list, CA{Name: r.cert.Subject.CommonName, Certificate: r.cert.Raw})
	}
	return list
}

func verifier(t testing.TB, trust Trust) *Verifier {
	t.Helper()
	v, err := NewVerifier(trust)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func chainOf(certs ...*x509.Certificate) (chain [][]byte) {
	for _, c := range certs {
		chain = append(chain, c.Raw)
	}
	return chain
}

// wantRefused asks twice, because the second answer comes from the cache, and checks that Explain agrees.
func wantRefused(t testing.TB, v *Verifier, chain [][]byte, now time.Time, code causeway.Code) *causeway.Refusal {
	t.Helper()
	var last *causeway.Refusal
	for range 2 {
		d, err := v.Verify(chain, now)
		if err == nil {
			t.Fatalf("admitted as %s, want %s", d.ID, code)
		}
		if got := causeway.CodeOf(err); got != code {
			t.Fatalf("refused with %v, want code %s", err, code)
		}
		last = err.(*causeway.Refusal)
	}
	if list := v.Explain(chain, now); list[len(list)-1].OK {
		t.Fatalf("Explain admits what Verify refuses: %+v", list)
	}
	return last
}

func wantAdmitted(t testing.TB, v *Verifier, chain [][]byte, now time.Time) *Device {
	t.Helper()
	d, err := v.Verify(chain, now)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	for _, f := range v.Explain(chain, now) {
		if !f.OK {
			t.Fatalf("Explain refuses what Verify admits: %+v", f)
		}
	}
	return d
}
