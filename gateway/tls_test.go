package gateway

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/signed"
)

func TestBadClientCertificatesGetTheirCode(t *testing.T) {
	in := run(t)
	other := newCA(t, "Device CA") // the same name, another key
	for name, tt := range map[string]struct {
		cert []tls.Certificate
		code causeway.Code
	}{
		"none":          {nil, causeway.CodeClientCertificateRequired},
		"another CA":    {[]tls.Certificate{other.issue("pc-1")}, causeway.CodeClientCertificateUntrusted},
		"self-signed":   {[]tls.Certificate{selfSigned(other)}, causeway.CodeClientCertificateUnfit},
		"expired":       {[]tls.Certificate{in.deviceCA.issue("pc-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}, causeway.CodeClientCertificateExpired},
		"not yet valid": {[]tls.Certificate{in.deviceCA.issue("pc-1", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })}, causeway.CodeClientCertificateNotYet},
		"wrong EKU":     {[]tls.Certificate{in.deviceCA.issue("pc-1", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, causeway.CodeClientCertificateUnfit},
		"no EKU":        {[]tls.Certificate{in.deviceCA.issue("pc-1", func(c *x509.Certificate) { c.ExtKeyUsage = nil })}, causeway.CodeClientCertificateUnfit},
		"CA as leaf": {[]tls.Certificate{in.deviceCA.issue("pc-1", func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		})}, causeway.CodeClientCertificateUnfit},
		"no name": {[]tls.Certificate{in.deviceCA.issue("")}, causeway.CodeClientCertificateUnfit},
	} {
		for _, path := range []string{"/app/", "/nothing", "/app/small"} {
			t.Run(name+path, func(t *testing.T) {
				d := in.dialTLS(in.clientTLS(tt.cert...))
				d.t = t
				// Who is not admitted does not learn what is published.
				d.ask(get(path)).wants(t, 403, tt.code)
			})
		}
		t.Run(name+" over HTTP/2", func(t *testing.T) {
			d := in.dialHTTP2(t, tt.cert...)
			r := d.receive(d.open(true, h2request("GET", testName, "/app/")...))
			if r.status != "403" || !strings.Contains(r.body, tt.code.String()) {
				t.Errorf("got %+v", r)
			}
		})
	}
	if n := len(in.backend.requests()); n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
}

func selfSigned(ca *testCA) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}
}

func TestLongChainIsRefusedBeforeAnySignatureIsChecked(t *testing.T) {
	in := run(t)
	cert := in.deviceCA.issue("pc-1")
	for range 30 {
		cert.Certificate = append(cert.Certificate, in.deviceCA.cert.Raw)
	}
	in.dialTLS(in.clientTLS(cert)).ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateUnfit)
}

func TestBlockedDeviceIsRefusedOnItsOpenConnection(t *testing.T) {
	in := run(t)
	d, h2 := in.dial("pc-1"), in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	other := in.dial("pc-2")
	d.ask(get("/app/")).wants(t, 200, 0)
	if r := h2.receive(h2.open(true, h2request("GET", testName, "/app/")...)); r.status != "200" {
		t.Fatalf("got %+v", r)
	}
	in.apply(func(doc *signed.GatewayDocument) { doc.DeviceTrust.Blocked = []identity.Block{{DeviceID: "pc-1"}} })
	d.ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateBlocked)
	if r := h2.receive(h2.open(true, h2request("GET", testName, "/app/")...)); r.status != "403" {
		t.Errorf("HTTP/2: %+v", r)
	}
	other.ask(get("/app/")).wants(t, 200, 0)
	in.apply(func(doc *signed.GatewayDocument) { doc.DeviceTrust.Blocked = nil })
	d.ask(get("/app/")).wants(t, 200, 0)
}

func TestResumedSessionIsJudgedAgain(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			in := run(t)
			cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			cfg.MaxVersion = version
			d := in.dialTLS(cfg)
			d.ask(get("/app/")).wants(t, 200, 0)
			d.c.Close()
			d = in.dialTLS(cfg)
			d.ask(get("/app/")).wants(t, 200, 0)
			if !d.c.ConnectionState().DidResume {
				t.Fatal("session was not resumed")
			}
			d.c.Close()
			in.apply(func(doc *signed.GatewayDocument) { doc.DeviceTrust.Blocked = []identity.Block{{DeviceID: "pc-1"}} })
			d = in.dialTLS(cfg)
			d.ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateBlocked)
			if !d.c.ConnectionState().DidResume {
				t.Error("session was not resumed")
			}
		})
	}
}

func TestCertificateThatEndsWhileTheConnectionIsOpen(t *testing.T) {
	var later atomic.Int64
	in := run(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) } })
	d := in.dial("pc-1")
	d.ask(get("/app/")).wants(t, 200, 0)
	later.Store(int64(25 * time.Hour))
	d.ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateExpired)
}

