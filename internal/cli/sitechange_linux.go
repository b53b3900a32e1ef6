package cli

import (
	"context"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/identity"
)

// AddServer answers the admin API.
func (s *siteRun) AddServer(ctx context.Context, by string, p console.Published) (console.Change, error) {
	if err := s.addServer(ctx, by, p); err != nil {
		return console.Change{}, err
	}
	return s.spread(ctx, p.Name)
}

// SetServer answers the admin API.
func (s *siteRun) SetServer(ctx context.Context, by string, name causeway.ServerName, c console.PublishedChange) (console.Change, error) {
	if err := s.setServer(ctx, by, name, c); err != nil {
		return console.Change{}, err
	}
	return s.spread(ctx, name)
}

// RemoveServer answers the admin API.
func (s *siteRun) RemoveServer(ctx context.Context, by string, name causeway.ServerName) (console.Change, error) {
	if err := s.store.RemoveServer(ctx, by, name); err != nil {
		return console.Change{}, err
	}
	return s.spread(ctx, name)
}

// spread brings a change of a server to everybody and says how far it got.
func (s *siteRun) spread(ctx context.Context, name causeway.ServerName) (console.Change, error) {
	if err := s.writeCertificates(ctx); err != nil {
		return console.Change{}, err
	}
	c, err := s.spreadDocuments(ctx)
	if err != nil {
		return c, err
	}
	return s.changedServer(ctx, c, name)
}

// spreadDocuments signs the documents anew, brings them to everybody and says how far they got.
func (s *siteRun) spreadDocuments(ctx context.Context) (c console.Change, err error) {
	if err := s.publish(ctx); err != nil {
		return c, err
	}
	c.Generation = s.generationNow()
	seen, applied := s.waitSpread(ctx, c.Generation)
	c.Instances, c.Applied = len(s.gateway.Instances), applied
	if seen == 0 {
		c.Note = "no connection point of this host has a channel to the gateway, which gets the change with the next one"
	}
	return c, nil
}

// BlockDevice answers the admin API.
func (s *siteRun) BlockDevice(ctx context.Context, by string, b identity.Block, reason string) (console.Change, error) {
	if err := s.store.Block(ctx, by, b, reason); err != nil {
		return console.Change{}, err
	}
	return s.spreadDocuments(ctx)
}

// UnblockDevice answers the admin API.
func (s *siteRun) UnblockDevice(ctx context.Context, by string, b identity.Block) (console.Change, error) {
	if err := s.store.Unblock(ctx, by, b); err != nil {
		return console.Change{}, err
	}
	return s.spreadDocuments(ctx)
}
