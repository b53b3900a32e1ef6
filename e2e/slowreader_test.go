//go:build linux

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// stalledReaders is how many devices ask for a large answer and read nothing of it.
	stalledReaders = 1000
	// perDeviceBytes is what a device's connection may cost a process beside what the memory budget pays for: its TLS
	// state, its goroutines, the buffers of a request under way.
	perDeviceBytes = 96 << 10
	// perDeviceKernelBytes is the same for what the kernel holds beside the process. What it has for all TCP connections
	// of a machine is little; when a thousand devices fill it, every connection of the machine crawls.
	perDeviceKernelBytes = 512 << 10
	// lateBytes is what some of them read first: by then the kernel has given the connections on the way larger buffers.
	lateBytes = 64 << 20
	// smallReceiveBuffer keeps the kernel from taking what the device does not read.
	smallReceiveBuffer = 16 << 10
)

// stallReaders makes n devices ask for a gigabyte each. They read the head of the answer, and then nothing; but the last
// of them read lateBytes first, so many as late says.
func (s *site) stallReaders(t *testing.T, n, late int) (statuses map[string]int) {
	t.Helper()
	configs := s.devices(t, "reader", n/100)
	dialer := &net.Dialer{Timeout: 30 * time.Second, Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallReceiveBuffer)
		})
		if ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	var mu sync.Mutex
	statuses = map[string]int{}
	var all sync.WaitGroup
	turn := make(chan struct{}, 20) // so many at a time
	for i := range n {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			var after int64
			if i >= n-late {
				after = lateBytes
			}
			status, err := s.stallReader(t, dialer, configs[i%len(configs)], after)
			if err != nil {
				status = err.Error()
			}
			mu.Lock()
			statuses[status]++
			mu.Unlock()
		})
	}
	all.Wait()
	return statuses
}

// devices makes n devices, since a device may do only so much at a time, and returns what each connects with.
func (s *site) devices(t *testing.T, kind string, n int) (configs []*tls.Config) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		name := fmt.Sprintf("%s-%d", kind, i)
		out := filepath.Join(dir, name)
		s.cli(t, "device", "cert", name, "--out", out)
		pair, err := tls.LoadX509KeyPair(filepath.Join(out, "device.crt"), filepath.Join(out, "device.key"))
		if err != nil {
			t.Fatal(err)
		}
		config := s.tlsConfig(t)
		config.Certificates = []tls.Certificate{pair}
		configs = append(configs, config)
	}
	return configs
}

func (s *site) stallReader(t *testing.T, dialer *net.Dialer, config *tls.Config, after int64) (status string, err error) {
	conn, err := tls.DialWithDialer(dialer, "tcp", s.host(t), config)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { conn.NetConn().Close() })
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // a connection just opened takes a deadline
	if _, err := fmt.Fprintf(conn, "GET /app/bytes?n=%d HTTP/1.1\r\nHost: %s\r\n\r\n", 1<<30, s.host(t)); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		return "", err
	}
	if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
		return "503 without Retry-After", nil
	}
	if resp.StatusCode == 200 && after > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		if _, err := io.CopyN(io.Discard, resp.Body, after); err != nil {
			return "", fmt.Errorf("before it stopped: %w", err)
		}
	}
	return strconv.Itoa(resp.StatusCode), nil
}

// A probe is devices that ask for little, one thing after the other.
type probe struct {
	stop    chan struct{}
	workers sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	times    []time.Duration
	failures []string
}

func (s *site) startProbe(t *testing.T, n int) *probe {
	t.Helper()
	p := &probe{stop: make(chan struct{})}
	url := s.publishedURL(t, "app") + "/bytes?n=512"
	for _, config := range s.devices(t, "prober", n) {
		client := s.client(t)
		client.Transport.(*http.Transport).TLSClientConfig = config
		p.workers.Go(func() {
			for {
				select {
				case <-p.stop:
					return
				default:
				}
				begin := time.Now()
				err := getBytes(client, url, 512)
				p.mu.Lock()
				p.times = append(p.times, time.Since(begin))
				if err != nil {
					p.failures = append(p.failures, err.Error())
				}
				p.mu.Unlock()
			}
		})
	}
	t.Cleanup(p.end)
	return p
}

func getBytes(client *http.Client, url string, n int64) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != 200 || got != n {
		return fmt.Errorf("%s, %d bytes: %v", resp.Status, got, err)
	}
	return nil
}

