//go:build linux

package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A ca is an organisation's own certificate authority for its devices.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
	file string
}

func newCA(t *testing.T, name string) *ca {
	t.Helper()
	key := p256(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &ca{cert: cert, key: key, file: filepath.Join(t.TempDir(), "ca.crt")}
	write(t, c.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return c
}

// issue makes a device certificate; change may spoil it.
func (c *ca) issue(t *testing.T, name string, key crypto.Signer, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOnlyFitCertificatesAreLetIn tries every certificate that must not open the door, and the one that must.
func TestOnlyFitCertificatesAreLetIn(t *testing.T) {
	o := startOrigin(t)
	good, other := newCA(t, "Organisation CA"), newCA(t, "Another CA")
	s := up(t, "--publish", "app="+o.url, "--device-ca", good.file)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		want string
	}{
		{"no certificate", nil, "403 CMGService_ClientCertificateRequired"},
		{"good", new(good.issue(t, "laptop-1", p256(t), nil)), "200"},
		{"another CA", new(other.issue(t, "laptop-1", p256(t), nil)), "403 CMGService_ClientCertificateUntrusted"},
		{"expired", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-30 * time.Minute) })), "403 CMGService_ClientCertificateExpired"},
		{"not yet valid", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })), "403 CMGService_ClientCertificateNotYetValid"},
		{"for servers", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), "403 CMGService_ClientCertificateUnfit"},
		{"for anything", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })), "403 CMGService_ClientCertificateUnfit"},
		{"for nothing said", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) { c.ExtKeyUsage = nil })), "403 CMGService_ClientCertificateUnfit"},
		{"a CA as leaf", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		})), "403 CMGService_ClientCertificateUnfit"},
		{"may sign certificates", new(good.issue(t, "laptop-1", p256(t), func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })), "403 CMGService_ClientCertificateUnfit"},
		// TLS has no signature for this curve, so the device's own library keeps the certificate back.
		{"P-224", new(good.issue(t, "laptop-1", p224, nil)), "403 CMGService_ClientCertificateRequired"},
		{"RSA 1024", new(good.issue(t, "laptop-1", weak, nil)), "403 CMGService_ClientCertificateUnfit"},
		{"no name", new(good.issue(t, "", p256(t), nil)), "403 CMGService_ClientCertificateUnfit"},
		{"name with a line break", new(good.issue(t, "laptop\r\nX-Forged: 1", p256(t), nil)), "403 CMGService_ClientCertificateUnfit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := o.requests.Load()
			config := &tls.Config{RootCAs: s.roots(t)}
			if tt.cert != nil {
				config.Certificates = []tls.Certificate{*tt.cert}
			}
			c, err := s.dialRaw(t, s.host(t), config)
			if err != nil {
				t.Fatal(err)
			}
			c.send("GET /app/x HTTP/1.1\r\nHost: " + s.host(t) + "\r\n\r\n")
			got, ok := c.answer(t, "GET")
			if !ok {
				t.Fatal("the gateway closed without an answer: the device learns nothing")
			}
			text := fmt.Sprint(got.StatusCode)
			if got.StatusCode != 200 {
				text = problem(t, got.body)
			}
			if text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
			if reached := o.requests.Load() > before; reached != (tt.want == "200") {
				t.Errorf("the server was reached: %v", reached)
			}
		})
	}
}

// TestAConnectionPointOfAnotherSiteIsRefused shows the gateway a certificate that is good, but not here.
func TestAConnectionPointOfAnotherSiteIsRefused(t *testing.T) {
	o := startOrigin(t)
	s, stranger := up(t, "--publish", "app="+o.url), up(t)
	pair, err := tls.LoadX509KeyPair(
		filepath.Join(stranger.state, "connection-points", stranger.ConnectionPoints[0].ID, "tls.crt"),
		filepath.Join(stranger.state, "connection-points", stranger.ConnectionPoints[0].ID, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	hostOnly := strings.Split(s.host(t), ":")[0]
	to := fmt.Sprintf("%s:%d", hostOnly, s.Instances[0].ChannelPort)
	for name, certificates := range map[string][]tls.Certificate{"of another site": {pair}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			c, err := s.dialRaw(t, to, &tls.Config{RootCAs: s.roots(t), Certificates: certificates, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
			if err != nil {
				return // refused in the handshake
			}
			c.send(strings.Repeat("\x00", 64))
			if !c.closed() {
				t.Error("the gateway keeps the connection")
			}
		})
	}
	if got := s.curl(t, "--output", "/dev/null", "--write-out", "%{http_code}", s.publishedURL(t, "app")+"/x"); got != "200" {
		t.Errorf("the site's own connection point no longer serves: %s", got)
	}
}
