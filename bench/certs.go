//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// serviceName is the name that every target's certificate carries.
const serviceName = "bench.causeway.test"

// credentials are the keys of one run: every target shows the same P-256 certificate, and one device calls them all.
type credentials struct {
	caFile, certFile, keyFile, bothFile string // service: CA, certificate, key, and both in one file as haproxy wants it
	deviceCAFile                        string
	deviceCertFile, deviceKeyFile       string
	roots                               *x509.CertPool
	device                              tls.Certificate
}

func makeCredentials(dir string, addresses []net.IP) (*credentials, error) {
	c := &credentials{roots: x509.NewCertPool()}
	for name, field := range map[string]*string{
		"ca.crt": &c.caFile, "service.crt": &c.certFile, "service.key": &c.keyFile, "service.pem": &c.bothFile,
		"device-ca.crt": &c.deviceCAFile, "device.crt": &c.deviceCertFile, "device.key": &c.deviceKeyFile,
	} {
		*field = filepath.Join(dir, name)
	}
	ca, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "Bench Service CA"}, IsCA: true}, nil)
	if err != nil {
		return nil, err
	}
	service, err := issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: serviceName},
		DNSNames:    []string{serviceName},
		IPAddresses: addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca)
	if err != nil {
		return nil, err
	}
	deviceCA, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "Bench Device CA"}, IsCA: true}, nil)
	if err != nil {
		return nil, err
	}
	device, err := issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "bench-device"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, deviceCA)
	if err != nil {
		return nil, err
	}
	c.roots.AddCert(ca.cert)
	if c.device, err = tls.X509KeyPair(device.certPEM, device.keyPEM); err != nil {
		return nil, err
	}
	for file, data := range map[string][]byte{
		c.caFile: ca.certPEM, c.certFile: service.certPEM, c.keyFile: service.keyPEM,
		c.bothFile:     append(append([]byte{}, service.certPEM...), service.keyPEM...),
		c.deviceCAFile: deviceCA.certPEM, c.deviceCertFile: device.certPEM, c.deviceKeyFile: device.keyPEM,
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

type issued struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// issue signs template with parent, or with its own key when parent is nil.
func issue(template *x509.Certificate, parent *issued) (*issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour)
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.IsCA {
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), signerKey)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &issued{
		cert: cert, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
