//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pointStatus is what a connection point's admin socket says, as far as these tests ask.
type pointStatus struct {
	Channels []struct {
		Slot      int    `json:"slot"`
		Address   string `json:"address"`
		Transport string `json:"transport"`
		Connected int    `json:"connected"`
		LastError string `json:"last_error"`
		Better    []struct {
			Transport string `json:"transport"`
			Error     string `json:"error"`
			Hint      string `json:"hint"`
		} `json:"better_failed"`
	} `json:"channels"`
}

// statusOf asks the connection point in a folder.
func statusOf(t *testing.T, dir string) (st pointStatus) {
	t.Helper()
	got := run(t, command(t, "curl", "--silent", "--max-time", "5", "--unix-socket", filepath.Join(dir, "run.sock"), "http://role/status"))
	if got.code == 0 {
		if err := json.Unmarshal([]byte(got.stdout), &st); err != nil {
			t.Fatalf("status: %v\n%s", err, got.stdout)
		}
	}
	return st
}

// connected reports whether every slot has its connections, by one of the transports.
func (st pointStatus) connected(slots int, transports ...string) bool {
	if len(st.Channels) != slots {
		return false
	}
	for _, c := range st.Channels {
		if c.Connected < 2 || !strings.Contains(" "+strings.Join(transports, " ")+" ", " "+c.Transport+" ") {
			return false
		}
	}
	return true
}

// TestUpTakesChannelsOnTheDevicesPort runs a connection point beside those of `up`, which has nothing but the devices'
// port to reach its instances by: the balancer spreads what comes there by chance, and each connection must find the
// instance that it is for.
func TestUpTakesChannelsOnTheDevicesPort(t *testing.T) {
	s := up(t, "--instances", "3")
	for _, transport := range []string{"single-port", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "point")
			copyPoint(t, filepath.Join(s.state, "connection-points", s.ConnectionPoints[0].ID), dir)
			point := start(t, command(t, binary, "connection-point", "run", "--config", filepath.Join(dir, "config.yaml"), "--transport", transport))
			eventually(t, 30*time.Second, "channels to all instances", func() bool {
				if point.ended() {
					t.Fatalf("connection-point run ended: %v\n%s", point.err, point.out)
				}
				return statusOf(t, dir).connected(3, transport)
			})
			eventually(t, 30*time.Second, "gateways that know how their channels came", func() bool {
				by := 0.0
				s.scrape().each("causeway_gateway_channel_transport_connections", func(labels map[string]string, n float64) {
					if labels["transport"] == transport {
						by += n
					}
				})
				return by == 2*3
			})
			// It alone carries requests while the one that `up` started stands still.
			s.reread(t)
			own := s.ConnectionPoints[0].PID
			if err := syscall.Kill(own, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Kill(own, syscall.SIGCONT) }()
			served := 0
			eventually(t, 60*time.Second, "answers over this connection point alone", func() bool {
				got := run(t, command(t, "curl", "--silent", "--max-time", "10", "--cacert", s.CAFile, "--cert", s.DeviceCertFile, "--key", s.DeviceKeyFile,
					"--output", "/dev/null", "--write-out", "%{http_code}", s.publishedURL(t, "sample")+"/"))
				if got.stdout == "200" {
					served++
				} else {
					served = 0
				}
				return served == 10
			})
		})
	}
}

// copyPoint copies what a connection point needs from the folder of one that runs.
func copyPoint(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"config.yaml", "tls.crt", "tls.key", "documents/connection-point.json"} {
		write(t, filepath.Join(to, name), string(readFile(t, filepath.Join(from, name))))
	}
}

// An outerSite is a site on the premises with two gateway instances outside, one of them at an IPv6 address.
type outerSite struct {
	addresses  []string // of the instances, by slot
	inside     *host
	gateways   []*process
	state, dir string
	deviceDir  string
	name, port string
	point      string // folder of the connection point
}

// Further addresses of the host outside.
const (
	outsideIP6 = "fd77::1"
	otherIP    = "10.77.0.3"
)