func (p *probe) end() {
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.mu.Unlock()
	p.workers.Wait()
}

// take returns the latencies since the last call, sorted.
func (p *probe) take() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := p.times
	p.times = nil
	slices.Sort(times)
	return times
}

// A pace is how fast others are served: small requests, and a large answer.
type pace struct {
	perSecond float64
	p99       time.Duration
	large     time.Duration
}

// pace measures, in a soak the best of five times: a machine has worse moments of its own.
func (s *site) pace(t *testing.T, p *probe, what string) (best pace) {
	t.Helper()
	times := 1
	if soak {
		times = 5
	}
	for i := range times {
		perSecond, p99 := p.measure(t, what, 1000)
		large := s.fetchLarge(t, what)
		if i == 0 {
			best = pace{perSecond, p99, large}
		}
		best = pace{max(best.perSecond, perSecond), min(best.p99, p99), min(best.large, large)}
	}
	return best
}

// notHurt holds others to what they had: p99 at most doubled, and no throughput lost beyond what measuring it is sure of.
func (quiet pace) notHurt(t *testing.T, beside pace) {
	t.Helper()
	if beside.p99 > 2*quiet.p99 {
		t.Errorf("p99 of small requests went from %s to %s", quiet.p99, beside.p99)
	}
	const sure = 0.7
	if beside.perSecond < sure*quiet.perSecond {
		t.Errorf("small requests a second went from %.0f to %.0f", quiet.perSecond, beside.perSecond)
	}
	if sure*beside.large.Seconds() > quiet.large.Seconds() {
		t.Errorf("a large answer took %s, and then %s", quiet.large, beside.large)
	}
}

// measure waits until n requests were answered and says how fast.
func (p *probe) measure(t *testing.T, what string, n int) (perSecond float64, p99 time.Duration) {
	t.Helper()
	p.take()
	begin := time.Now()
	eventually(t, 60*time.Second, fmt.Sprintf("%d small requests are answered %s", n, what), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.times) >= n
	})
	times := p.take()
	perSecond, p99 = float64(len(times))/time.Since(begin).Seconds(), times[len(times)*99/100]
	t.Logf("%s: %.0f small requests a second, median %s, p99 %s", what, perSecond, times[len(times)/2].Round(time.Microsecond), p99.Round(time.Microsecond))
	return perSecond, p99
}

// check wants every one of them served.
func (p *probe) check(t *testing.T) {
	t.Helper()
	p.end()
	for _, text := range p.failures[:min(len(p.failures), 20)] {
		t.Errorf("a small request beside readers that stopped: %s", text)
	}
}

// TestAThousandReadersThatStopHurtNobody has them ask for a gigabyte each and read nothing of it. Memory stays within
// the budget and what a thousand connections cost; everybody else is served, small requests and large ones.
func TestAThousandReadersThatStopHurtNobody(t *testing.T) {
	s := up(t, "--publish", "app="+startFrugalServer(t), "--limits-off")
	s.cli(t, "server", "set", "app", "--idle-timeout", "15m") // or the first of them are cut before the last has come
	p := s.startProbe(t, 8)
	late := 0
	if soak { // with a receive buffer as small as theirs, that much takes minutes
		late = 20
	}
	quiet := s.pace(t, p, "quiet")
	const budget = 256 << 20 // the default
	growth := s.watchMemory(func() {
		begin := time.Now()
		statuses := s.stallReaders(t, stalledReaders, late)
		t.Logf("answers to those that stop reading: %v, within %s", statuses, time.Since(begin).Round(time.Millisecond))
		if n := statuses["200"] + statuses["503"]; n != stalledReaders {
			t.Errorf("%d of %d readers got neither an answer nor 503 with Retry-After: %v", stalledReaders-n, stalledReaders, statuses)
		}
		beside := s.pace(t, p, fmt.Sprintf("beside %d readers that stopped", stalledReaders))
		if soak {
			quiet.notHurt(t, beside)
		}
		if held := s.kernelBytes(t); held > stalledReaders*perDeviceKernelBytes {
			t.Errorf("the kernel holds %d MiB for the gateway's devices", held>>20)
		} else {
			t.Logf("the kernel holds %d MiB for the gateway's devices", held>>20)
		}
	})
	p.check(t)
	t.Logf("the largest growth of a process is %d MiB", growth>>20)
	if bound := int64(budget + stalledReaders*perDeviceBytes); growth > bound {
		t.Errorf("a process grew by %d MiB, more than %d", growth>>20, bound>>20)
	}
}

