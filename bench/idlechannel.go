//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Idle channels are measured with connection points as they are: what the gateway holds with some of the site's connection
// points connected, and again with all of them. Its PSS would not tell: the holes in a heap of some MiB, and what lies
// there until it is collected, are more than a dozen idle channels.
const (
	pointsOfSite = 16
	pointsFirst  = 4
)

// idleChannels starts further connection points at t's instance and shares what the gateway then holds more among
// their channel sets.
func idleChannels(ctx context.Context, l *lab, t *target, _ options) (result, error) {
	if t.point == nil {
		return result{}, errors.New("no further connection point can be started here")
	}
	var before float64
	begin := time.Now()
	commands := len(l.started)
	defer func() { end(l.started[commands:]); l.started = l.started[:commands] }()
	for n := 2; n <= pointsOfSite; n++ { // the first one runs
		socket, err := t.point(ctx, n)
		if err != nil {
			return result{}, err
		}
		if err := await(ctx, func() error { return connected(socket) }); err != nil {
			return result{}, fmt.Errorf("connection point %d: %w", n, err)
		}
		if n == pointsFirst {
			if before, err = l.liveKiB(ctx, t); err != nil {
				return result{}, err
			}
		}
	}
	after, err := l.liveKiB(ctx, t)
	if err != nil {
		return result{}, err
	}
	grown := after - before
	sets := float64(pointsOfSite - pointsFirst)
	return result{Requests: sets, Seconds: time.Since(begin).Seconds(), KBPerIdle: grown * 1.024 / sets}, nil
}

// stirring is how many device connections come and go before memory is read for idle channels. What they leave behind is
// enough to be collected when they are gone, and with it what starting left: a few channels are less than their garbage.
const stirring = 300

// liveKiB returns what t's gateway holds, heap and stacks, when it has just been collected.
func (l *lab) liveKiB(ctx context.Context, t *target) (float64, error) {
	d := l.dialingOf(t, false)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(handshakeWorkers)
	for range stirring {
		g.Go(func() error { _, err := oneRequest(gctx, d, 200); return err })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	restingPSS(ctx, t.gateway())
	live := countersOf(t.gatewayMetrics).live
	if live == 0 {
		return 0, errors.New("the gateway does not say what it holds")
	}
	return live / 1024, nil
}

// pointName is the name of a site's connection point in measurements.
func pointName(n int) string { return fmt.Sprintf("cp-%d", n) }

// startPoint exports connection point n of the site at state and starts it. It returns its socket, too.
func (l *lab) startPoint(ctx context.Context, state string, n int) (cmd *exec.Cmd, socket string, err error) {
	dir := filepath.Join(l.dir, "causeway-instance", pointName(n))
	if err := l.causewayCommand(ctx, "site", "export", "--state", state, "connection-point", pointName(n), dir); err != nil {
		return nil, "", err
	}
	cmd, err = l.run("causeway-"+pointName(n), l.causeway, "connection-point", "run", "--config", filepath.Join(dir, "config.yaml"))
	return cmd, filepath.Join(dir, "run.sock"), err
}

// connected reports what the connection point at socket still lacks of its connections.
func connected(socket string) error {
	var status struct {
		Channels []struct{ Connected, Wanted int }
	}
	if err := ask(socket, "/status", &status); err != nil {
		return err
	}
	for _, c := range status.Channels {
		if c.Wanted > 0 && c.Connected >= c.Wanted {
			return nil
		}
	}
	return fmt.Errorf("not connected yet: %v", status.Channels)
}