// newOuterSite makes one whose instances are at these addresses.
func newOuterSite(t *testing.T, addresses ...string) *outerSite {
	t.Helper()
	o := &outerSite{addresses: addresses, inside: newInsideHost(t), dir: t.TempDir(), name: "gateway.example.test", port: "8443"}
	must(t, "", "ip", "link", "set", "lo", "up")
	must(t, "", "ip", "-6", "addr", "add", outsideIP6+"/64", "dev", "outside", "nodad")
	must(t, "", "ip", "addr", "add", otherIP+"/24", "dev", "outside")
	o.inside.must(t, "ip", "-6", "addr", "add", "fd77::2/64", "dev", "inside", "nodad")
	o.state, o.deviceDir, o.point = filepath.Join(o.dir, "state"), filepath.Join(o.dir, "device"), filepath.Join(o.dir, "point")
	root := filepath.Join(o.dir, "www")
	write(t, filepath.Join(root, "hello"), "hello from inside\n")
	server := prepareNginx(t, root, "0.0.0.0:8080")
	start(t, o.inside.command(t, "nginx", server.args...))
	eventually(t, 30*time.Second, "the server answers inside", func() bool {
		return run(t, o.inside.command(t, "curl", "--silent", "--fail", "http://127.0.0.1:8080/hello")).code == 0
	})
	args := []string{"site", "run", "--state", o.state, "--service-name", o.name, "--port", o.port, "--publish", "app=http://127.0.0.1:8080"}
	for _, a := range addresses {
		args = append(args, "--gateway-address", a)
	}
	site := start(t, o.inside.command(t, binary, args...))
	eventually(t, 30*time.Second, "the site runs", func() bool {
		if site.ended() {
			t.Fatalf("site run ended: %v\n%s", site.err, site.out)
		}
		return run(t, o.inside.command(t, binary, "status", "--state", o.state)).code == 0
	})
	for slot, listen := range addresses {
		dir := filepath.Join(o.dir, fmt.Sprint("gateway-", slot))
		o.inside.must(t, binary, "site", "export", "gateway", fmt.Sprint(slot), dir, "--listen", listen, "--state", o.state)
		gateway := start(t, command(t, binary, "gateway", "run", "--config", filepath.Join(dir, "config.yaml")))
		waitForListener(t, gateway, net.JoinHostPort(listen, o.port))
		o.gateways = append(o.gateways, gateway)
	}
	o.inside.must(t, binary, "site", "export", "connection-point", "cp-1", o.point, "--state", o.state)
	o.inside.must(t, binary, "device", "cert", "laptop-1", "--out", o.deviceDir, "--state", o.state)
	return o
}

// connect starts the connection point with flags.
func (o *outerSite) connect(t *testing.T, flags ...string) *process {
	t.Helper()
	return start(t, o.inside.command(t, binary, append([]string{"connection-point", "run", "--config", filepath.Join(o.point, "config.yaml")}, flags...)...))
}

// status asks the connection point, whose socket is a file.
func (o *outerSite) status(t *testing.T) pointStatus { return statusOf(t, o.point) }

// metrics asks the gateway of a slot.
func (o *outerSite) metrics(t *testing.T, slot int) string {
	return run(t, command(t, "curl", "--silent", "--unix-socket", filepath.Join(o.dir, fmt.Sprint("gateway-", slot), "run.sock"), "http://role/metrics")).stdout
}

// served asks every instance as a device does.
func (o *outerSite) served(t *testing.T) bool {
	for _, ip := range o.addresses {
		if strings.Contains(ip, ":") {
			ip = "[" + ip + "]"
		}
		got := run(t, command(t, "curl", "--silent", "--fail", "--max-time", "10", "--resolve", o.name+":"+o.port+":"+ip,
			"--cacert", filepath.Join(o.state, "ca.crt"), "--cert", filepath.Join(o.deviceDir, "device.crt"), "--key", filepath.Join(o.deviceDir, "device.key"),
			"https://"+o.name+":"+o.port+"/app/hello"))
		if got.stdout != "hello from inside\n" {
			return false
		}
	}
	return true
}

// filter changes what passes from the premises to the gateways' host.
func filter(t *testing.T, action, port, verdict string) {
	t.Helper()
	for _, tool := range []string{"iptables", "ip6tables"} {
		must(t, "", tool, action, "INPUT", "--in-interface", "outside", "--protocol", "tcp", "--dport", port, "--jump", verdict)
	}
}

// drop lets packets vanish, as careful firewalls do.
func drop(t *testing.T, port string)   { filter(t, "--append", port, "DROP") }
func undrop(t *testing.T, port string) { filter(t, "--delete", port, "DROP") }

