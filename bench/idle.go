//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
)

// errNotResumed says which share of the sessions that should have been resumed was not.
type errNotResumed float64

func (e errNotResumed) Error() string {
	return fmt.Sprintf("%.0f %% of the sessions were not resumed", float64(e)*100)
}

// Memory counts once it has come to rest: when it moved by less than settled between readings a second apart, three
// times in a row, after settleLeast, and after settleMost in any case.
const (
	settled     = 0.005
	settleLeast = 5 * time.Second
	settleMost  = 30 * time.Second
)

// restingPSS waits until the memory of pids has come to rest and returns it in KiB.
func restingPSS(ctx context.Context, pids []int) float64 {
	begin := time.Now()
	pss := pssKiB(pids)
	for calm := 0; ; {
		select {
		case <-ctx.Done():
			return pss
		case <-time.After(time.Second):
		}
		now := pssKiB(pids)
		if calm++; math.Abs(now-pss) > settled*pss {
			calm = 0
		}
		pss = now
		if took := time.Since(begin); calm >= 3 && took >= settleLeast || took >= settleMost {
			return pss
		}
	}
}

// idleConnections opens connections, asks once on each, and shares the growth of the gateway's memory among them.
func idleConnections(ctx context.Context, l *lab, t *target, o options) (result, error) {
	d := l.dialingOf(t, false)
	before := restingPSS(ctx, t.gateway())
	clients := make([]*client, o.idle)
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
	grown := restingPSS(ctx, t.gateway()) - before
	return result{Requests: float64(o.idle), Seconds: took, KBPerIdle: grown * 1.024 / float64(o.idle)}, nil
}
