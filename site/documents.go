package site

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/signed"
)

// Documents are what the site tells everybody, signed, all of one generation.
type Documents struct {
	Generation      uint64
	Gateways        map[causeway.GatewayName][]byte // signed.GatewayDocument
	ConnectionPoint []byte                          // signed.ConnectionPointDocument
}

// Documents renders and signs the documents as the store stands now. Each call takes a new generation, which is
// stored before anything is signed with it.
func (s *Store) Documents(ctx context.Context) (Documents, error) {
	var c contents
	var generation uint64
	err := s.transact(ctx, func(tx *sql.Tx) (err error) {
		if generation, err = s.count(ctx, tx, settingGeneration); err != nil {
			return err
		}
		c, err = s.contents(ctx, tx)
		return err
	})
	if err != nil {
		return Documents{}, err
	}
	return s.sign(c, generation)
}

// contents is everything that goes into the documents.
type contents struct {
	servers   []Server
	gateways  []Gateway
	points    []ConnectionPoint
	deviceCAs []DeviceCA
	blocks    []Block
}

func (s *Store) contents(ctx context.Context, tx *sql.Tx) (c contents, err error) {
	var errs [5]error
	c.servers, errs[0] = s.servers(ctx, tx)
	c.gateways, errs[1] = s.gateways(ctx, tx)
	c.points, errs[2] = s.connectionPoints(ctx, tx)
	c.deviceCAs, errs[3] = s.deviceCAs(ctx, tx)
	c.blocks, errs[4] = s.blocks(ctx, tx)
	return c, errors.Join(errs[:]...)
}

func (s *Store) sign(c contents, generation uint64) (Documents, error) {
	// What nobody could obey is not signed: gateways would refuse it whole, and this way the operator hears of it.
	if _, err := identity.NewVerifier(s.trust(c)); err != nil {
		return Documents{}, fmt.Errorf("device trust: %w", err)
	}
	issued := s.now()
	until := issued.Add(causeway.DocumentValidity)
	out := Documents{Generation: generation, Gateways: map[causeway.GatewayName][]byte{}}
	for _, g := range c.gateways {
		raw, err := signed.Seal(signed.KindGateway, signed.FormatGateway, generation, issued, until, s.gatewayDocument(c, g), s.key)
		if err != nil {
			return Documents{}, err
		}
		out.Gateways[g.Name] = raw
	}
	var err error
	out.ConnectionPoint, err = signed.Seal(signed.KindConnectionPoint, signed.FormatConnectionPoint, generation, issued, until, s.connectionPointDocument(c), s.key)
	return out, err
}

// siteDeviceCA is the name under which the site's own device authority appears.
const siteDeviceCA = "site"

func (s *Store) trust(c contents) identity.Trust {
	t := identity.Trust{CAs: []identity.CA{{Name: siteDeviceCA, Certificate: s.deviceCA.Certificate.Raw}}}
	for _, ca := range c.deviceCAs {
		t.CAs = append(t.CAs, identity.CA{Name: ca.Name, Certificate: ca.Certificate.Raw, Intermediate: issuedAmong(ca, c.deviceCAs)})
	}
	for _, b := range c.blocks {
		t.Blocked = append(t.Blocked, b.Block)
	}
	return t
}

// issuedAmong reports whether another authority of the list issued ca, which then only helps to complete chains. An
// issuing authority that was given without its root is trusted by itself.
func issuedAmong(ca DeviceCA, all []DeviceCA) bool {
	return slices.ContainsFunc(all, func(o DeviceCA) bool {
		return !o.Certificate.Equal(ca.Certificate) && ca.Certificate.CheckSignatureFrom(o.Certificate) == nil
	})
}

func (s *Store) gatewayDocument(c contents, g Gateway) signed.GatewayDocument {
	d := signed.GatewayDocument{
		Site: s.id, Gateway: g.Name, ServiceName: g.ServiceName, ServicePort: g.ServicePort, DeviceTrust: s.trust(c),
		SiteCAs: [][]byte{s.siteCA.Certificate.Raw}, Publications: publications(c.servers), Limits: g.Limits,
	}
	for _, p := range c.points {
		d.ConnectionPoints = append(d.ConnectionPoints, signed.ConnectionPoint{ID: p.ID, ConnectionID: p.ConnectionID})
	}
	for _, i := range g.Instances {
		d.Instances = append(d.Instances, signed.Instance{Slot: i.Slot, ID: i.ID, Name: i.Name, PrivateAddress: i.PrivateAddress})
	}
	return d
}

func (s *Store) connectionPointDocument(c contents) signed.ConnectionPointDocument {
	d := signed.ConnectionPointDocument{Site: s.id, DeviceTrust: s.trust(c), Publications: publications(c.servers)}
	for _, g := range c.gateways {
		sg := signed.Gateway{Name: g.Name, ServiceName: g.ServiceName, ServicePort: g.ServicePort, Address: g.Address,
			ServiceCAs: g.ServiceCAs, ServiceCertificateSHA256: g.ServiceCertificateSHA256}
		for _, i := range g.Instances {
			sg.Instances = append(sg.Instances, signed.GatewayInstance{Slot: i.Slot, ID: i.ID, Address: i.Address, ChannelPort: i.ChannelPort})
		}
		d.Gateways = append(d.Gateways, sg)
	}
	for _, v := range c.servers {
		d.Servers = append(d.Servers, v.Signed())
	}
	return d
}
