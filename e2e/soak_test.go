//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// soakTime is how long the mixed load runs: half an hour, or what CAUSEWAY_SOAK_FOR says.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("CAUSEWAY_SOAK_FOR"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return long(8*time.Second, 30*time.Minute)
}

// TestAMixedLoadLeavesEverythingFlat has devices do everything at once: small requests, large answers, uploads,
// WebSockets, and reading slowly. Memory, goroutines and descriptors of each process are at the end what they were
// when the load had settled, and not one request fails.
func TestAMixedLoadLeavesEverythingFlat(t *testing.T) {
	if !soak { // in a soak it runs alone, so that nothing else shows in its figures
		t.Parallel()
	}
	l, o := startLedger(t, ""), startOrigin(t)
	s := up(t, "--instances", "2", "--connection-points", "2", "--limits-off", "--publish", "app="+l.url, "--publish", "files="+o.url)
	s.cli(t, "server", "set", "files", "--websocket")
	d := s.startLoad(t, l, "app", 16)
	m := s.startMixed(t)
	length := soakTime(t)
	samples := s.sample(t, length, max(length/180, 500*time.Millisecond))
	m.check(t)
	d.check(t)
	d.checkNoFailure(t)
	samples.check(t, length)
}

// A mixed load is devices that do what is not small.
type mixed struct {
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	done     map[string]int
	failures []string
}

// startMixed starts two devices of each kind.
func (s *site) startMixed(t *testing.T) *mixed {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	m := &mixed{stop: stop, done: map[string]int{}}
	base, upload := s.publishedURL(t, "files"), bytes.Repeat([]byte("upload "), 1<<20)
	for range 2 {
		client := s.client(t)
		m.repeat(ctx, "large answer", func() error { return getBytes(client, base+"/bytes?n=33554432", 32<<20) })
		m.repeat(ctx, "upload", func() error { return putBytes(client, base+"/sink", upload) })
		m.repeat(ctx, "WebSocket", func() error { return echoMessages(ctx, client, base) })
		m.repeat(ctx, "slow reader", func() error { return readSlowly(ctx, client, base+"/file") })
	}
	t.Cleanup(m.end)
	return m
}

// repeat does one thing over and over. What is under way when the load ends comes to its end.
func (m *mixed) repeat(ctx context.Context, name string, do func() error) {
	m.workers.Go(func() {
		for ctx.Err() == nil {
			err := do()
			m.mu.Lock()
			m.done[name]++
			if err != nil {
				m.failures = append(m.failures, fmt.Sprintf("%s: %v", name, err))
			}
			m.mu.Unlock()
		}
	})
}

func putBytes(client *http.Client, url string, data []byte) error {
	req, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || strings.TrimSpace(string(body)) != fmt.Sprint(len(data)) {
		return fmt.Errorf("%s: %d bytes sent, the server says %q: %v", resp.Status, len(data), body, err)
	}
	return nil
}

// echoMessages opens a WebSocket, sends messages of several sizes over ten seconds at most, and closes it.
func echoMessages(ctx context.Context, client *http.Client, base string) error {
	conn, _, err := websocket.Dial(context.WithoutCancel(ctx), strings.Replace(base, "https:", "wss:", 1)+"/websocket", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	for i := 0; i < 50 && ctx.Err() == nil; i++ {
		message := bytes.Repeat([]byte{byte(i)}, []int{10, 1000, 100_000}[i%3])
		if err := conn.Write(context.WithoutCancel(ctx), websocket.MessageBinary, message); err != nil {
			return err
		}
		_, got, err := conn.Read(context.WithoutCancel(ctx))
		if err != nil || !bytes.Equal(got, message) {
			return fmt.Errorf("%d bytes came back for %d: %w", len(got), len(message), err)
		}
		wait(ctx, 200*time.Millisecond)
	}
	return conn.Close(websocket.StatusNormalClosure, "done")
}

// readSlowly takes 128 KiB ten times a second, and compares them.
func readSlowly(ctx context.Context, client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for want := fileData(); len(want) > 0; {
		piece := make([]byte, min(128<<10, len(want)))
		if _, err := io.ReadFull(resp.Body, piece); err != nil {
			return err
		}
		if !bytes.Equal(piece, want[:len(piece)]) {
			return errWrongBytes
		}
		want = want[len(piece):]
		wait(ctx, 100*time.Millisecond)
	}
	return nil
}

// wait rests as a device does, or less when the load ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (m *mixed) end() {
	m.stop()
	m.workers.Wait()
}

func (m *mixed) check(t *testing.T) {
	t.Helper()
	m.end()
	for _, name := range slices.Sorted(maps.Keys(m.done)) {
		t.Logf("%d times: %s", m.done[name], name)
	}
	for _, text := range m.failures[:min(len(m.failures), 20)] {
		t.Errorf("failed: %s", text)
	}
}

// samples is what each process had of something, over time.
type samples map[string][]float64

// sampled is what is looked at, with what may come and go without a meaning.
var sampled = map[string]float64{
	"process_resident_memory_bytes": 4 << 20,
	"go_goroutines":                 16,
	"process_open_fds":              16,
}

// sample looks at every process until the time is over.
func (s *site) sample(t *testing.T, length, every time.Duration) samples {
	t.Helper()
	all := samples{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		m := s.scrape()
		for name := range sampled {
			m.each(name, func(l map[string]string, v float64) {
				key := l["role"] + " " + l["instance"] + " " + name
				all[key] = append(all[key], v)
			})
		}
	}
	return all
}

// check compares the end with the time when the load had settled: after a sixth of it, which is minute 5 of half an
// hour. A short run is not long enough to say anything; its figures are shown all the same.
func (all samples) check(t *testing.T, length time.Duration) {
	t.Helper()
	if len(all) < 4*len(sampled) {
		t.Fatalf("there are figures of too few processes: %v", slices.Sorted(maps.Keys(all)))
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		values := all[key]
		n := len(values)
		settled, end := median(values[n/6:n/6+max(1, n/12)]), median(values[n-max(1, n/12):])
		t.Logf("%s: %.0f when the load had settled, %.0f at the end", key, settled, end)
		name := key[strings.LastIndexByte(key, ' ')+1:]
		if bound := settled*1.1 + sampled[name]; end > bound && length >= 3*time.Minute {
			t.Errorf("%s grew from %.0f to %.0f", key, settled, end)
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
