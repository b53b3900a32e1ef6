package cli

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/causeway-gateway/causeway"
)

// defaultConnectionPoint is the name of the connection point of a site that was told none.
const defaultConnectionPoint = "cp-1"

// A sitePlan is what the flags of `site run` ask for. What it shares with `up` is checked as `up` does it.
type sitePlan struct {
	upPlan
	gatewayAddresses []string
	pointNames       []string

	places []place // where connection points dial the instances, by slot
}

// A place is where connection points dial an instance.
type place struct {
	host string
	port int
}

// host is the gateway's address. Instances on other hosts have addresses of their own.
func (p *sitePlan) host() string {
	if len(p.places) == 0 {
		return ""
	}
	return p.places[0].host
}

// hosts are all addresses of the gateway, each once.
func (p *sitePlan) hosts() (hosts []string) {
	for _, at := range p.places {
		if !slices.Contains(hosts, at.host) {
			hosts = append(hosts, at.host)
		}
	}
	return hosts
}

func (p *sitePlan) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.gatewayAddresses, "gateway-address", nil,
		"where connection points reach a gateway instance, as `HOST[:PORT]` (default port 10124 plus its slot); repeated, the first is slot 0, the next slot 1, on the same host or another")
	f.StringVar(&p.serviceName, "service-name", "", "`FQDN` that devices use (default: HOST of the gateway's address)")
	f.IntVar(&p.port, "port", causeway.HTTPSPort, "port that devices use")
	f.StringArrayVar(&p.pointNames, "connection-point", nil, "admit the connection point of this `NAME`; may be repeated (default cp-1)")
	f.StringArrayVar(&p.publish, "publish", nil,
		"publish a server as `NAME=URL`[,ca=FILE][,client-cert=FILE,client-key=FILE]; may be repeated")
	f.StringArrayVar(&p.publishHost, "publish-host", nil, "publish a server by host name, as `FQDN=URL`; may be repeated")
	f.StringVar(&p.certFile, "cert", "", "service certificate with its chain, `PEM` (default: issued by the site's own CA)")
	f.StringVar(&p.keyFile, "key", "", "key of --cert, `PEM`")
	f.StringArrayVar(&p.deviceCAFiles, "device-ca", nil, "admit device certificates of this CA, `PEM`; may be repeated")
	p.hiddenFlags(f)
}

// check reads and judges everything that can be judged without starting anything. It returns all faults at once.
func (p *sitePlan) check(now time.Time) error {
	err := errors.Join(p.checkGateway(), p.checkConnectionPoints(), p.checkServers(), p.checkDeviceCAs(now))
	return errors.Join(err, p.checkCertificate(now)) // last: it looks at the names above
}

func (p *sitePlan) checkGateway() error {
	var errs []error
	p.places = nil
	if p.port < 1 || p.port > 65535 {
		errs = append(errs, badFlag("choose a port from 1 to 65535", "--port %d does not exist", p.port))
	}
	switch n := len(p.gatewayAddresses); {
	case n == 0:
		errs = append(errs, badFlag("add --gateway-address HOST, the name or address of the gateway's host", "--gateway-address is missing"))
	case n > causeway.MaxSlots:
		errs = append(errs, badFlag("a gateway has at most 16 instances", "--gateway-address is given %d times", n))
	}
	for n, text := range p.gatewayAddresses {
		errs = append(errs, p.addGateway(n, text))
	}
	p.instances = len(p.places)
	return errors.Join(append(errs, p.checkServiceName())...)
}

func (p *sitePlan) addGateway(n int, text string) error {
	host, port, err := parseGatewayAddress(text, causeway.Slot(n).ChannelPort())
	if err != nil {
		return err
	}
	at := place{host, port}
	switch {
	case slices.Contains(p.places, at):
		return badFlag("give each instance a host or a port of its own", "--gateway-address %s: port %d of %s is used twice", text, port, host)
	case port == p.port:
		return badFlag("choose another port for the channels", "--gateway-address %s: port %d is that of the devices", text, port)
	}
	p.places = append(p.places, at)
	return nil
}

// parseGatewayAddress reads HOST[:PORT]; an IPv6 address with a port stands in brackets, and one without may, as in URLs.
func parseGatewayAddress(text string, defaultPort int) (host string, port int, err error) {
	const form = "write it as HOST or HOST:PORT, with a port from 1 to 65535: gateway.example.com, 203.0.113.7:10124, [2001:db8::1]:10124"
	if ip, ok := strings.CutPrefix(text, "["); ok {
		if ip, ok = strings.CutSuffix(ip, "]"); ok && strings.Contains(ip, ":") {
			text = ip
		}
	}
	host, port = text, defaultPort
	if _, err := netip.ParseAddr(text); err != nil && strings.Contains(text, ":") {
		h, digits, err := net.SplitHostPort(text)
		n, errPort := strconv.Atoi(digits)
		if err != nil || errPort != nil || n < 1 || n > 65535 {
			return "", 0, badFlag(form, "--gateway-address %q is not a host with a port", text)
		}
		host, port = h, n
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return "", 0, badFlag(form, "--gateway-address %s: %s cannot be dialled", text, host)
		}
		return ip.String(), port, nil
	}
	host, err = checkHostName("--gateway-address", host)
	return host, port, err
}

func (p *sitePlan) checkServiceName() (err error) {
	if hosts := p.hosts(); p.serviceName == "" && len(hosts) > 1 {
		return badFlag("add --service-name FQDN, the name that leads devices to all of them",
			"--gateway-address %s and %s: which of them devices call is not known", hosts[0], hosts[1])
	}
	if p.serviceName == "" {
		p.serviceName = p.host()
		return nil
	}
	p.serviceName, err = checkHostName("--service-name", p.serviceName)
	return err
}

func (p *sitePlan) checkConnectionPoints() error {
	if len(p.pointNames) == 0 {
		p.pointNames = []string{defaultConnectionPoint}
	}
	var errs []error
	if len(p.pointNames) > maxConnectionPoints {
		errs = append(errs, badFlag("a site has at most 16 connection points", "--connection-point is given %d times", len(p.pointNames)))
	}
	for i, name := range p.pointNames {
		switch {
		case name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			errs = append(errs, badFlag("use 1 to 64 lower-case letters, digits and hyphens", "--connection-point: name %q is not allowed", name))
		case slices.Contains(p.pointNames[:i], name):
			errs = append(errs, badFlag("give each connection point a name of its own", "--connection-point: name %q is used twice", name))
		}
	}
	return errors.Join(errs...)
}
