package cli

import (
	"context"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/site"
)

// AddServer answers the admin API.
func (s *siteRun) AddServer(ctx context.Context, by string, p console.Published) (console.Change, error) {
	if err := s.checkHost(p.Host); err != nil {
		return console.Change{}, err
	}
	if err := checkServerName("NAME", string(p.Name)); err != nil {
		return console.Change{}, err
	}
	if err := s.store.AddServer(ctx, by, storedServer(p)); err != nil {
		return console.Change{}, err
	}
	return s.spread(ctx, p.Name)
}

// SetServer answers the admin API.
func (s *siteRun) SetServer(ctx context.Context, by string, name causeway.ServerName, c console.PublishedChange) (console.Change, error) {
	if c.Host != nil {
		if err := s.checkHost(*c.Host); err != nil {
			return console.Change{}, err
		}
	}
	_, err := s.store.SetServer(ctx, by, name, func(v site.Server) (site.Server, error) {
		p, err := c.Apply(publishedServer(v))
		return storedServer(p), err
	})
	if err != nil {
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
	if err := s.renew(ctx); err != nil {
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
