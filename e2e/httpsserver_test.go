//go:build linux

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestAnHTTPSServerMayAskTheConnectionPointForACertificate publishes a server with a CA of its own, which lets only a
// known connection point in. With another CA, or without the certificate, nothing is served.
func TestAnHTTPSServerMayAskTheConnectionPointForACertificate(t *testing.T) {
	inside, other := newCA(t, "Inside CA"), newCA(t, "Other CA")
	ip := address()
	serverPair := inside.issue(t, "server", p256(t), func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.ParseIP(ip)}
	})
	pool := x509.NewCertPool()
	pool.AddCert(inside.cert)
	ln, err := tls.Listen("tcp", ip+":0", &tls.Config{Certificates: []tls.Certificate{serverPair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: log.New(new(output), "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.TLS.PeerCertificates[0].Subject.CommonName)
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })

	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cp.crt"), filepath.Join(dir, "cp.key")
	writePair(t, inside.issue(t, "branch-office", p256(t), nil), cert, key)
	url := "https://" + ln.Addr().String()
	s := up(t, "--publish", fmt.Sprintf("wsus=%s,ca=%s,client-cert=%s,client-key=%s", url, inside.file, cert, key))
	if got := s.curl(t, s.publishedURL(t, "wsus")+"/"); got != "hello branch-office" {
		t.Errorf("got %q", got)
	}
	s.cli(t, "server", "add", "wrong-ca="+url, "--ca", other.file, "--client-cert", cert, "--client-key", key)
	s.cli(t, "server", "add", "no-certificate="+url, "--ca", inside.file)
	s.reread(t)
	for _, name := range []string{"wrong-ca", "no-certificate"} {
		if got := s.curl(t, "--output", "/dev/null", "--write-out", "%{http_code}", s.publishedURL(t, name)+"/"); got != "502" {
			t.Errorf("%s: got %s, want 502", name, got)
		}
	}
}

// writePair writes a certificate and its key as PEM files.
func writePair(t *testing.T, pair tls.Certificate, cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAGatewayWithItsOwnNameAndCertificate is production on one machine: name, certificate and devices are the
// organisation's, and nothing of the site's own CA is seen from outside.
func TestAGatewayWithItsOwnNameAndCertificate(t *testing.T) {
	public, devices := newCA(t, "Public CA"), newCA(t, "Organisation Devices CA")
	o, dir := startOrigin(t), t.TempDir()
	const name = "gateway.example.test"
	cert, key := filepath.Join(dir, "gateway.crt"), filepath.Join(dir, "gateway.key")
	writePair(t, public.issue(t, name, p256(t), func(c *x509.Certificate) {
		c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{name}
	}), cert, key)
	deviceCert, deviceKey := filepath.Join(dir, "laptop.crt"), filepath.Join(dir, "laptop.key")
	writePair(t, devices.issue(t, "laptop-1", p256(t), nil), deviceCert, deviceKey)

	ip := address()
	s := upIn(t, filepath.Join(t.TempDir(), "state"), ip, "--service-name", name, "--cert", cert, "--key", key,
		"--device-ca", devices.file, "--publish", "app="+o.url)
	url := "https://" + name + ":" + sitePort + "/app/x"
	got := decode(t, must(t, "", "curl", "--silent", "--show-error", "--resolve", name+":"+sitePort+":"+ip,
		"--cacert", public.file, "--cert", deviceCert, "--key", deviceKey, url))
	if got.Header.Get("X-Causeway-Device-Id") != "laptop-1" {
		t.Errorf("the server was told %v", got.Header)
	}
	if s.GatewayURL != "https://"+name+":"+sitePort+"/" {
		t.Errorf("ready.json says %s", s.GatewayURL)
	}
}