// logged waits until the connection point has said something.
func logged(t *testing.T, p *process, what ...string) {
	t.Helper()
	eventually(t, 40*time.Second, fmt.Sprintf("a log line with %q", what), func() bool {
		if p.ended() {
			t.Fatalf("connection-point run ended: %v\n%s", p.err, p.out)
		}
		for line := range strings.Lines(p.out.String()) {
			found := true
			for _, w := range what {
				found = found && strings.Contains(line, w)
			}
			if found {
				return true
			}
		}
		return false
	})
}

// TestChannelsFallBackAndReturn takes the slots' ports away, which costs seconds, and gives them back.
func TestChannelsFallBackAndReturn(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	o := newOuterSite(t, outsideIP, outsideIP6)
	config := filepath.Join(o.point, "config.yaml")
	write(t, config, string(readFile(t, config))+"transport_return: 2s\n")

	point := o.connect(t)
	eventually(t, 30*time.Second, "channels by the slots' ports", func() bool { return o.status(t).connected(2, "slot-port") })
	eventually(t, 30*time.Second, "requests", func() bool { return o.served(t) })
	point.stop(t)

	drop(t, "10124:10125")
	began := time.Now()
	point = o.connect(t)
	eventually(t, 30*time.Second, "channels by the devices' port", func() bool { return o.status(t).connected(2, "single-port") })
	t.Logf("the slots' ports are silent: channels after %s", time.Since(began).Round(10*time.Millisecond))
	for _, c := range o.status(t).Channels {
		if len(c.Better) != 1 || c.Better[0].Transport != "slot-port" || c.Better[0].Error == "" {
			t.Errorf("status does not say why: %+v", c)
		}
	}
	logged(t, point, "channel up by a lesser transport", `"transport":"single-port"`, "slot-port: ")
	if !o.served(t) {
		t.Error("requests are not served by the devices' port")
	}
	undrop(t, "10124:10125")
	began = time.Now()
	eventually(t, 60*time.Second, "the return to the slots' ports", func() bool { return o.status(t).connected(2, "slot-port") })
	t.Logf("the slots' ports are back: used after %s, with tries every 1 to 3 s", time.Since(began).Round(10*time.Millisecond))
	if !o.served(t) {
		t.Error("requests are not served after the return")
	}

	// The other way round, with the channels up: what is dead is noticed, and the lesser way taken.
	drop(t, "10124:10125")
	began = time.Now()
	eventually(t, 60*time.Second, "channels by the devices' port", func() bool { return o.status(t).connected(2, "single-port") })
	t.Logf("the slots' ports fell silent under living channels: others after %s", time.Since(began).Round(10*time.Millisecond))
	if !o.served(t) {
		t.Error("requests are not served by the devices' port")
	}
}

