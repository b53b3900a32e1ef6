package connpoint

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// requestLimits bound the head that comes from a gateway, which may be a little longer than what the device sent.
var requestLimits = http1.Limits{MaxHeadBytes: 32 << 10, MaxFields: 128}

// A config is one signed document, compiled. It does not change; a newer document makes a new one.
type config struct {
	header   signed.Header
	gateways []signed.Gateway
	trust    *trust
	targets  []*target // one for each publication
	routes   map[causeway.GatewayName]*route
}

// A route is what requests from one gateway can lead to. Gateways differ in their names outside only.
type route struct {
	set     *policy.Set
	targets []*target // by index of the publication
	outside []outside // likewise
	traffic []*traffic
}

// newConfig compiles a document. Servers that are defined as before keep their connections. One bad part makes the
// whole document an error.
func newConfig(h signed.Header, d *signed.ConnectionPointDocument, before *config, counts *trafficBook) (*config, error) {
	verifier, err := identity.NewVerifier(d.DeviceTrust)
	if err != nil {
		return nil, fmt.Errorf("device trust: %w", err)
	}
	c := &config{header: h, gateways: d.Gateways, trust: &trust{verifier}, routes: make(map[causeway.GatewayName]*route)}
	if c.targets, err = newTargets(d, before); err != nil {
		return nil, err
	}
	for _, g := range d.Gateways {
		if err := checkGateway(g); err != nil {
			return nil, fmt.Errorf("gateway %q: %w", g.Name, err)
		}
		if c.routes[g.Name] != nil {
			return nil, fmt.Errorf("gateway %q stands twice", g.Name)
		}
		if c.routes[g.Name], err = newRoute(g, d.Publications, c.targets, counts); err != nil {
			return nil, fmt.Errorf("gateway %q: %w", g.Name, err)
		}
	}
	return c, nil
}

func newTargets(d *signed.ConnectionPointDocument, before *config) ([]*target, error) {
	byName := make(map[causeway.ServerName]signed.Server, len(d.Servers))
	for _, s := range d.Servers {
		if _, twice := byName[s.Name]; twice {
			return nil, fmt.Errorf("server %q stands twice", s.Name)
		}
		byName[s.Name] = s
	}
	targets := make([]*target, len(d.Publications))
	for i, p := range d.Publications {
		s, ok := byName[p.Name]
		if !ok {
			return nil, fmt.Errorf("publication %q has no server", p.Name)
		}
		maxOpen := maxOpenFor(p)
		if targets[i] = before.sameTarget(s, maxOpen); targets[i] != nil {
			continue
		}
		var err error
		if targets[i], err = newTarget(s, maxOpen); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// maxOpenFor is how many connections to one server there may be: every request in flight needs one.
func maxOpenFor(p policy.Publication) int {
	switch {
	case p.MaxInFlight == 0:
		return policy.DefaultMaxInFlight
	case p.MaxInFlight < 0:
		return maxServerOpen
	}
	return min(p.MaxInFlight, maxServerOpen)
}

// sameTarget returns the target that reaches s in the same way already.
func (c *config) sameTarget(s signed.Server, maxOpen int) *target {
	if c == nil {
		return nil
	}
	for _, t := range c.targets {
		if sameServer(t.server, s) && t.pool.maxOpen == maxOpen {
			return t
		}
	}
	return nil
}

// retire closes the connections of targets that c no longer uses.
func (c *config) retire(before *config) {
	if before == nil {
		return
	}
	for _, t := range before.targets {
		if !slices.Contains(c.targets, t) {
			t.pool.close()
		}
	}
}

func (c *config) close() {
	for _, t := range c.targets {
		t.pool.close()
	}
}

func checkGateway(g signed.Gateway) error {
	switch {
	case g.Name == "":
		return errors.New("it has no name")
	case g.Address == "":
		return errors.New("it has no address")
	case g.ServiceName == "":
		return errors.New("it has no service name")
	case len(g.ServiceCAs) == 0 && len(g.ServiceCertificateSHA256) == 0:
		return errors.New("it has neither CAs nor pins for the service certificate")
	}
	seen := make(map[causeway.Slot]bool)
	for _, i := range g.Instances {
		switch {
		case !i.Slot.Valid():
			return fmt.Errorf("slot %d is not one of 0 to %d", i.Slot, causeway.MaxSlots-1)
		case seen[i.Slot]:
			return fmt.Errorf("slot %d stands twice", i.Slot)
		case i.ChannelPort < 1 || i.ChannelPort > 65535:
			return fmt.Errorf("slot %d: channel port %d", i.Slot, i.ChannelPort)
		case i.ID == "":
			return fmt.Errorf("slot %d: the instance has no id", i.Slot)
		}
		seen[i.Slot] = true
	}
	_, err := newServiceTrust(g)
	return err
}

func newRoute(g signed.Gateway, pubs []policy.Publication, targets []*target, counts *trafficBook) (*route, error) {
	set, err := policy.Compile(g.ServiceName, g.ServicePort, pubs)
	if err != nil {
		return nil, err
	}
	r := &route{set: set, targets: targets, outside: make([]outside, len(pubs)), traffic: make([]*traffic, len(pubs))}
	for i, p := range pubs {
		host, prefix := set.External(i)
		authority := host
		if g.ServicePort != 443 && g.ServicePort != 0 {
			authority += ":" + strconv.Itoa(g.ServicePort)
		}
		r.outside[i] = outside{
			authority: []byte(authority), host: strings.Trim(strings.ToLower(host), "[]"),
			prefix: []byte(strings.TrimRight(prefix, "/")),
		}
		r.traffic[i] = counts.endpoint(p.Name)
	}
	return r, nil
}

// insideHost reports whether a host is that of a published server.
func (r *route) insideHost(host string) bool {
	return slices.ContainsFunc(r.targets, func(t *target) bool { return t.place.host == host }) && !r.ownHost(host)
}

// ownHost reports whether a host is a name that devices call.
func (r *route) ownHost(host string) bool {
	return slices.ContainsFunc(r.outside, func(o outside) bool { return o.host == host })
}
