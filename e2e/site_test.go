//go:build linux

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sitePort is the port of every site of these tests; each has an address of its own.
const sitePort = "8443"

// A site is a running `causeway up`.
type site struct {
	*process
	state string
	ready
}

// ready is ready.json as a stranger's program would read it.
type ready struct {
	GatewayURL     string `json:"gateway_url"`
	CAFile         string `json:"ca_file"`
	DeviceCertFile string `json:"device_cert_file"`
	DeviceKeyFile  string `json:"device_key_file"`
	Published      []struct {
		Name, URL, Path string
	} `json:"published"`
	Instances []struct {
		ID          string `json:"id"`
		PID         int    `json:"pid"`
		ChannelPort int    `json:"channel_port"`
	} `json:"instances"`
	ConnectionPoints []struct {
		ID  string `json:"id"`
		PID int    `json:"pid"`
	} `json:"connection_points"`
	AdminURL string `json:"admin_url"`
	LogsDir  string `json:"logs_dir"`
	PID      int    `json:"pid"`
}

// up starts a site and returns when it says that it is ready. The test fails when stopping it leaves a process.
func up(t *testing.T, args ...string) *site {
	t.Helper()
	return upIn(t, filepath.Join(t.TempDir(), "state"), address(), args...)
}

func upIn(t *testing.T, state, listen string, args ...string) *site {
	t.Helper()
	s := &site{state: state}
	// Registered before start's own clean-up, so it runs after the site has been stopped.
	t.Cleanup(func() { s.checkGone(t) })
	s.process = start(t, command(t, binary, append([]string{"up", "--state", s.state, "--listen", listen, "--port", sitePort}, args...)...))
	eventually(t, 30*time.Second, "causeway up is ready", func() bool {
		if s.ended() {
			t.Fatalf("causeway up ended: %v\n%s", s.err, s.out)
		}
		// A site that was killed has left its ready.json, so ask whose it is.
		data, err := os.ReadFile(s.readyFile())
		return err == nil && json.Unmarshal(data, &s.ready) == nil && s.ready.PID == s.cmd.Process.Pid
	})
	s.reread(t)
	t.Cleanup(func() { s.checkIdle(t) }) // after the test's devices are gone, before the site is
	return s
}

func (s *site) readyFile() string { return filepath.Join(s.state, "ready.json") }

// reread reads ready.json again, which changes when a process was replaced.
func (s *site) reread(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(s.readyFile())
	if err != nil {
		t.Fatal(err)
	}
	s.ready = ready{}
	if err := json.Unmarshal(data, &s.ready); err != nil {
		t.Fatalf("ready.json: %v\n%s", err, data)
	}
}

// pids lists the processes that ready.json names.
func (s *site) pids() (pids []int) {
	for _, i := range s.Instances {
		pids = append(pids, i.PID)
	}
	for _, c := range s.ConnectionPoints {
		pids = append(pids, c.PID)
	}
	return pids
}

// checkGone checks what a stopped site leaves: its state, but neither processes nor the claim to be ready.
func (s *site) checkGone(t *testing.T) {
	if _, err := os.Stat(s.readyFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ready.json is still there after the stop (%v)", err)
	}
	for _, pid := range s.pids() {
		if alive(pid) {
			t.Errorf("process %d is still alive after the stop", pid)
		}
	}
	if t.Failed() {
		s.showLogs(t)
	}
}

// showLogs prints the ends of the roles' logs, for a failed test.
func (s *site) showLogs(t *testing.T) {
	for _, pattern := range []string{"instances/*/logs/*.json", "connection-points/*/logs/*.json"} {
		files, _ := filepath.Glob(filepath.Join(s.state, pattern))
		for _, file := range files {
			data, _ := os.ReadFile(file)
			t.Logf("%s:\n%s", file, data[max(0, len(data)-4000):])
		}
	}
}

// alive reports whether a process exists and has not ended.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// kill ends one process of the site at once.
func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill -9 %d: %v", pid, err)
	}
	eventually(t, 30*time.Second, "the killed process is gone", func() bool { return !alive(pid) })
}

// publishedURL returns the address under which devices see a published server, without a trailing slash.
func (s *site) publishedURL(t *testing.T, name string) string {
	t.Helper()
	for _, p := range s.Published {
		if p.Name == name {
			return strings.TrimSuffix(p.URL, "/")
		}
	}
	t.Fatalf("ready.json publishes no %q: %+v", name, s.Published)
	return ""
}

// host returns the host and port of the gateway.
func (s *site) host(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(s.GatewayURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// roots returns the CA that signed the gateway's certificate.
func (s *site) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%s holds no certificate", s.CAFile)
	}
	return pool
}

// tlsConfig is what a device with the site's own test certificate uses.
func (s *site) tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.DeviceCertFile, s.DeviceKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: s.roots(t), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// client is an ordinary HTTP client with the device's certificate.
func (s *site) client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.tlsConfig(t), ForceAttemptHTTP2: false, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// cli runs a command against the site; it must succeed.
func (s *site) cli(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "", binary, append(args, "--state", s.state)...)
}
