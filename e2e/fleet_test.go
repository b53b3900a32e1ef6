//go:build linux

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A fleet is a gateway of two instances on one host, and connection points that each have a host of their own, so
// that the line between the two can be cut. Only tests in namespaces can have one.
type fleet struct {
	name     string // that devices use
	dir      string
	site     *process
	flags    []string // of the site, without the gateway's addresses
	gateways []*role
	points   []*role
	config   *tls.Config

	mu        sync.Mutex // guards the fields below
	instances []string   // host:port for devices
	turn      int
}

// next returns the address of the instances in turn.
func (f *fleet) next() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn++
	return f.instances[f.turn%len(f.instances)]
}

// A role is a process of a fleet that runs from a folder of its own.
type role struct {
	*process
	name string
	dir  string
	host *host // nil: that of the test
}

const (
	ledgerIP   = "10.79.0.1"
	fleetName  = "gateway.example.test"
	fleetPort  = "8443"
	gatewayNet = "10.78.0."
)

// startFleet starts it with a ledger behind it, and returns when every connection point has its channels to every
// instance.
func startFleet(t *testing.T, server string, flags ...string) *fleet {
	t.Helper()
	f := &fleet{name: fleetName, dir: t.TempDir()}
	f.flags = append([]string{"site", "run", "--state", f.state(), "--service-name", fleetName, "--port", fleetPort, "--limits-off",
		"--connection-point", "cp-1", "--connection-point", "cp-2", "--publish", "app=" + server}, flags...)
	f.startSite(t, 2)
	for range 2 {
		f.startGateway(t)
	}
	for n := range 2 {
		id := fmt.Sprintf("cp-%d", n+1)
		r := &role{name: id, dir: filepath.Join(f.dir, id), host: newPremises(t, n)}
		must(t, "", binary, "site", "export", "connection-point", id, r.dir, "--state", f.state())
		f.points = append(f.points, r)
		r.start(t)
	}
	deviceDir := filepath.Join(f.dir, "device")
	must(t, "", binary, "device", "cert", "laptop-1", "--out", deviceDir, "--state", f.state())
	f.config = deviceConfig(t, deviceDir, filepath.Join(f.state(), "ca.crt"))
	f.waitConnected(t)
	return f
}

func (f *fleet) state() string { return filepath.Join(f.dir, "state") }

// startSite starts the site of a gateway with n instances, and returns when it has signed its documents.
func (f *fleet) startSite(t *testing.T, n int) {
	t.Helper()
	args := slices.Clone(f.flags)
	for i := range n {
		args = append(args, "--gateway-address", fmt.Sprintf("%s%d", gatewayNet, i+1))
	}
	f.site = start(t, command(t, binary, args...))
	eventually(t, 30*time.Second, "the site runs", func() bool {
		if f.site.ended() {
			t.Fatalf("site run ended: %v\n%s", f.site.err, f.site.out)
		}
		return strings.Contains(f.site.out.String(), "Ready after") // status would wait for the instances, too
	})
}

// startGateway starts the next instance.
func (f *fleet) startGateway(t *testing.T) {
	t.Helper()
	n := len(f.gateways)
	r := &role{name: fmt.Sprintf("instance %d", n), dir: filepath.Join(f.dir, fmt.Sprintf("gateway-%d", n))}
	must(t, "", binary, "site", "export", "gateway", fmt.Sprint(n), r.dir, "--state", f.state())
	config := string(readFile(t, r.config()))
	write(t, r.config(), strings.ReplaceAll(config, `"0.0.0.0:`, fmt.Sprintf(`"%s%d:`, gatewayNet, n+1)))
	r.start(t)
	devices := fmt.Sprintf("%s%d:%s", gatewayNet, n+1, fleetPort)
	waitForListener(t, r.process, devices)
	f.gateways = append(f.gateways, r)
	f.mu.Lock()
	f.instances = append(f.instances, devices)
	f.mu.Unlock()
}

func (r *role) config() string { return filepath.Join(r.dir, "config.yaml") }

// start starts the role, for the first time or again.
func (r *role) start(t *testing.T) {
	t.Helper()
	if r.host == nil {
		r.process = start(t, command(t, binary, "gateway", "run", "--config", r.config()))
		return
	}
	r.process = start(t, r.host.command(t, binary, "connection-point", "run", "--config", r.config()))
}

// signal sends a signal to the role's process. (nsenter becomes what it starts, so the pid is the role's.)
func (r *role) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%v to %s: %v", s, r.name, err)
	}
}

// scrape asks the role for its metrics; nil when it does not answer.
func (r *role) scrape() metrics {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(r.dir, "run.sock"))
		}}}
	resp, err := client.Get("http://localhost/metrics")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	return parseMetrics(resp.Body)
}

