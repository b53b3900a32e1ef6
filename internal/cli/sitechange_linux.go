package cli

import (
	"context"
	"errors"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
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

// spread brings a change to everybody and says how far it got.
func (s *siteRun) spread(ctx context.Context, name causeway.ServerName) (console.Change, error) {
	if err := errors.Join(s.writeCertificates(ctx), s.publish(ctx)); err != nil {
		return console.Change{}, err
	}
	c := console.Change{Generation: s.generationNow()}
	c.Instances, c.Applied = s.waitSpread(ctx, c.Generation)
	if err := s.refreshReady(ctx); err != nil {
		s.log.Warn("ready.json was not written", "err", err)
	}
	all, err := s.Servers(ctx)
	if err != nil {
		return c, err
	}
	for _, p := range all {
		if p.Name == name {
			c.Server = p
		}
	}
	c.Server.Name = name
	return c, nil
}
