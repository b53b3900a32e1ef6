//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// errNotResumed says which share of the sessions that should have been resumed was not.
type errNotResumed float64

func (e errNotResumed) Error() string {
	return fmt.Sprintf("%.0f %% of the sessions were not resumed", float64(e)*100)
}

// settle is how long memory is given to come to rest before it is read.
const settle = 3 * time.Second

// idle opens n connections, asks once on each, and shares the growth of the gateway's memory among them.
func idle(n int) func(context.Context, *lab, *target, time.Duration) (result, error) {
	return func(ctx context.Context, l *lab, t *target, _ time.Duration) (result, error) {
		d := l.dialingOf(t, false)
		time.Sleep(settle)
		before := pssKiB(t.gateway())
		clients := make([]*client, n)
		defer func() {
			for _, c := range clients {
				if c != nil {
					c.close()
				}
			}
		}()
		begin := time.Now()
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(16)
		for i := range clients {
			g.Go(func() (err error) {
				if clients[i], err = d.dial(gctx); err != nil {
					return err
				}
				_, err = clients[i].get("/files/1k", 200)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return result{}, err
		}
		took := time.Since(begin).Seconds()
		time.Sleep(settle)
		grown := pssKiB(t.gateway()) - before
		return result{Requests: float64(n), Seconds: took, KBPerIdle: grown * 1.024 / float64(n)}, nil
	}
}
