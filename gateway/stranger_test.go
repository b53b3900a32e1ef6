package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/signed"
)

func shortHead(c *Config) { c.Timeouts.Head = time.Second }

// junkChain is a certificate with as many others behind it.
func (in *instance) junkChain(cert tls.Certificate, n int) tls.Certificate {
	for range n {
		cert.Certificate = append(cert.Certificate, in.deviceCA.issue("junk").Certificate[0])
	}
	return cert
}

func TestStrangersThatHoldHTTP2ConnectionsWithJunkChainsAreCut(t *testing.T) {
	in := run(t, shortHead)
	stranger := newCA(t, "Device CA")
	for name, certs := range map[string][]tls.Certificate{
		"no certificate":              nil,
		"junk chain":                  {in.junkChain(stranger.issue("x"), 8)},
		"known certificate, no words": {in.deviceCA.issue("pc-1")},
	} {
		t.Run(name, func(t *testing.T) {
			d := in.dialHTTP2(t, certs...)
			d.receive(1) // settings and their like, until the end
			waitFor(t, func() bool { return in.Status().Connections == 0 })
		})
		t.Run(name+" over HTTP/1.1", func(t *testing.T) {
			d := in.dialTLS(in.clientTLS(certs...))
			d.t = t
			if !d.closed() {
				t.Error("still open")
			}
		})
	}
}

func TestStrangerIsCutAfterItsRefusal(t *testing.T) {
	in := run(t, shortHead)
	d := in.dialHTTP2(t)
	if r := d.receive(d.open(true, h2request("GET", testName, "/app/")...)); r.status != "403" {
		t.Fatalf("got %+v", r)
	}
	d.receive(3)
	waitFor(t, func() bool { return in.Status().Connections == 0 })
}

func TestAdmittedDeviceOutlivesAStrangersTime(t *testing.T) {
	in := run(t, shortHead)
	d := in.dialHTTP2(t, in.deviceCA.issue("pc-1"))
	ask := func(want string) {
		t.Helper()
		if r := d.receive(d.open(true, h2request("GET", testName, "/app/")...)); r.status != want {
			t.Fatalf("got %+v, want %s", r, want)
		}
	}
	ask("200")
	stranger := in.dialHTTP2(t) // begins its time later than the device did
	stranger.receive(1)
	ask("200")
	in.apply(func(doc *signed.GatewayDocument) { doc.DeviceTrust.Blocked = []identity.Block{{DeviceID: "pc-1"}} })
	ask("403")
	d.receive(d.next) // who is admitted no more is a stranger
	waitFor(t, func() bool { return in.Status().Connections == 0 })
}

// padded is a certificate of about n bytes.
func (in *instance) padded(ca *testCA, name string, n int) tls.Certificate {
	return ca.issue(name, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, n)}}
	})
}

func TestHandshakeWithAQuarterMegabyteOfJunkIsCut(t *testing.T) {
	in := run(t)
	cert := in.deviceCA.issue("pc-1")
	for range 12 {
		cert.Certificate = append(cert.Certificate, in.padded(in.deviceCA, "junk", 20<<10).Certificate[0])
	}
	c, err := tls.Dial("tcp", in.devices.Addr().String(), in.clientTLS(cert))
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if err == nil {
		t.Error("the gateway goes on")
	}
	waitFor(t, func() bool { return in.Status().Connections == 0 })
}

func TestStrangersWithLargeChainsShareOneBound(t *testing.T) {
	in := run(t)
	stranger, known := in.padded(newCA(t, "Device CA"), "x", 20<<10), in.padded(in.deviceCA, "pc-1", 20<<10)
	in.largeChains.Store(maxLargeChains - 2)
	for range 5 { // who is admitted does not count
		in.dialTLS(in.clientTLS(known)).ask(get("/app/")).wants(t, 200, 0)
	}
	held := in.dialTLS(in.clientTLS(stranger))
	held.ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateUntrusted)
	in.dialHTTP2(t, stranger)
	waitFor(t, func() bool { return in.largeChains.Load() == maxLargeChains })
	if d := in.dialTLS(in.clientTLS(stranger)); !d.closed() {
		t.Error("one more was let in")
	}
	in.dial("pc-2").ask(get("/app/")).wants(t, 200, 0) // others never notice
	held.c.Close()
	waitFor(t, func() bool { return in.largeChains.Load() == maxLargeChains-1 })
	in.dialTLS(in.clientTLS(stranger)).ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateUntrusted)
}

func TestChainBeyondItsBoundsGetsOneAnswerAndTheEnd(t *testing.T) {
	in := run(t)
	cert := in.junkChain(in.deviceCA.issue("pc-1"), identity.MaxChainCertificates)
	t.Run("HTTP/1.1", func(t *testing.T) {
		d := in.dialTLS(in.clientTLS(cert))
		d.t = t
		d.ask(get("/app/")).wants(t, 403, causeway.CodeClientCertificateUnfit)
		if !d.closed() {
			t.Error("still open")
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		d := in.dialHTTP2(t, cert)
		r := d.receive(d.open(true, h2request("GET", testName, "/app/")...))
		if r.status != "403" || !strings.Contains(r.body, causeway.CodeClientCertificateUnfit.String()) {
			t.Errorf("got %+v", r)
		}
		d.receive(3)
		waitFor(t, func() bool { return in.Status().Connections == 0 })
	})
}
