//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDrainingEitherSideFailsNothing ends connection points and instances as an operator would, one after the other,
// under full load. Their requests finish, new ones go elsewhere, and no device notices more than Connection: close.
func TestDrainingEitherSideFailsNothing(t *testing.T) {
	t.Parallel()
	l := startLedger(t, "")
	s := up(t, "--instances", "2", "--connection-points", "2", "--limits-off", "--publish", "app="+l.url)
	d := s.startLoad(t, l, "app", 32)
	newer := s.startHTTP2(t, "app", 8)
	rounds := 1
	if soak {
		rounds = 10
	}
	for n := range 4 * rounds {
		s.waitConnected(t)
		d.settle(t)
		s.reread(t)
		name, pid := s.ConnectionPoints[n/2%2].ID, s.ConnectionPoints[n/2%2].PID
		if n%2 == 1 {
			name, pid = s.Instances[n/2%2].ID, s.Instances[n/2%2].PID
		}
		long := s.startLongRequests(t, l, n)
		begin := time.Now()
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, fmt.Sprintf("%s has ended", name), func() bool { return !alive(pid) })
		ended := time.Since(begin)
		s.waitReplaced(t, pid)
		s.waitConnected(t)
		long.Wait()
		t.Logf("%s drained in %s, its successor has its channels after %s", name, ended.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	}
	before := d.answered()
	eventually(t, 30*time.Second, "the load goes on", func() bool { return d.answered() > before+64 })
	d.check(t)
	d.checkNoFailure(t)
	newer.check(t)
}

// startLongRequests begins requests that a drain has to wait for, two for each instance as like as not, and returns
// when the server has them.
func (s *site) startLongRequests(t *testing.T, l *ledger, round int) *sync.WaitGroup {
	t.Helper()
	const n = 6
	var all sync.WaitGroup
	for i := range n {
		id := fmt.Sprintf("long-%d-%d", round, i)
		client := s.client(t)
		all.Go(func() {
			resp, err := client.Post(s.publishedURL(t, "app")+"/item?wait=2s&n=100000&id="+id, "text/plain", http.NoBody)
			if err != nil {
				t.Errorf("a request that was under way: %v", err)
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || string(body) != string(ledgerBody(id, 100000)) {
				t.Errorf("a request that was under way: %s, %d bytes, %v", resp.Status, len(body), err)
			}
		})
		eventually(t, 30*time.Second, "the server has "+id, func() bool { return l.times(id) > 0 })
	}
	return &all
}

// An http2Load is devices that speak HTTP/2, by a client that others wrote.
type http2Load struct {
	stop    chan struct{}
	workers sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	requests int
	failures []string
}

// startHTTP2 sets n of them to work, over two connections.
func (s *site) startHTTP2(t *testing.T, name string, n int) *http2Load {
	t.Helper()
	d := &http2Load{stop: make(chan struct{})}
	url := s.publishedURL(t, name) + "/item?wait=50ms&n=5000&id="
	clients := []*http.Client{s.client(t), s.client(t)}
	for _, c := range clients {
		c.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	}
	for i := range n {
		d.workers.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-d.stop:
					return
				default:
				}
				id := fmt.Sprintf("h2-%d-%d", i, k)
				err := getLedger(clients[i%2], url+id, id, 5000)
				d.mu.Lock()
				d.requests++
				if err != nil {
					d.failures = append(d.failures, err.Error())
				}
				d.mu.Unlock()
			}
		})
	}
	t.Cleanup(d.end)
	return d
}

// getLedger fetches an answer of n bytes and compares it.
func getLedger(client *http.Client, url, id string, n int) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200:
		return fmt.Errorf("%s: %s %s", id, resp.Status, body)
	case string(body) != string(ledgerBody(id, n)):
		return fmt.Errorf("%s: %w", id, errWrongBytes)
	}
	return nil
}

func (d *http2Load) end() {
	d.mu.Lock()
	select {
	case <-d.stop:
	default:
		close(d.stop)
	}
	d.mu.Unlock()
	d.workers.Wait()
}

func (d *http2Load) check(t *testing.T) {
	t.Helper()
	d.end()
	t.Logf("%d of %d requests over HTTP/2 failed", len(d.failures), d.requests)
	for _, text := range d.failures[:min(len(d.failures), 20)] {
		t.Errorf("over HTTP/2: %s", text)
	}
}

// checkNoFailure wants every single attempt to have got its answer.
func (d *load) checkNoFailure(t *testing.T) {
	t.Helper()
	failed := 0
	for _, a := range d.attempts {
		if a.ok() {
			continue
		}
		if failed++; failed <= 20 {
			t.Errorf("failed %s after the load began: %v", a.end.Sub(d.began).Round(time.Millisecond), a)
		}
	}
	t.Logf("%d of %d requests failed", failed, len(d.attempts))
}
