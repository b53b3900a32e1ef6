//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attemptPatience is when an attempt counts as hung. Nothing that the contract allows takes so long: a channel is dead
// after 5 s, and a stopped process is woken or killed after less than twice that.
const attemptPatience = 60 * time.Second

// A load is devices that ask a ledger without rest, over connections that they keep. Each attempt has an id of its own.
// A safe request that fails goes out once more, with another id on a new connection; no other request does.
type load struct {
	ledger *ledger
	base   string // path of the published server, "/app"
	host   string
	config *tls.Config
	dial   func() (net.Conn, error)

	began    time.Time
	stop     chan struct{}
	workers  sync.WaitGroup
	inFlight atomic.Int64
	// generation of the connections that may be kept
	generation atomic.Int64
	// rounds counts what each device has done: a request with its answer, and with its repetition if that was needed.
	rounds []atomic.Int64

	mu       sync.Mutex // guards the fields below
	attempts []attempt
	lost     []string // safe requests whose last attempt failed, too
	outages  []outage
}

// An attempt is one request as the device saw it.
type attempt struct {
	id         string
	method     string
	begin, end time.Time
	status     int
	code       string // of a refusal
	retryAfter string
	closes     bool  // the answer says Connection: close
	err        error // no answer, or a broken one
}

func (a attempt) ok() bool     { return a.err == nil && a.status == 200 }
func (a attempt) unsafe() bool { return a.method == "POST" }

func (a attempt) String() string {
	return fmt.Sprintf("%s %s after %s: %d %s %v", a.method, a.id, a.end.Sub(a.begin).Round(time.Millisecond), a.status, a.code, a.err)
}

// An outage is the time in which an instance was not itself: connections of its devices may be reset then.
type outage struct {
	begin, end time.Time
}

// startLoad sets n devices to work on a published server of a site.
func (s *site) startLoad(t *testing.T, l *ledger, name string, n int) *load {
	t.Helper()
	d := &load{ledger: l, base: "/" + name, host: s.host(t), config: s.tlsConfig(t)}
	d.dial = func() (net.Conn, error) { return net.DialTimeout("tcp", d.host, attemptPatience) }
	d.config.ServerName, _, _ = net.SplitHostPort(d.host)
	d.start(t, n)
	return d
}

func (d *load) start(t *testing.T, n int) {
	d.began, d.stop, d.rounds = time.Now(), make(chan struct{}), make([]atomic.Int64, n)
	for i := range n {
		d.workers.Go(func() { d.work(i) })
	}
	t.Cleanup(d.end)
	eventually(t, 30*time.Second, "all devices are at work", func() bool { return d.answered() >= 2*n })
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.attempts[0]; a.err != nil {
		t.Fatalf("the load does not work: %v", a)
	}
}

// end lets what is under way come to its end.
func (d *load) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.stop:
		return
	default:
		close(d.stop)
	}
	d.mu.Unlock()
	d.workers.Wait()
	d.mu.Lock()
}

func (d *load) answered() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.attempts)
}

// work is one device: mostly small reads, some large ones, and every fourth request one that must not happen twice.
func (d *load) work(device int) {
	var kept *deviceConn
	defer func() { kept.close() }()
	generation := d.generation.Load()
	for n := 0; ; n++ {
		d.rounds[device].Add(1)
		select {
		case <-d.stop:
			return
		default:
		}
		if now := d.generation.Load(); now != generation {
			generation = now
			kept.close()
			kept = nil
		}
		id := fmt.Sprintf("d%d-%d", device, n)
		if n%4 == 3 {
			a := d.ask(&kept, "POST", id, "wait="+someWait(), someBody(id, n))
			d.note(a)
			continue
		}
		query := "wait=" + someWait() + "&n=" + strconv.Itoa(100+n%5*n%5*64<<10/16)
		first := d.ask(&kept, "GET", id, query, nil)
		d.note(first)
		if first.ok() {
			continue
		}
		first.heed()
		kept.close()
		kept = nil
		second := d.ask(&kept, "GET", id+"-again", query, nil)
		d.note(second)
		if !second.ok() {
			d.mu.Lock()
			d.lost = append(d.lost, fmt.Sprintf("%v; then %v", first, second))
			d.mu.Unlock()
		}
	}
}