func TestOldProtocolsAndWeakSuitesAreRefused(t *testing.T) {
	in := run(t)
	for name, change := range map[string]func(*tls.Config){
		"TLS 1.0": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 },
		"TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"CBC": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		},
		"RSA exchange": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		},
		"P-384 alone":    func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
		"unknown ALPN":   func(c *tls.Config) { c.NextProtos = []string{"smtp"} },
		"huge SNI label": func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = strings.Repeat("a", 300)+".test", true },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
			change(cfg)
			c, err := tls.Dial("tcp", in.devices.Addr().String(), cfg)
			if err == nil {
				c.Close()
				if name != "huge SNI label" {
					t.Error("handshake succeeded")
				}
			}
		})
	}
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
	cfg.MaxVersion = tls.VersionTLS12
	in.dialTLS(cfg).ask(get("/app/")).wants(t, 200, 0)
	cfg = in.clientTLS(in.deviceCA.issue("pc-1"))
	cfg.NextProtos = nil
	in.dialTLS(cfg).ask(get("/app/")).wants(t, 200, 0)
}

func TestJunkInPlaceOfAHandshakeEndsTheConnection(t *testing.T) {
	in := run(t, func(c *Config) { c.Timeouts.Handshake = 200 * time.Millisecond })
	for name, junk := range map[string]string{"nothing": "", "plain HTTP": "GET / HTTP/1.1\r\n\r\n", "zeros": strings.Repeat("\x00", 100), "half a record": "\x16\x03\x01\x02\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", in.devices.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, junk)
			_ = c.SetReadDeadline(time.Now().Add(longWait))
			if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("connection stays open")
			}
		})
	}
}

func TestClientHelloInSmallPiecesWorks(t *testing.T) {
	in := run(t)
	raw, err := net.Dial("tcp", in.devices.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(onebyone{raw}, in.clientTLS(in.deviceCA.issue("pc-1")))
	defer c.Close()
	if err := c.Handshake(); err != nil {
		t.Error(err)
	}
}

type onebyone struct{ net.Conn }

func (c onebyone) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestServiceCertificateIsReplacedWithoutADroppedConnection(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	ca := newCA(t, "Service CA")
	put := func(c tls.Certificate) {
		t.Helper()
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for file, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
			if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, second := ca.issue(testName, forServer), ca.issue(testName, forServer)
	put(first)
	certs, err := LoadCertificates(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	in := run(t, func(c *Config) { c.Certificates = certs })
	in.serverCA = ca
	serves := func(want tls.Certificate) {
		t.Helper()
		d := in.dial("pc-2")
		if got := d.c.ConnectionState().PeerCertificates[0]; !got.Equal(want.Leaf) {
			t.Errorf("serves certificate %v, want %v", got.SerialNumber, want.Leaf.SerialNumber)
		}
		d.c.Close()
	}
	d := in.dial("pc-1")
	serves(first)
	put(second)
	if err := in.Reload(); err != nil {
		t.Fatal(err)
	}
	serves(second)
	d.ask(get("/app/")).wants(t, 200, 0)

	// What cannot be used leaves the old one in place.
	if err := os.WriteFile(keyFile, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if in.Reload() == nil {
		t.Error("garbage was taken for a key")
	}
	serves(second)
	put(in.deviceCA.issue("not for servers"))
	if in.Reload() == nil {
		t.Error("a client certificate was taken for the service's")
	}
	serves(second)
	put(first)
	if err := in.Reload(); err != nil {
		t.Error(err)
	}
	serves(first)
}

func TestServiceCertificateOfAnotherNameIsToldOnce(t *testing.T) {
	in := run(t)
	if got := in.logs.String(); strings.Contains(got, "not for the service's name") {
		t.Errorf("the right one is told: %s", got)
	}
	for range 2 {
		in.apply(func(d *signed.GatewayDocument) { d.ServiceName = "other.test" })
	}
	if got := strings.Count(in.logs.String(), "not for the service's name"); got != 1 {
		t.Errorf("told %d times, want once", got)
	}
}

func TestExpiringServiceCertificateWarnsOncePerStage(t *testing.T) {
	in := prepare(t)
	leaf := in.certificates.Leaf()
	for _, d := range []time.Duration{40 * 24 * time.Hour, 29 * 24 * time.Hour, 28 * 24 * time.Hour, 13 * 24 * time.Hour, 6 * 24 * time.Hour, 23 * time.Hour, time.Hour, -time.Hour, -2 * time.Hour} {
		in.certificates.warn(leaf.NotAfter.Add(-d), in.log)
	}
	if got := strings.Count(in.logs.String(), "service certificate ends soon"); got != 4 {
		t.Errorf("%d warnings, want 4", got)
	}
	if got := strings.Count(in.logs.String(), "service certificate has expired"); got != 1 {
		t.Errorf("%d alarms, want 1", got)
	}
}

func TestRSAServiceCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca := newCA(t, "Service CA")
	tmpl := ca.issue(testName, forServer).Leaf
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	in := run(t, func(c *Config) {
		c.Certificates = FixedCertificate(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	})
	in.serverCA = ca
	cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
	cfg.MaxVersion = tls.VersionTLS12
	in.dialTLS(cfg).ask(get("/app/")).wants(t, 200, 0)
}