// TestOverTheMemoryBudgetIsSaidAtOnce gives the processes a budget that a thousand readers who stop are more than. What
// does not fit is refused at once, with the time to come back; nothing hangs, small requests are served all the while, and
// when the readers are gone all is well.
func TestOverTheMemoryBudgetIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	const budget = 32 << 20
	s := up(t, "--publish", "app="+startFrugalServer(t), "--limits-off", "--instances", "1", "--memory-budget", "32MiB")
	configs := s.devices(t, "prober", 1)
	client := s.client(t)
	client.Transport.(*http.Transport).TLSClientConfig = configs[0]
	small := s.publishedURL(t, "app") + "/bytes?n=512"
	t.Run("over it", func(t *testing.T) { // so that its readers leave at its end
		growth := s.watchMemory(func() {
			statuses := s.stallReaders(t, stalledReaders, 0)
			t.Logf("answers to those that stop reading: %v", statuses)
			if statuses["503"] == 0 || statuses["200"]+statuses["503"] != stalledReaders {
				t.Errorf("%d readers got %v; want some 200, and 503 with Retry-After for the others", stalledReaders, statuses)
			}
			served := 0
			for range 20 {
				begin := time.Now()
				status, err := s.askSmall(client, small)
				if status == "200" {
					served++
				}
				if took := time.Since(begin); err != nil || soak && took > 15*time.Second {
					t.Errorf("over the budget: %s after %s: %v", status, took, err)
				}
			}
			if served < 15 { // the last quarter of the budget is kept for them
				t.Errorf("%d of 20 small requests were served beside readers that stopped", served)
			}
		})
		t.Logf("the largest growth of a process is %d MiB", growth>>20)
		if bound := int64(budget + stalledReaders*perDeviceBytes); growth > bound {
			t.Errorf("a process grew by %d MiB, more than %d", growth>>20, bound>>20)
		}
	})
	eventually(t, 45*time.Second, "requests are served when the readers are gone", func() bool {
		status, err := s.askSmall(client, small)
		return err == nil && status == "200"
	})
}

// askSmall wants an answer: the whole of it, or 503 with the time to come back.
func (s *site) askSmall(client *http.Client, url string) (status string, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
	case resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "":
	case resp.StatusCode != 200 || len(body) != 512:
		err = fmt.Errorf("%d bytes, Retry-After %q", len(body), resp.Header.Get("Retry-After"))
	}
	return strconv.Itoa(resp.StatusCode), err
}

// fetchLarge fetches a large answer and says how long that took.
func (s *site) fetchLarge(t *testing.T, what string) (took time.Duration) {
	t.Helper()
	begin := time.Now()
	if err := getBytes(s.client(t), s.publishedURL(t, "app")+"/bytes?n=67108864", 64<<20); err != nil {
		t.Errorf("a large answer, %s: %v", what, err)
	}
	took = time.Since(begin)
	t.Logf("%s: 64 MiB came within %s", what, took.Round(time.Millisecond))
	return took
}

// startFrugalServer serves /bytes with small buffers in the kernel. A thousand answers that nobody reads would fill what
// the kernel has for all TCP connections of this machine, on the server's side alone.
func startFrugalServer(t *testing.T) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", address()+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(serveBytes), ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10) // larger ones only cost memory
		}
	}}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	return "http://" + ln.Addr().String()
}

// socketMemory is what ss prints of a socket: received and not read, and queued to be sent.
var socketMemory = regexp.MustCompile(`skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f\d+,w(\d+),`)

// kernelBytes returns what the kernel holds for the connections of the gateway's devices.
func (s *site) kernelBytes(t *testing.T) (sum int64) {
	t.Helper()
	found := socketMemory.FindAllStringSubmatch(must(t, "", "ss", "--tcp", "--numeric", "--no-header", "--memory", "src", s.host(t)), -1)
	if len(found) < stalledReaders {
		t.Fatalf("ss shows %d connections of %d", len(found), stalledReaders)
	}
	for _, m := range found {
		for _, digits := range m[1:] {
			n, _ := strconv.ParseInt(digits, 10, 64)
			sum += n
		}
	}
	return sum
}