// heed waits for as long as the answer says, as every client does that can read it.
func (a attempt) heed() {
	if seconds, err := strconv.Atoi(a.retryAfter); err == nil {
		time.Sleep(time.Duration(seconds) * time.Second)
	}
}

func (d *load) note(a attempt) {
	d.mu.Lock()
	d.attempts = append(d.attempts, a)
	d.mu.Unlock()
}

// someWait is how long the server thinks: it keeps requests in flight.
func someWait() string { return strconv.Itoa(20+rand.N(130)) + "ms" }

// someBody is small, or larger than what goes along with a request's head.
func someBody(id string, n int) []byte {
	if n%8 == 3 {
		return ledgerBody(id, 200)
	}
	return ledgerBody(id, 60<<10)
}

// A deviceConn is a device's connection to the gateway.
type deviceConn struct {
	*tls.Conn
	r *bufio.Reader
}

func (c *deviceConn) close() {
	if c != nil {
		c.Conn.NetConn().Close()
	}
}

// ended reports whether the gateway has said goodbye to an idle connection, as every client looks before it sends.
func (c *deviceConn) ended() (ended bool) {
	raw, err := c.Conn.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Read(func(fd uintptr) bool {
		// An end, a reset, or a byte that nobody asked for: TLS's own farewell.
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = err != unix.EAGAIN
		return true
	})
	return ended || err != nil
}

// ask sends one request over the kept connection, or a new one if there is none, and reads its answer to the end.
func (d *load) ask(kept **deviceConn, method, id, query string, body []byte) (a attempt) {
	a = attempt{id: id, method: method, begin: time.Now()}
	d.inFlight.Add(1)
	defer func() {
		d.inFlight.Add(-1)
		a.end = time.Now()
		if a.err != nil || a.closes {
			(*kept).close()
			*kept = nil
		}
	}()
	if *kept != nil && (*kept).ended() {
		(*kept).close()
		*kept = nil
	}
	if *kept == nil {
		raw, err := d.dial()
		if err != nil {
			a.err = err
			return a
		}
		*kept = &deviceConn{Conn: tls.Client(raw, d.config)}
		(*kept).r = bufio.NewReader(*kept)
	}
	a.err = d.exchange(*kept, &a, query, body)
	return a
}

func (d *load) exchange(c *deviceConn, a *attempt, query string, body []byte) error {
	if err := c.SetDeadline(time.Now().Add(attemptPatience)); err != nil {
		return err
	}
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s/item?id=%s&%s HTTP/1.1\r\nHost: %s\r\n", a.method, d.base, a.id, query, d.host)
	if a.unsafe() {
		fmt.Fprintf(&request, "Content-Length: %d\r\n", len(body))
	}
	request.WriteString("\r\n")
	request.Write(body)
	sent := make(chan error, 1)
	if len(body) > 16<<10 { // the answer may come before all of it is wanted
		go func() { _, err := c.Write(request.Bytes()); sent <- err }()
	} else {
		_, err := c.Write(request.Bytes())
		sent <- err
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: a.method})
	if err != nil {
		c.close() // ends the writer, too
		return errors.Join(err, <-sent)
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.close()
		return errors.Join(fmt.Errorf("%w after %d bytes: %w", errCut, len(answer), err), <-sent)
	}
	a.status, a.closes, a.retryAfter = resp.StatusCode, resp.Close, resp.Header.Get("Retry-After")
	if a.status != 200 {
		var p struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(answer, &p) // a refusal of ours says it
		a.code = p.Code
		a.closes = true // so that nothing of the body can be taken for another request
	}
	if a.closes {
		c.close()
		<-sent
		if a.status != 200 {
			return nil
		}
	} else if err := <-sent; err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	n, _, _ := strings.Cut(query[strings.Index(query, "n=")+2:], "&")
	size, _ := strconv.Atoi(n)
	if !strings.Contains(query, "n=") {
		size = 0
	}
	if resp.Header.Get("X-Body-Sum") != hex.EncodeToString(sum[:]) || !bytes.Equal(answer, ledgerBody(a.id, size)) {
		return fmt.Errorf("%w: %d bytes", errWrongBytes, len(answer))
	}
	return nil
}

