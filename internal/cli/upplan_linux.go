package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/gateway"
)

// Defaults and bounds of up. Every one of them stands in its help.
const (
	defaultListen           = "127.0.0.1"
	defaultPort             = 8443
	defaultInstances        = 2
	defaultConnectionPoints = 1
	maxConnectionPoints     = 16
)

// An upPlan is what the flags of up ask for. check fills the second half without touching anything.
type upPlan struct {
	publish          []string
	publishHost      []string
	instances        int
	connectionPoints int
	serviceName      string
	certFile         string
	keyFile          string
	deviceCAFiles    []string
	listen           string
	port             int
	memoryBudget     memorySize // of each instance and connection point
	unlimited        bool
	lookEvery        time.Duration // at the files of --cert and --key

	servers     []published
	address     netip.Addr
	certificate *tls.Certificate // nil: the site's CA issues one
	deviceCAs   []deviceCA
}

// A deviceCA is a certificate authority of the organisation's own.
type deviceCA struct {
	file        string
	certificate *x509.Certificate
}

func (p *upPlan) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.publish, "publish", nil,
		"publish a server as `NAME=URL`[,ca=FILE][,client-cert=FILE,client-key=FILE]; may be repeated (default: a sample server)")
	f.StringArrayVar(&p.publishHost, "publish-host", nil, "publish a server by host name, as `FQDN=URL`; may be repeated")
	f.IntVar(&p.instances, "instances", defaultInstances, "gateway instances, 1 to 16")
	f.IntVar(&p.connectionPoints, "connection-points", defaultConnectionPoints, "connection points, 1 to 16")
	budgetFlag(f, &p.memoryBudget, "each gateway instance and connection point")
	f.StringVar(&p.serviceName, "service-name", "", "`FQDN` that devices use (default: the listen address)")
	f.StringVar(&p.certFile, "cert", "", "service certificate with its chain, `PEM` (default: issued by the site's own CA)")
	f.StringVar(&p.keyFile, "key", "", "key of --cert, `PEM`")
	f.StringArrayVar(&p.deviceCAFiles, "device-ca", nil, "admit device certificates of this CA, `PEM`; may be repeated")
	f.StringVar(&p.listen, "listen", defaultListen, "`IP` to listen on")
	f.IntVar(&p.port, "port", defaultPort, "port that devices use")
	f.DurationVar(&p.lookEvery, "look-every", time.Minute, "how often to look for a new certificate in --cert and --key")
	_ = f.MarkHidden("look-every")
	p.hiddenFlags(f)
}

// hiddenFlags are for measurements, where one device stands for thousands.
func (p *upPlan) hiddenFlags(f *pflag.FlagSet) {
	f.BoolVar(&p.unlimited, "limits-off", false, "lift the gateway's own bounds per device and source")
	_ = f.MarkHidden("limits-off")
}

// check reads and judges everything that can be judged without starting anything. It returns all faults at once.
func (p *upPlan) check(now time.Time) error {
	return errors.Join(p.checkCounts(), p.checkAddress(), p.checkServers(), p.checkCertificate(now), p.checkDeviceCAs(now))
}

func (p *upPlan) checkCounts() error {
	var errs []error
	if p.lookEvery < 10*time.Millisecond {
		errs = append(errs, badFlag("choose 10ms or more", "--look-every %v is out of range", p.lookEvery))
	}
	if p.instances < 1 || p.instances > causeway.MaxSlots {
		errs = append(errs, badFlag("choose a number from 1 to 16", "--instances %d is out of range", p.instances))
	}
	if p.connectionPoints < 1 || p.connectionPoints > maxConnectionPoints {
		errs = append(errs, badFlag("choose a number from 1 to 16", "--connection-points %d is out of range", p.connectionPoints))
	}
	if p.port < 1 || p.port > 65535 {
		errs = append(errs, badFlag("choose a port from 1 to 65535", "--port %d does not exist", p.port))
	} else if p.port >= causeway.ChannelPortBase && p.port < causeway.ChannelPortBase+causeway.MaxSlots {
		errs = append(errs, badFlag("choose a port outside 10124-10139", "--port %d is needed for the channels", p.port))
	}
	return errors.Join(errs...)
}

func (p *upPlan) checkAddress() error {
	var err error
	if p.address, err = netip.ParseAddr(p.listen); err != nil || p.address.Zone() != "" {
		return badFlag("give an IP address of this machine, 0.0.0.0 for all", "--listen %q is not an IP address", p.listen)
	}
	if p.serviceName == "" && p.address.IsUnspecified() {
		return badFlag("add --service-name FQDN", "--listen %s needs the name that devices use", p.listen)
	}
	if p.serviceName != "" {
		if p.serviceName, err = checkHostName("--service-name", p.serviceName); err != nil {
			return err
		}
	}
	return nil
}

