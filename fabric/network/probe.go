package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// A Probe is how the balancer finds out whether an instance may get new connections. The zero value asks for / by
// HTTP once a second.
type Probe struct {
	// TCP only looks whether the instance takes a connection and ends it when we do; otherwise Path must answer 200.
	TCP  bool
	Path string // zero means "/"
	// Interval is the time between probes, 100 ms to 1 min; zero means 1 s. (Azure's shortest is 5 s.)
	Interval time.Duration
	// Timeout is for one probe, up to 1 min; zero means 1 s.
	Timeout time.Duration
	// UnhealthyAfter failures in a row take an instance out, HealthyAfter successes in a row take it in; zero means 2 and 1.
	UnhealthyAfter, HealthyAfter int
}

// warmUp is the interval until an instance was first healthy: its start should not take an interval longer.
const warmUp = 100 * time.Millisecond

const maxProbeHeadBytes = 8 << 10

func (p Probe) interval() time.Duration { return cmp.Or(p.Interval, time.Second) }
func (p Probe) timeout() time.Duration  { return cmp.Or(p.Timeout, time.Second) }

func (p Probe) check() error {
	switch {
	case p.interval() < 100*time.Millisecond || p.interval() > time.Minute:
		return fmt.Errorf("balancer probe interval %v is not between 100ms and 1m", p.Interval)
	case p.timeout() < 0 || p.timeout() > time.Minute:
		return fmt.Errorf("balancer probe timeout %v is not between 0 and 1m", p.Timeout)
	case p.Path != "" && !strings.HasPrefix(p.Path, "/"):
		return fmt.Errorf("balancer probe path %q does not start with /", p.Path)
	case p.UnhealthyAfter < 0 || p.UnhealthyAfter > 20 || p.HealthyAfter < 0 || p.HealthyAfter > 20:
		return errors.New("balancer probe counts must be between 1 and 20")
	}
	return nil
}

// probe asks the instance until it is closed.
func (in *instance) probe(ctx context.Context, p Probe, log *slog.Logger) {
	judge := judge{probe: p}
	for {
		err := p.once(ctx, in.health.addr.String())
		if ctx.Err() != nil {
			return
		}
		in.note(judge.next(err), err, log)
		wait := p.interval()
		if !judge.wasHealthy {
			wait = min(wait, warmUp)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-in.done:
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// judge turns single results into health.
type judge struct {
	probe      Probe
	healthy    bool
	wasHealthy bool
	streak     int // results in a row that speak against healthy
}

func (j *judge) next(err error) (healthy bool) {
	if (err == nil) == j.healthy {
		j.streak = 0
		return j.healthy
	}
	j.streak++
	needed := cmp.Or(j.probe.HealthyAfter, 1)
	if j.healthy {
		needed = cmp.Or(j.probe.UnhealthyAfter, 2)
	}
	if j.streak >= needed {
		j.healthy, j.streak = !j.healthy, 0
		j.wasHealthy = true
	}
	return j.healthy
}

// note keeps a result. An instance that is gone stays unhealthy whatever a last probe said.
func (in *instance) note(healthy bool, err error, log *slog.Logger) {
	in.mu.Lock()
	in.lastProbe, in.probeErr = time.Now(), err
	in.mu.Unlock()
	healthy = healthy && !in.gone.Load()
	if in.healthy.Swap(healthy) == healthy {
		return
	}
	if in.gone.Load() { // it left between the two lines
		in.healthy.Store(false)
		return
	}
	if healthy {
		log.Info("instance is healthy", "slot", int(in.slot), "instance", string(in.id))
	} else {
		log.Warn("instance is unhealthy", "slot", int(in.slot), "instance", string(in.id), "err", err)
	}
}

// once is one probe of the loopback port, whose connections go the way of all others.
func (p Probe) once(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	if p.TCP {
		return probeTCP(ctx, address)
	}
	return probeHTTP(ctx, address, cmp.Or(p.Path, "/"))
}

// probeHTTP accepts 200 alone, and follows nothing.
func probeHTTP(ctx context.Context, address, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxProbeHeadBytes}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("probe answered %d", resp.StatusCode)
	}
	return nil
}

// probeTCP opens and ends a connection, and waits for the instance to answer or end it as well: that the kernel
// accepted it says nothing about the instance.
func probeTCP(ctx context.Context, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