var (
	// errWrongBytes is what no fault excuses.
	errWrongBytes = errors.New("not the bytes that were sent")
	// errCut is an answer that had begun when its channel was lost: the device must see that it is not complete.
	errCut = errors.New("answer broke off")
)

func isCut(err error) bool { return errors.Is(err, errCut) }

// instanceFault notes that an instance is not itself from now until the returned function is called.
func (d *load) instanceFault() (over func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := len(d.outages)
	d.outages = append(d.outages, outage{begin: time.Now(), end: time.Now().Add(time.Hour)})
	return func() {
		d.mu.Lock()
		d.outages[i].end = time.Now()
		d.mu.Unlock()
	}
}

// settle waits until every device has brought to its end what it had begun, so that no request meets two faults.
func (d *load) settle(t *testing.T) {
	t.Helper()
	before := make([]int64, len(d.rounds))
	for i := range d.rounds {
		before[i] = d.rounds[i].Load()
	}
	eventually(t, attemptPatience, "every device has an end to what it had begun", func() bool {
		for i := range d.rounds {
			if d.rounds[i].Load() == before[i] {
				return false
			}
		}
		return true
	})
}

func (d *load) duringOutage(a attempt) bool {
	return slices.ContainsFunc(d.outages, func(o outage) bool { return a.begin.Before(o.end) && a.end.After(o.begin) })
}

// check ends the load and compares what devices saw with what the server saw.
func (d *load) check(t *testing.T) {
	t.Helper()
	d.end()
	ends := map[string]int{}
	twice, unsafeTwice, slowest := 0, 0, time.Duration(0)
	for _, a := range d.attempts {
		times := d.ledger.times(a.id)
		if times == 2 {
			twice++
		}
		slowest = max(slowest, a.end.Sub(a.begin))
		ends[d.kind(a)]++
		switch {
		case times > 2:
			t.Errorf("delivered %d times: %v", times, a)
		case a.unsafe() && times > 1:
			unsafeTwice++
			t.Errorf("not safe, and delivered %d times: %v", times, a)
		case a.ok() && times == 0:
			t.Errorf("answered, but never delivered: %v", a)
		case errors.Is(a.err, errWrongBytes) || errors.Is(a.err, os.ErrDeadlineExceeded):
			t.Errorf("wrong or hung: %v", a)
		case a.unsafe():
			d.checkUnsafe(t, a, times)
		}
	}
	for _, text := range d.lost[:min(len(d.lost), 20)] {
		t.Errorf("a safe request was lost: %s", text)
	}
	t.Logf("%d attempts in %s: %d safe requests lost, %d ids delivered twice, %d of them not safe, slowest %s",
		len(d.attempts), time.Since(d.began).Round(time.Second), len(d.lost), twice, unsafeTwice, slowest.Round(time.Millisecond))
	for _, kind := range slices.Sorted(maps.Keys(ends)) {
		t.Logf("  %6d %s", ends[kind], kind)
	}
}

func (d *load) kind(a attempt) string {
	kind := "safe"
	if a.unsafe() {
		kind = "not safe"
	}
	switch {
	case a.err != nil && d.duringOutage(a):
		return kind + ": connection lost while an instance was down"
	case isCut(a.err):
		return kind + ": answer cut"
	case a.err != nil:
		return kind + ": connection lost"
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %d %s", kind, a.status, a.code))
}

// checkUnsafe judges the end of a request that nobody repeats.
func (d *load) checkUnsafe(t *testing.T, a attempt, times int) {
	t.Helper()
	switch {
	case a.ok(), a.code == "CMGService_ChannelLost" && a.status == 502:
	case a.err != nil && d.duringOutage(a): // nothing can hide that an instance died
	case a.code == "CMGService_NoConnectionPoint" && a.status == 503 && times == 0 && d.duringOutage(a): // a plain no
	default:
		t.Errorf("an end that the contract does not know, delivered %d times: %v", times, a)
	}
}