// TestChannelsGoThroughSquid has nothing but a proxy with a password between the premises and the gateways.
func TestChannelsGoThroughSquid(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	o := newOuterSite(t, outsideIP, outsideIP6)
	for _, port := range []string{"8443", "10124:10125"} {
		drop(t, port)
	}
	squid := newSquid(t)
	proxy := []string{"--proxy", "http://" + outsideIP + ":3128", "--proxy-credentials", filepath.Join(o.dir, "proxy.txt")}
	credentials := func(text string) { write(t, filepath.Join(o.dir, "proxy.txt"), text) }

	// The password is wrong, and then it is right: nothing is started again.
	credentials("cp:wrong-secret\n")
	squid.start(t, "")
	point := o.connect(t, proxy...)
	logged(t, point, "channel down", "407 Proxy Authentication Required", "proxy_credentials_file")
	eventually(t, 30*time.Second, "407 in the status", func() bool {
		for _, c := range o.status(t).Channels {
			if len(c.Better) == 0 || !strings.Contains(c.Better[0].Error, "407") || !strings.Contains(c.LastError, "407") {
				return false
			}
		}
		return true
	})
	credentials("cp:right-secret\n")
	began := time.Now()
	eventually(t, 40*time.Second, "channels through the proxy", func() bool { return o.status(t).connected(2, "slot-port") })
	t.Logf("the password is right: channels after %s", time.Since(began).Round(10*time.Millisecond))
	eventually(t, 30*time.Second, "requests", func() bool { return o.served(t) })
	for _, want := range []string{"CONNECT " + outsideIP + ":10124 ", "CONNECT [" + outsideIP6 + "]:10125 "} {
		if log := squid.accessLog(t); !strings.Contains(log, want) {
			t.Errorf("the proxy's log has no %q:\n%s", want, log)
		}
	}

	// The proxy goes away and comes back.
	squid.stop(t)
	logged(t, point, "channel down", "proxy http://"+outsideIP+":3128", "connection refused")
	squid.start(t, "")
	began = time.Now()
	eventually(t, 60*time.Second, "channels through the proxy again", func() bool { return o.status(t).connected(2, "slot-port") })
	t.Logf("the proxy is back: channels after %s", time.Since(began).Round(10*time.Millisecond))
	point.stop(t)
	if strings.Contains(point.out.String(), "-secret") {
		t.Error("the log holds a password")
	}

	// A proxy that allows only the port of HTTPS, and one that allows none of ours.
	squid.stop(t)
	squid.start(t, "http_access deny slots")
	began = time.Now()
	point = o.connect(t, proxy...)
	eventually(t, 40*time.Second, "channels through the proxy by the devices' port", func() bool { return o.status(t).connected(2, "single-port") })
	t.Logf("the proxy refuses the slots' ports: channels after %s", time.Since(began).Round(10*time.Millisecond))
	logged(t, point, "channel up by a lesser transport", "403 Forbidden", "have the proxy allow CONNECT")
	point.stop(t)
	point = o.connect(t, append(proxy, "--transport", "websocket")...)
	eventually(t, 40*time.Second, "channels through the proxy by WebSocket", func() bool { return o.status(t).connected(2, "websocket") })
	eventually(t, 30*time.Second, "requests by WebSocket", func() bool { return o.served(t) })
	point.stop(t)

	// A proxy that takes no packet.
	drop(t, "3128")
	point = o.connect(t, proxy...)
	logged(t, point, "channel down", "proxy http://"+outsideIP+":3128", "timeout")
	undrop(t, "3128")
	eventually(t, 60*time.Second, "channels once the proxy's packets pass", func() bool { return o.status(t).connected(2, "single-port") })
	point.stop(t)

	// NO_PROXY, in the environment that was asked for: one gateway is reached past the proxy, the other through it.
	undrop(t, "10124:10125")
	before := strings.Count(squid.accessLog(t), "CONNECT "+outsideIP+":")
	cmd := o.inside.command(t, binary, "connection-point", "run", "--config", filepath.Join(o.point, "config.yaml"), "--proxy", "environment",
		"--proxy-credentials", filepath.Join(o.dir, "proxy.txt"))
	cmd.Env = append(cmd.Env, "HTTPS_PROXY=http://"+outsideIP+":3128", "NO_PROXY="+outsideIP)
	point = start(t, cmd)
	eventually(t, 40*time.Second, "channels by both ways", func() bool {
		st := o.status(t)
		return st.connected(2, "slot-port", "single-port") && st.Channels[0].Transport == "slot-port" && st.Channels[1].Transport == "single-port"
	})
	if after := strings.Count(squid.accessLog(t), "CONNECT "+outsideIP+":"); after != before {
		t.Errorf("%d tunnels to the gateway that NO_PROXY names", after-before)
	}
	point.stop(t)
}

// A squid is a real proxy that knows one user.
type squid struct {
	dir string
	*process
}

