package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/site"
)

// gatewayName names the one gateway of a site that `up` runs on one machine.
const gatewayName causeway.GatewayName = "gateway"

// The sample server is published twice: under its short name, and as the first management point.
const (
	sampleName   causeway.ServerName = "sample"
	sampleMPName causeway.ServerName = "sample-mp"
)

// longWait is how long devices may wait for a notification: as long as any rule may let them.
const longWait = policy.Duration(policy.MaxTimeout)

// sampleServers returns the publications of the sample server at an address.
func sampleServers(address string) []site.Server {
	u := (&url.URL{Scheme: "http", Host: address}).String()
	plain := site.Server{URL: u}
	plain.Name = sampleName
	plain.Rules = []policy.Rule{
		{Path: "/"},
		{Path: "/notifications", AnswerTimeout: longWait},
		{Path: "/events", IdleTimeout: longWait},
		{Path: "/echo", WebSocket: true},
	}
	mp := site.Server{URL: u}
	mp.Name, mp.ManagementPoint = sampleMPName, 1
	mp.Rules = []policy.Rule{{Path: "/"}, {Path: "/bgb", AnswerTimeout: longWait}}
	return []site.Server{plain, mp}
}

func isSample(name causeway.ServerName) bool { return name == sampleName || name == sampleMPName }

// by names who makes the changes that flags ask for.
func (u *upRun) by() string { return fmt.Sprintf("uid %d (causeway %s)", os.Geteuid(), u.command) }