func (p *upPlan) checkServers() error {
	var errs []error
	seen := map[string]string{}
	p.servers = nil
	add := func(text string, s published, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		if first, twice := seen[string(s.Name)]; twice {
			errs = append(errs, badFlag("give each server a name of its own", "name %q is used twice: %s and %s", s.Name, first, text))
			return
		}
		seen[string(s.Name)] = text
		p.servers = append(p.servers, s)
	}
	for _, text := range p.publish {
		s, err := parsePublished("--publish", text)
		add(text, s, err)
	}
	for _, text := range p.publishHost {
		s, err := parsePublishedHost("--publish-host", text)
		if err == nil && s.Host == p.serviceName {
			err = badFlag("publish it under a host name of its own", "--publish-host %s is the service name itself", s.Host)
		}
		add(text, s, err)
	}
	return errors.Join(errs...)
}

// checkCertificate reads the service certificate and checks that devices would accept it.
func (p *upPlan) checkCertificate(now time.Time) error {
	p.certificate = nil
	switch {
	case p.certFile == "" && p.keyFile == "":
		return nil
	case p.certFile == "" || p.keyFile == "":
		return badFlag("give both --cert PEM and --key PEM", "a certificate and its key come together")
	case p.serviceName == "":
		return badFlag("add --service-name with a name that the certificate holds", "--cert needs --service-name")
	}
	pair, err := loadKeyPair(p.certFile, p.keyFile)
	if err != nil {
		return err
	}
	leaf := pair.Leaf
	if err := gateway.CheckServiceCertificate(leaf); err != nil {
		return badFlag("use a certificate for TLS servers", "--cert %s: %v", p.certFile, err)
	}
	if err := leaf.VerifyHostname(p.serviceName); err != nil {
		return badFlag("use a certificate for that name, or another --service-name",
			"--cert %s is not for %s: it names %v", p.certFile, p.serviceName, leaf.DNSNames)
	}
	switch {
	case now.Before(leaf.NotBefore):
		return badFlag("wait, or correct this machine's clock", "--cert %s is not valid before %s", p.certFile, leaf.NotBefore.UTC().Format(time.DateTime))
	case now.After(leaf.NotAfter):
		return badFlag("renew the certificate", "--cert %s expired at %s", p.certFile, leaf.NotAfter.UTC().Format(time.DateTime))
	}
	for _, s := range p.servers {
		if s.Host != "" && leaf.VerifyHostname(s.Host) != nil {
			return badFlag("use a certificate that holds both names", "--publish-host %s is not in --cert %s: it names %v", s.Host, p.certFile, leaf.DNSNames)
		}
	}
	p.certificate = &pair
	return nil
}

func loadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, badFlag("give a PEM file that you may read", "--cert: %v", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, badFlag("give a PEM file that you may read", "--key: %v", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, badFlag("give the certificate (leaf first, then its chain) and the key that belongs to it, both as PEM without a password",
			"--cert %s and --key %s do not go together: %v", certFile, keyFile, err)
	}
	return pair, nil
}

func (p *upPlan) checkDeviceCAs(now time.Time) error {
	var errs []error
	p.deviceCAs = nil
	for _, file := range p.deviceCAFiles {
		cas, err := readDeviceCAs(file, now)
		if err != nil {
			errs = append(errs, badFlag("give the PEM file of a CA that issues device certificates", "--device-ca %s: %v", file, err))
		}
		p.deviceCAs = append(p.deviceCAs, cas...)
	}
	return errors.Join(errs...)
}

// readDeviceCAs reads every certificate of a file; all must be CAs that are valid now.
func readDeviceCAs(file string, now time.Time) (cas []deviceCA, err error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a %q, which does not belong here", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, err
		case !cert.IsCA || !cert.BasicConstraintsValid:
			return nil, fmt.Errorf("%s is not a CA", cert.Subject)
		case now.After(cert.NotAfter):
			return nil, fmt.Errorf("%s expired at %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateTime))
		}
		cas = append(cas, deviceCA{file, cert})
	}
	if len(cas) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return cas, nil
}

// name is what devices call the service.
func (p *upPlan) name() string {
	if p.serviceName != "" {
		return p.serviceName
	}
	return p.address.String()
}

// dialAddress is where connection points and this machine's own requests reach the front end.
func (p *upPlan) dialAddress() netip.Addr {
	switch {
	case p.address == netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case p.address.IsUnspecified():
		return netip.IPv6Loopback()
	}
	return p.address
}