func newSquid(t *testing.T) *squid {
	t.Helper()
	s := &squid{dir: t.TempDir()}
	// It becomes a user of its own where root starts it, and writes its logs as that.
	for dir, mode := range map[string]os.FileMode{filepath.Dir(s.dir): 0o755, s.dir: 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	password := strings.TrimSpace(must(t, "", "openssl", "passwd", "-apr1", "right-secret"))
	write(t, filepath.Join(s.dir, "users"), "cp:"+password+"\n")
	return s
}

func (s *squid) start(t *testing.T, rule string) {
	t.Helper()
	helper := "/usr/lib/squid/basic_ncsa_auth"
	if !exists(helper) {
		t.Fatalf("%s is not on this machine (tools/setup.sh test installs squid)", helper)
	}
	config := filepath.Join(s.dir, "squid.conf")
	write(t, config, fmt.Sprintf(`http_port %[1]s:3128
pid_filename none
cache deny all
cache_log %[2]s/cache.log
access_log stdio:%[2]s/access.log
coredump_dir none
shutdown_lifetime 1 seconds
auth_param basic program %[3]s %[2]s/users
auth_param basic children 2
acl known proxy_auth REQUIRED
acl slots port 10124-10139
acl ours port 8443 10124-10139
%[4]s
http_access allow CONNECT known ours
http_access deny all
`, outsideIP, s.dir, helper, rule))
	for _, file := range []string{"squid.conf", "users"} {
		if err := os.Chmod(filepath.Join(s.dir, file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.process = start(t, command(t, "squid", "-N", "-f", config))
	waitForListener(t, s.process, outsideIP+":3128")
}

func (s *squid) accessLog(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

// TestUpTakesNoChannelsFromElsewhere comes from another host, whose connections to the slots' ports `up` refuses: the
// devices' port must be no way around that.
func TestUpTakesNoChannelsFromElsewhere(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	elsewhere := newInsideHost(t)
	must(t, "", "ip", "link", "set", "lo", "up")
	s := upIn(t, filepath.Join(t.TempDir(), "state"), outsideIP)
	hello := []string{"s_client", "-connect", outsideIP + ":" + sitePort, "-alpn", "causeway-channel/1/0"}
	if got := run(t, command(t, "openssl", hello...)); !strings.Contains(got.stdout, "BEGIN CERTIFICATE") {
		t.Fatalf("from this host no instance answers either, so this test would show nothing:\n%s%s", got.stdout, got.stderr)
	}
	if got := run(t, elsewhere.command(t, "openssl", hello...)); strings.Contains(got.stdout, "BEGIN CERTIFICATE") {
		t.Errorf("an instance answers a channel from elsewhere:\n%s", got.stdout)
	}
	got := run(t, elsewhere.command(t, "curl", "--silent", "--http1.1", "--max-time", "30", "--cacert", s.CAFile, "--include", "--no-buffer",
		"-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"-H", "Sec-WebSocket-Protocol: causeway-channel.1", "https://"+outsideIP+":"+sitePort+"/causeway-channel/1/0"))
	if got.code == 28 { // time is over: somebody waits for our hello
		t.Errorf("a WebSocket from elsewhere is kept:\n%s", got.stdout)
	}
	if !strings.Contains(got.stdout, "101 Switching Protocols") {
		t.Errorf("the WebSocket was not made, so this shows nothing: %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	// Devices from elsewhere are served as ever.
	if got := run(t, elsewhere.command(t, "curl", "--silent", "--fail", "--max-time", "20", "--cacert", s.CAFile, "--cert", s.DeviceCertFile, "--key", s.DeviceKeyFile,
		"--output", "/dev/null", s.publishedURL(t, "sample")+"/")); got.code != 0 {
		t.Errorf("a device from elsewhere: exit status %d, %s", got.code, got.stderr)
	}
}

// TestBalancedPortFindsTheInstance puts a balancer in front of two gateways that knows nothing of channels: every second
// connection to the devices' port reaches the other instance, which has to pass it on.
func TestBalancedPortFindsTheInstance(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	o := newOuterSite(t, outsideIP, otherIP)
	drop(t, "10124:10125")
	for _, to := range []string{otherIP, outsideIP} {
		rule := []string{"--table", "nat", "--append", "PREROUTING", "--in-interface", "outside", "--protocol", "tcp", "--dport", o.port}
		if to == otherIP {
			rule = append(rule, "--match", "statistic", "--mode", "nth", "--every", "2", "--packet", "0")
		}
		must(t, "", "iptables", append(rule, "--jump", "DNAT", "--to-destination", to+":"+o.port)...)
	}
	for _, transport := range []string{"single-port", "websocket"} {
		point := o.connect(t, "--transport", transport)
		eventually(t, 30*time.Second, "channels to both instances by "+transport, func() bool { return o.status(t).connected(2, transport) })
		for slot := range o.gateways {
			want := `causeway_gateway_channel_transport_connections{connection_point="cp-1",transport="` + transport + `"} 2`
			if metrics := o.metrics(t, slot); !strings.Contains(metrics, want+"\n") {
				t.Errorf("the gateway of slot %d does not know how its channels came, want %s", slot, want)
			}
		}
		eventually(t, 30*time.Second, "requests to both", func() bool { return o.served(t) })
		point.stop(t)
	}
	passed := 0
	for slot := range o.gateways {
		for line := range strings.Lines(o.metrics(t, slot)) {
			if n := 0; strings.HasPrefix(line, `causeway_gateway_channel_handshakes_total{result="passed"}`) {
				if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
					t.Fatal(err)
				}
				passed += n
			}
		}
	}
	if passed == 0 {
		t.Error("no instance passed a channel on, so this shows nothing")
	}
	t.Logf("%d channel connections were passed on to the other instance", passed)
}