// publishServers brings the store in line with the flags. What the flags name is added, or set if it is there; what
// was added while the site ran stays. The sample server is there while nothing else is.
func (u *upRun) publishServers(ctx context.Context) error {
	have, err := u.store.Servers(ctx)
	if err != nil {
		return err
	}
	for _, s := range u.asked {
		if err := u.publishServer(ctx, have, s); err != nil {
			return err
		}
	}
	if u.sample == nil {
		for _, s := range have {
			asked := slices.ContainsFunc(u.asked, func(a console.Published) bool { return a.Name == s.Name })
			if isSample(s.Name) && !asked {
				if err := u.store.RemoveServer(ctx, u.by(), s.Name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, s := range sampleServers(u.sample.Addr().String()) {
		if err := u.publishSample(ctx, have, s); err != nil {
			return err
		}
	}
	return nil
}

func (u *upRun) publishServer(ctx context.Context, have []site.Server, s console.Published) error {
	if err := checkServer(storedServer(s)); err != nil {
		return err
	}
	i := slices.IndexFunc(have, func(h site.Server) bool { return h.Name == s.Name })
	if i < 0 {
		return u.store.AddServer(ctx, u.by(), storedServer(s))
	}
	want := have[i] // rules and the like that were set while it ran stay
	want.URL, want.Host, want.CAs, want.ClientCertificate, want.ClientKey = s.URL, s.Host, s.CAs, s.ClientCertificate, s.ClientKey
	if sameServer(have[i], want) {
		return nil
	}
	_, err := u.store.SetServer(ctx, u.by(), s.Name, func(site.Server) (site.Server, error) { return want, nil })
	return err
}

func sameServer(a, b site.Server) bool {
	return a.URL == b.URL && a.Host == b.Host && a.CAs == b.CAs && a.ClientCertificate == b.ClientCertificate && a.ClientKey == b.ClientKey
}

// publishSample adds the sample server, or follows it to its address.
func (u *upRun) publishSample(ctx context.Context, have []site.Server, s site.Server) error {
	i := slices.IndexFunc(have, func(h site.Server) bool { return h.Name == s.Name })
	switch {
	case i < 0:
		return u.store.AddServer(ctx, u.by(), s)
	case have[i].URL == s.URL:
		return nil
	}
	_, err := u.store.SetServer(ctx, u.by(), s.Name, func(old site.Server) (site.Server, error) {
		old.URL = s.URL
		return old, nil
	})
	return err
}

// wantsSample reports whether the sample server is to run: nothing was asked for, and nothing else is published.
func (u *upRun) wantsSample(ctx context.Context) (bool, error) {
	if len(u.asked) > 0 {
		return false, nil
	}
	have, err := u.store.Servers(ctx)
	if err != nil {
		return false, err
	}
	if len(have) == 0 {
		return true, nil
	}
	return slices.ContainsFunc(have, func(s site.Server) bool { return isSample(s.Name) }), nil
}

// storedServer and publishedServer turn a server of the admin API into one of the store and back.
func storedServer(p console.Published) site.Server {
	return site.Server{Publication: p.Publication, URL: p.URL, CAs: p.CAs, ClientCertificate: p.ClientCertificate,
		ClientKey: p.ClientKey, HostHeader: p.HostHeader, IdentityForms: p.IdentityForms}
}

// checkServer asks what connection points will say. They judge a server again, and would refuse a whole document for one
// that they cannot serve.
func checkServer(s site.Server) error {
	if err := s.Signed().Check(); err != nil {
		return misuse{err}
	}
	return nil
}

func publishedServer(s site.Server) console.Published {
	return console.Published{Publication: s.Publication, URL: s.URL, CAs: s.CAs, ClientCertificate: s.ClientCertificate,
		ClientKey: s.ClientKey, HostHeader: s.HostHeader, IdentityForms: s.IdentityForms}
}

// putGateway notes the gateway with its instances in the store. A slot keeps its instance's id from start to start.
func (u *upRun) putGateway(ctx context.Context) error {
	g := site.Gateway{
		Name: gatewayName, ServiceName: u.plan.name(), ServicePort: u.plan.port, Address: u.plan.dialAddress().String(),
		Limits: u.plan.limits(),
	}
	u.trustService(&g)
	old, err := u.store.Gateways(ctx)
	if err != nil {
		return err
	}
	for n := range u.plan.instances {
		in := site.Instance{Slot: causeway.Slot(n), Name: "instance-" + strconv.Itoa(n), ChannelPort: causeway.Slot(n).ChannelPort()}
		if in.ID, err = u.instanceID(ctx, old, in.Slot); err != nil {
			return err
		}
		g.Instances = append(g.Instances, in)
	}
	u.gateway = g
	return u.store.PutGateway(ctx, u.by(), g)
}

// trustService says which service certificate connection points accept: one of the site's CA, or the very one that the
// administrator gave.
func (u *upRun) trustService(g *site.Gateway) {
	if u.plan.certificate == nil {
		g.ServiceCAs = [][]byte{u.store.SiteCA().Certificate.Raw}
	} else {
		g.ServiceCertificateSHA256 = []string{site.Thumbprint(u.plan.certificate.Leaf)}
	}
}

func (u *upRun) instanceID(ctx context.Context, old []site.Gateway, slot causeway.Slot) (causeway.InstanceID, error) {
	for _, g := range old {
		for _, in := range g.Instances {
			if g.Name == gatewayName && in.Slot == slot {
				return in.ID, nil
			}
		}
	}
	return u.store.NextInstanceID(ctx)
}

// putConnectionPoints admits the connection points that are asked for, and no others.
func (u *upRun) putConnectionPoints(ctx context.Context) error {
	have, err := u.store.ConnectionPoints(ctx)
	if err != nil {
		return err
	}
	for n := range u.plan.connectionPoints {
		cp, err := u.store.AddConnectionPoint(ctx, u.by(), causeway.ConnectionPointID("cp-"+strconv.Itoa(n+1)))
		if err != nil {
			return err
		}
		u.points = append(u.points, cp)
	}
	for _, cp := range have {
		if !slices.ContainsFunc(u.points, func(p site.ConnectionPoint) bool { return p.ID == cp.ID }) {
			if err := u.store.RemoveConnectionPoint(ctx, u.by(), cp.ID); err != nil {
				return err
			}
		}
	}
	warnOfLoad(u.log, u.plan.instances, len(u.points))
	return nil
}

// limits lifts the gateway's own bounds for measurements, where one device stands for thousands.
func (p *upPlan) limits() signed.Limits {
	if !p.unlimited {
		return signed.Limits{}
	}
	return signed.Limits{MaxConnections: many, MaxConnectionsPerSource: many, MaxInFlight: many,
		DeviceConcurrency: many, DeviceRatePerSecond: many, DeviceBurst: many}
}

func (p *upPlan) instanceLimits() gatewayLimits {
	if !p.unlimited {
		return gatewayLimits{}
	}
	return gatewayLimits{MaxHandshakes: many, MaxHandshakesPerSource: many, RefusalsPerSecond: many}
}

// many is more than any measurement needs, and what gateways take at most.
const many = 1 << 20

// newCredential makes the credential of the admin API for this run, in a file of its owner alone.
func (u *upRun) newCredential() error {
	u.credential = rand.Text()
	return writeFile(u.dir.adminToken(), []byte(u.credential+"\n"))
}

// externals returns where devices find each server, in the order of the servers.
func externals(g site.Gateway, servers []site.Server) ([]string, error) {
	pubs := make([]policy.Publication, len(servers))
	for i, s := range servers {
		pubs[i] = s.Publication
	}
	set, err := policy.Compile(g.ServiceName, g.ServicePort, pubs)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(servers))
	for i := range servers {
		host, prefix := set.External(i)
		out[i] = gatewayURL(host, g.ServicePort) + strings.TrimSuffix(prefix, "/") + "/"
	}
	return out, nil
}

// gatewayURL is https://host:port, without the port where it goes without saying.
func gatewayURL(host string, port int) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	if port != causeway.HTTPSPort {
		host += ":" + strconv.Itoa(port)
	}
	return "https://" + host
}
