//go:build linux

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A toxiproxy is a bad line: what others wrote to spoil connections in every known way.
type toxiproxy struct{ api string }

// A toxic is one way to spoil a connection.
type toxic struct {
	Type       string         `json:"type"`
	Attributes map[string]int `json:"attributes"`

	lasting time.Duration // how long it works before the line is good again
	cuts    bool          // it may end connections
}

var toxics = []toxic{
	{"latency", map[string]int{"latency": 80, "jitter": 40}, time.Second, false},
	{"bandwidth", map[string]int{"rate": 300}, time.Second, false}, // KB/s
	{"slicer", map[string]int{"average_size": 100, "size_variation": 60, "delay": 50}, time.Second, false},
	{"slow_close", map[string]int{"delay": 500}, time.Second, false},
	{"limit_data", map[string]int{"bytes": 100000}, time.Second, true},
	{"reset_peer", map[string]int{"timeout": 300}, time.Second, true},
	{"timeout", map[string]int{"timeout": 500}, time.Second, true},
	{"timeout", map[string]int{"timeout": 0}, 6 * time.Second, true}, // a black hole
}

// TestABadLineBreaksRequestsCleanlyOrNotAtAll spoils the line between a connection point and its gateway, in each
// direction. Requests come through, or fail as the contract says; no byte is wrong, and a line that is good again
// carries them again.
func TestABadLineBreaksRequestsCleanlyOrNotAtAll(t *testing.T) {
	t.Parallel()
	const point, gateway = "cp-1", "channel"
	near, far := address(), address() // where the connection point dials, and where the gateway is
	proxy := startToxiproxy(t, gateway, near+":10124", far+":10124")
	l := startLedger(t, "")
	d := startBehind(t, l, near, far, point)
	rounds := 1
	if soak {
		rounds = 10
	}
	for n := range rounds * 2 * len(toxics) {
		direction, x := []string{"upstream", "downstream"}[n%2], toxics[n/2%len(toxics)]
		d.carries(t, fmt.Sprintf("before %s %s", direction, x.Type))
		from := d.answered()
		over := func() {}
		if x.cuts {
			over = d.instanceFault() // the only way there is, so what cannot be sent again is refused
		}
		proxy.add(t, gateway, direction, x)
		begin := time.Now()
		eventually(t, 3*x.lasting, "the toxic works", func() bool { return time.Since(begin) >= x.lasting })
		proxy.remove(t, gateway)
		took := d.carries(t, fmt.Sprintf("after %s %s", direction, x.Type))
		over()
		t.Logf("%s %s %v: %d attempts meanwhile, good again after %s", direction, x.Type, x.Attributes, d.answered()-from, took.Round(time.Millisecond))
	}
	d.checkClean(t)
}

// carries waits until devices get answers in a row.
func (d *load) carries(t *testing.T, when string) time.Duration {
	t.Helper()
	begin := time.Now()
	eventually(t, 6*backWithin, "requests come through "+when, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.attempts) < 16 {
			return false
		}
		for _, a := range d.attempts[len(d.attempts)-16:] {
			if !a.ok() || a.begin.Before(begin) {
				return false
			}
		}
		return true
	})
	return time.Since(begin)
}

// checkClean is check for a line that has no second: a safe request may find no way for a while.
func (d *load) checkClean(t *testing.T) {
	t.Helper()
	d.end()
	for _, a := range d.attempts {
		if a.unsafe() || a.ok() || d.duringOutage(a) && (a.code == "CMGService_ChannelLost" || a.code == "CMGService_NoConnectionPoint" || isCut(a.err)) {
			continue
		}
		t.Errorf("an end that the contract does not know: %v", a)
	}
	d.lost = nil // judged above
	d.check(t)
}

func startToxiproxy(t *testing.T, name, listen, upstream string) *toxiproxy {
	t.Helper()
	config := filepath.Join(t.TempDir(), "toxiproxy.json")
	data, err := json.Marshal([]map[string]any{{"name": name, "listen": listen, "upstream": upstream, "enabled": true}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, string(data))
	host := address()
	p := &toxiproxy{api: "http://" + host + ":8474/proxies/"}
	program, err := filepath.Abs("../bin/toxiproxy-2.5.0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%v (tools/setup.sh test builds it)", err)
	}
	process := start(t, command(t, program, "-host", host, "-port", "8474", "-config", config))
	waitForListener(t, process, host+":8474")
	waitForListener(t, process, listen)
	return p
}

// add spoils one direction: upstream is what the connection point sends.
func (p *toxiproxy) add(t *testing.T, name, direction string, x toxic) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": "bad", "stream": direction, "type": x.Type, "attributes": x.Attributes})
	if err != nil {
		t.Fatal(err)
	}
	p.ask(t, http.MethodPost, name+"/toxics", body)
}

func (p *toxiproxy) remove(t *testing.T, name string) {
	t.Helper()
	p.ask(t, http.MethodDelete, name+"/toxics/bad", nil)
}

func (p *toxiproxy) ask(t *testing.T, method, path string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.api+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		t.Fatalf("toxiproxy: %s %s: %s %s", method, path, resp.Status, text)
	}
}

// startBehind starts a gateway at far, whose connection point dials near, and devices that ask a ledger through it.
func startBehind(t *testing.T, l *ledger, near, far, id string) *load {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	site := start(t, command(t, binary, "site", "run", "--state", state, "--service-name", fleetName, "--port", fleetPort, "--limits-off",
		"--connection-point", id, "--gateway-address", near, "--publish", "app="+l.url))
	eventually(t, 30*time.Second, "the site runs", func() bool {
		if site.ended() {
			t.Fatalf("site run ended: %v\n%s", site.err, site.out)
		}
		return run(t, command(t, binary, "status", "--state", state)).code == 0
	})
	gateway := &role{name: "instance 0", dir: filepath.Join(dir, "gateway")}
	must(t, "", binary, "site", "export", "gateway", "0", gateway.dir, "--state", state)
	write(t, gateway.config(), strings.ReplaceAll(string(readFile(t, gateway.config())), `"0.0.0.0:`, `"`+far+`:`))
	gateway.start(t)
	waitForListener(t, gateway.process, far+":"+fleetPort)
	point := &role{name: id, dir: filepath.Join(dir, id)}
	must(t, "", binary, "site", "export", "connection-point", id, point.dir, "--state", state)
	point.process = start(t, command(t, binary, "connection-point", "run", "--config", point.config()))
	eventually(t, 30*time.Second, "the channels are up", func() bool {
		open, wanted := point.connections()
		return wanted > 0 && open == wanted
	})
	device := filepath.Join(dir, "device")
	must(t, "", binary, "device", "cert", "laptop-1", "--out", device, "--state", state)
	d := &load{ledger: l, base: "/app", host: fleetName + ":" + fleetPort, config: deviceConfig(t, device, filepath.Join(state, "ca.crt"))}
	d.dial = func() (net.Conn, error) { return net.DialTimeout("tcp", far+":"+fleetPort, attemptPatience) }
	d.start(t, 16)
	return d
}

// deviceConfig is what a device connects with, from its folder.
func deviceConfig(t *testing.T, dir, ca string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "device.crt"), filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(readFile(t, ca))
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: fleetName, MinVersion: tls.VersionTLS12}
}