// channelsTo returns how many connections an instance has to each connection point.
func (r *role) channelsTo(point string) (n float64) {
	r.scrape().each("causeway_gateway_channel_connections", func(l map[string]string, v float64) {
		if l["connection_point"] == point {
			n = v
		}
	})
	return n
}

// requestsOver returns how many requests an instance has sent to a connection point.
func (r *role) requestsOver(point string) (n float64) {
	r.scrape().each("causeway_gateway_channel_requests_total", func(l map[string]string, v float64) {
		if l["connection_point"] == point {
			n = v
		}
	})
	return n
}

// channelsOn returns how many connections a connection point has to the instance of a slot.
func (r *role) channelsOn(slot int) (n float64) {
	r.scrape().each("causeway_connpoint_channel_connections", func(l map[string]string, v float64) {
		if l["slot"] == fmt.Sprint(slot) {
			n = v
		}
	})
	return n
}

// connections returns the channels that a connection point has, and how many it wants.
func (r *role) connections() (open, wanted float64) {
	m := r.scrape()
	m.each("causeway_connpoint_channel_connections", func(_ map[string]string, v float64) { open += v })
	m.each("causeway_connpoint_channel_connections_wanted", func(_ map[string]string, v float64) { wanted += v })
	return open, wanted
}

// waitConnected waits until every connection point has all its channels, as both sides see it.
func (f *fleet) waitConnected(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, "all channels are up", func() bool {
		for _, p := range f.points {
			if open, wanted := p.connections(); wanted == 0 || open < wanted {
				return false
			}
			for _, g := range f.gateways {
				if g.channelsTo(p.name) == 0 {
					return false
				}
			}
		}
		return true
	})
}

// startLoad sets n devices to work, which turn to the instances in turn.
func (f *fleet) startLoad(t *testing.T, l *ledger, n int) *load {
	t.Helper()
	d := &load{ledger: l, base: "/app", host: fleetName + ":" + fleetPort, config: f.config}
	d.dial = func() (net.Conn, error) {
		return net.DialTimeout("tcp", f.next(), attemptPatience)
	}
	d.start(t, n)
	return d
}

// prepareNetwork gives the test's own host the addresses of gateway instances and ledger.
func prepareNetwork(t *testing.T) {
	t.Helper()
	must(t, "", "ip", "link", "set", "lo", "up")
	for _, ip := range []string{gatewayNet + "1", gatewayNet + "2", gatewayNet + "3", ledgerIP} {
		must(t, "", "ip", "addr", "add", ip+"/32", "dev", "lo")
	}
}

// newPremises makes the host of a connection point, with a cable to that of the test.
func newPremises(t *testing.T, n int) *host {
	t.Helper()
	keeper := command(t, "sleep", "infinity")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	h := &host{start(t, keeper).cmd.Process.Pid}
	cable, near, far := fmt.Sprintf("premises%d", n), fmt.Sprintf("10.77.%d.1", n), fmt.Sprintf("10.77.%d.2", n)
	for _, line := range []string{
		fmt.Sprintf("link add %s type veth peer name uplink netns %d", cable, h.pid),
		"addr add " + near + "/24 dev " + cable,
		"link set " + cable + " up",
	} {
		must(t, "", "ip", strings.Fields(line)...)
	}
	for _, line := range []string{
		"link set lo up",
		"addr add " + far + "/24 dev uplink",
		"link set uplink up",
		"route add default via " + near,
	} {
		h.must(t, "ip", strings.Fields(line)...)
	}
	return h
}

// A cut says in which directions the packets between a connection point and the gateway's instances vanish, whatever
// their port: channels have more ways than one.
type cut struct {
	name            string
	toGateway, back bool
}

// make cuts the line of connection point n, without a word to either side, until mend is called. Its servers stay in
// reach.
func (c cut) make(t *testing.T, f *fleet, n int) (mend func()) {
	t.Helper()
	toGateway := []string{"INPUT", "--in-interface", fmt.Sprintf("premises%d", n), "--destination", gatewayNet + "0/24", "--jump", "DROP"}
	back := []string{"INPUT", "--in-interface", "uplink", "--source", gatewayNet + "0/24", "--jump", "DROP"}
	do := func(what string) {
		if c.toGateway {
			must(t, "", "iptables", append([]string{"--wait", what}, toGateway...)...)
		}
		if c.back {
			f.points[n].host.must(t, "iptables", append([]string{"--wait", what}, back...)...)
		}
	}
	do("--append")
	return func() { do("--delete") }
}
