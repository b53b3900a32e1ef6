//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	openRate        = 500
	openConnections = 32
)

// company is what goes on beside an open loop.
type company int

const (
	quiet company = iota
	cappedBulk
	fullBulk
	stalledBulk
)

// openLoop sends requests when they are due, whether earlier ones were answered or not, and counts latency from the
// due time: a target that stalls cannot hide the requests it kept from being sent.
func openLoop(beside company) func(context.Context, *lab, *target, time.Duration) (result, error) {
	return func(ctx context.Context, l *lab, t *target, duration time.Duration) (result, error) {
		background, cancel := context.WithCancel(ctx)
		var carried atomic.Int64
		stopped := beside.start(background, l, t, &carried)
		defer func() { _ = stopped() }() // runs after cancel, and waits
		defer cancel()

		d := l.dialingOf(t, false)
		var clients []*client
		for range openConnections {
			c, err := d.dial(ctx)
			if err != nil {
				return result{}, err
			}
			defer c.close()
			clients = append(clients, c)
		}
		var next atomic.Int64
		total := int64(duration.Seconds() * openRate)
		times := make([]float64, total)
		carried.Store(0)
		begin := time.Now()
		var g errgroup.Group
		for _, c := range clients {
			g.Go(func() error {
				for i := next.Add(1) - 1; i < total && ctx.Err() == nil; i = next.Add(1) - 1 {
					due := begin.Add(time.Duration(i) * time.Second / openRate)
					time.Sleep(time.Until(due))
					if _, err := c.get("/files/1k", 200); err != nil {
						return err
					}
					times[i] = float64(time.Since(due)) / 1e6
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return result{}, err
		}
		took := time.Since(begin).Seconds()
		if err := stopped.errAfter(cancel); err != nil {
			return result{}, err
		}
		return result{
			Requests: float64(total), Seconds: took, P50: percentile(times, 50), P99: percentile(times, 99),
			MB: float64(total) * 1024 / 1e6, Background: float64(carried.Load()) / 1e6 / took,
		}, nil
	}
}

// waiter waits for the background to end and returns what broke it, every time it is called.
type waiter func() error

func (w waiter) errAfter(cancel func()) error {
	cancel()
	return w()
}

// start begins the company of an open loop; it goes on until ctx ends.
func (b company) start(ctx context.Context, l *lab, t *target, carried *atomic.Int64) waiter {
	streams, rate := 0, 0.0
	switch b {
	case cappedBulk:
		streams, rate = 8, 8e6
	case fullBulk:
		streams = 8
	case stalledBulk:
		streams = 4
	}
	var g errgroup.Group
	d := l.dialingOf(t, false)
	d.buffer = bulkBuffer
	for range streams {
		g.Go(func() error {
			if b == stalledBulk {
				return stalled(ctx, d)
			}
			return endless(ctx, d, rate, carried)
		})
	}
	return sync.OnceValue(g.Wait)
}

// endless downloads one file after the other until ctx ends.
func endless(ctx context.Context, d dialing, bytesPerSecond float64, carried *atomic.Int64) error {
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	c.r.Reset(counting{c.conn, carried})
	for ctx.Err() == nil {
		_, err := c.download(time.Now().Add(time.Hour), bytesPerSecond)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stalled starts a download and reads no more of it than its head.
func stalled(ctx context.Context, d dialing) error {
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.send("GET", "/files/64m", 0); err != nil {
		return err
	}
	if _, _, err := c.answer(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// counting adds what it reads to a sum.
type counting struct {
	io.Reader
	sum *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.sum.Add(int64(n))
	return n, err
}
