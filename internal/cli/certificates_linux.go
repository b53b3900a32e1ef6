package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/site"
	"github.com/causeway-gateway/causeway/siteca"
)

// deviceName is the device whose certificate the first curl line uses.
const deviceName causeway.DeviceID = "device-1"

// A pair is a certificate with its key, as PEM.
type pair struct{ cert, key []byte }

// fresh reports whether a certificate is good for another third of its life, which is when it is renewed.
func fresh(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return now.After(cert.NotBefore) && now.Before(cert.NotBefore.Add(life*2/3))
}

// keep returns the pair in two files if it is still fresh, fits, and was signed by the authority; otherwise it makes
// a new one with issue and keeps that.
func (u *upRun) keep(dir, certName, keyName string, ca *siteca.Authority, fits func(*x509.Certificate) bool, issue func() (siteca.Issued, error)) (pair, error) {
	f, err := openFolder(dir, 0)
	if err != nil {
		return pair{}, err
	}
	defer f.close()
	cert, errCert := f.root.ReadFile(certName)
	key, errKey := f.root.ReadFile(keyName)
	if err := errors.Join(errCert, errKey); err == nil {
		if leaf := usable(cert, key); leaf != nil && fresh(leaf, u.app.now()) && leaf.CheckSignatureFrom(ca.Certificate) == nil && fits(leaf) {
			return pair{cert, key}, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return pair{}, err
	}
	issued, err := issue()
	if err != nil {
		return pair{}, err
	}
	if err := errors.Join(f.write(keyName, issued.KeyPEM), f.write(certName, issued.CertPEM)); err != nil {
		return pair{}, err
	}
	return pair{issued.CertPEM, issued.KeyPEM}, nil
}

// usable returns the leaf of a certificate and key that belong together, else nil.
func usable(cert, key []byte) *x509.Certificate {
	p, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil
	}
	return p.Leaf
}

// serviceCertificate is what devices see: the administrator's, or one from the site's own CA for the addresses and
// names under which this machine is reached.
func (u *upRun) serviceCertificate(ctx context.Context) (pair, error) {
	if c := u.ownCertificate(); c != nil {
		return pairOf(c)
	}
	names := u.serviceNames(ctx)
	fits := func(leaf *x509.Certificate) bool { return slices.Equal(certificateNames(leaf), names) }
	return u.keep(u.dir.site(), "service.crt", "service.key", u.store.SiteCA(), fits, func() (siteca.Issued, error) {
		return u.store.IssueService(ctx, u.by(), subjectFirst(u.plan.name(), names))
	})
}

// subjectFirst puts one of a certificate's names before the others: it becomes the subject.
func subjectFirst(name string, names []string) []string {
	return append([]string{name}, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })...)
}

// ownCertificate is the administrator's, as it was read last; nil when the site's own CA issues one.
func (u *upRun) ownCertificate() *tls.Certificate {
	u.following.Lock()
	defer u.following.Unlock()
	return u.plan.certificate
}

// followCertificate takes up a new certificate in the administrator's files. Connection points learn to trust it before
// the instances show it; the old one stays trusted beside it until the next.
func (u *upRun) followCertificate(ctx context.Context) error {
	old := u.ownCertificate()
	if old == nil {
		return nil
	}
	next := *u.plan
	if err := next.checkCertificate(u.app.now()); err != nil {
		return err
	}
	if slices.EqualFunc(old.Certificate, next.certificate.Certificate, bytes.Equal) {
		return nil
	}
	u.following.Lock()
	u.plan.certificate = next.certificate
	u.following.Unlock()
	g := u.gateway
	g.ServiceCertificateSHA256 = []string{site.Thumbprint(next.certificate.Leaf), site.Thumbprint(old.Leaf)}
	if err := u.store.PutGateway(ctx, u.by(), g); err != nil {
		return err
	}
	if err := u.publish(ctx, false); err != nil {
		return err
	}
	u.lookNow()
	u.waitLive(ctx, u.generationNow())
	if err := errors.Join(u.writeCertificates(ctx), u.caFile()); err != nil {
		return err
	}
	u.lookNow()
	u.log.Info("new service certificate in use", "not_after", next.certificate.Leaf.NotAfter.UTC(), "dns_names", next.certificate.Leaf.DNSNames)
	return nil
}

// serviceNames are the name devices use, published hosts, and this machine's own words for itself.
func (u *upRun) serviceNames(ctx context.Context) []string {
	names := []string{u.plan.name(), "localhost"}
	if !u.plan.address.IsUnspecified() {
		names = append(names, u.plan.address.String())
	}
	names = append(names, u.plan.dialAddress().String())
	if servers, err := u.store.Servers(ctx); err == nil {
		for _, s := range servers {
			if s.Host != "" {
				names = append(names, s.Host)
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// certificateNames returns a certificate's names in the order of serviceNames.
func certificateNames(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			names = append(names, addr.Unmap().String())
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

func pairOf(c *tls.Certificate) (pair, error) {
	var p pair
	for _, der := range c.Certificate {
		p.cert = append(p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	p.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return p, err
}

// connectionPointCertificate is the role certificate of a connection point.
func (u *upRun) connectionPointCertificate(ctx context.Context, id causeway.ConnectionPointID) (pair, error) {
	dir := u.dir.path("site", "connection-points", string(id))
	fits := func(leaf *x509.Certificate) bool { return leaf.Subject.CommonName == string(id) }
	return u.keep(dir, "tls.crt", "tls.key", u.store.SiteCA(), fits, func() (siteca.Issued, error) {
		return u.store.IssueConnectionPoint(ctx, u.by(), id)
	})
}

// firstDevice makes the certificate of the curl line.
func (u *upRun) firstDevice(ctx context.Context) (tls.Certificate, error) {
	fits := func(leaf *x509.Certificate) bool { return leaf.Subject.CommonName == string(deviceName) }
	p, err := u.keep(u.dir.device(string(deviceName)), "device.crt", "device.key", u.store.DeviceCA(), fits, func() (siteca.Issued, error) {
		return u.store.IssueDevice(ctx, u.by(), deviceName)
	})
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(p.cert, p.key)
}

// caFile writes what devices trust: the site's CA, or the chain of the administrator's certificate.
func (u *upRun) caFile() error {
	text := u.store.SiteCA().CertPEM()
	if c := u.ownCertificate(); c != nil {
		text = trustFor(c)
	}
	return writeFile(u.dir.ca(), text)
}

// trustFor returns what lets curl verify a certificate that may be signed by anybody: the system's authorities for
// one that they vouch for, else the last certificate of its chain.
func trustFor(c *tls.Certificate) []byte {
	last := c.Certificate[len(c.Certificate)-1]
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last})
	inter := x509.NewCertPool()
	for _, der := range c.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			inter.AddCert(cert)
		}
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Intermediates: inter}); err != nil {
		return text
	}
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if system, err := os.ReadFile(file); err == nil {
			return system
		}
	}
	return text
}
