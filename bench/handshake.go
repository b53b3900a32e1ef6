//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const handshakeWorkers = 16

// handshakes opens a connection for every request. A device without a certificate gets 403 from every target: all of
// them ask for one at that address, and none brings such a request to a server.
func handshakes(certificate, resume bool) func(context.Context, *lab, *target, time.Duration) (result, error) {
	return func(ctx context.Context, l *lab, t *target, duration time.Duration) (result, error) {
		d, want := l.dialingOf(t, true), 200
		if !certificate {
			d, want = l.refusingOf(t), 403
		}
		var mu sync.Mutex
		var times []float64
		var fresh atomic.Int64
		begin := time.Now()
		g, ctx := errgroup.WithContext(ctx)
		for range handshakeWorkers {
			g.Go(func() error {
				own := d
				own.config = d.config.Clone()
				if resume {
					own.config.SessionTicketsDisabled = false
					own.config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
				var mine []float64
				for time.Since(begin) < duration && ctx.Err() == nil {
					start := time.Now()
					resumed, err := oneRequest(ctx, own, want)
					if err != nil {
						return err
					}
					if !resumed {
						fresh.Add(1)
					}
					mine = append(mine, float64(time.Since(start))/1e6)
				}
				mu.Lock()
				defer mu.Unlock()
				times = append(times, mine...)
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return result{}, err
		}
		if n := float64(fresh.Load()); resume && n > float64(len(times))/10 {
			return result{}, errNotResumed(n / float64(len(times)))
		}
		n := float64(len(times))
		return result{Requests: n, Seconds: time.Since(begin).Seconds(), P50: percentile(times, 50), P99: percentile(times, 99), MB: n * 1024 / 1e6}, nil
	}
}

// oneRequest is a whole life of a connection.
func oneRequest(ctx context.Context, d dialing, want int) (resumed bool, err error) {
	c, err := d.dial(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	if _, err := c.get("/files/1k", want); err != nil {
		return false, err
	}
	return c.conn.(*tls.Conn).ConnectionState().DidResume, nil
}
