//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKillingTheParentLeavesNothing kills the one process that could have tidied up.
func TestKillingTheParentLeavesNothing(t *testing.T) {
	s := up(t)
	all := append([]int{s.cmd.Process.Pid}, descendants(s.cmd.Process.Pid)...)
	if len(all) < 6 { // itself, balancer, two instances, connection point, sample server
		t.Fatalf("the site has %d processes: %v", len(all), all)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "every process of the site is gone", func() bool {
		for _, pid := range all {
			if alive(pid) {
				return false
			}
		}
		return true
	})
	// What a killed site cannot remove, the next one replaces; it must not be hindered by it.
	again := upIn(t, s.state, strings.Split(s.host(t), ":")[0])
	if got := again.curl(t, "--output", "/dev/null", "--write-out", "%{http_code}", again.publishedURL(t, "sample")+"/"); got != "200" {
		t.Errorf("after the second start: %s", got)
	}
}

// descendants lists the living processes below pid.
func descendants(pid int) (all []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(data)) {
			child, _ := strconv.Atoi(field)
			all = append(append(all, child), descendants(child)...)
		}
	}
	return all
}

func TestTheSecondStartIsTheSameSite(t *testing.T) {
	first := up(t)
	files := map[string][]byte{}
	for _, file := range []string{first.CAFile, first.DeviceCertFile, first.DeviceKeyFile} {
		files[file] = readFile(t, file)
	}
	extra := filepath.Join(t.TempDir(), "extra")
	first.cli(t, "device", "cert", "laptop-7", "--out", extra)
	first.stop(t)

	second := upIn(t, first.state, strings.Split(first.host(t), ":")[0])
	for file, want := range files {
		if got := readFile(t, file); !bytes.Equal(got, want) {
			t.Errorf("%s changed", file)
		}
	}
	if second.GatewayURL != first.GatewayURL || fmt.Sprint(second.Published) != fmt.Sprint(first.Published) {
		t.Errorf("the second start says %s %v, the first said %s %v", second.GatewayURL, second.Published, first.GatewayURL, first.Published)
	}
	second.DeviceCertFile, second.DeviceKeyFile = filepath.Join(extra, "device.crt"), filepath.Join(extra, "device.key")
	if got := second.curl(t, "--output", "/dev/null", "--write-out", "%{http_code}", second.publishedURL(t, "sample")+"/"); got != "200" {
		t.Errorf("a device certificate from before: %s", got)
	}
}

// TestNothingOfAPayloadIsStored looks for a request's and an answer's bytes in everything the site keeps.
func TestNothingOfAPayloadIsStored(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	const marker = "payload-marker-3f9c1d"
	s.curl(t, "--data-binary", marker+"-in-the-body", s.publishedURL(t, "app")+"/x")
	s.curl(t, "--data-binary", marker, strings.TrimSuffix(s.GatewayURL, "/")+"/not-published")
	err := filepath.WalkDir(s.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if bytes.Contains(readFile(t, path), []byte(marker)) {
			t.Errorf("%s holds the payload", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheStateIsItsOwnersAlone checks every file and folder against other users.
func TestTheStateIsItsOwnersAlone(t *testing.T) {
	s := up(t)
	info, err := os.Stat(s.state)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the state folder has mode %o", info.Mode().Perm())
	}
	err = filepath.WalkDir(s.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if secret := strings.HasSuffix(path, ".key") || strings.HasSuffix(path, ".token") || strings.HasSuffix(path, ".db"); secret && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheConnectionPointListensNowhere compares its sockets with those that the kernel says are listening. A role lets
// nobody look at its descriptors, not even the user that it runs as; in a namespace of our own we may.
func TestTheConnectionPointListensNowhere(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	must(t, "", "ip", "link", "set", "lo", "up")
	s := up(t)
	pid := s.ConnectionPoints[0].PID
	own := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("the connection point's descriptors cannot be seen: %v", err)
	}
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil && strings.HasPrefix(name, "socket:[") {
			own[strings.Trim(name, "socket:[]")] = true
		}
	}
	const listening = "0A"
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(string(readFile(t, "/proc/net/"+table))) {
			fields := strings.Fields(line)
			if len(fields) > 9 && fields[3] == listening && own[fields[9]] {
				t.Errorf("it listens: %s", line)
			}
		}
	}
}

// ccmLine is one line as the programs that read ConfigMgr's logs expect it.
var ccmLine = regexp.MustCompile(`^<!\[LOG\[.*\]LOG\]!><time="\d\d:\d\d:\d\d\.\d{3}\+000" date="\d\d-\d\d-\d{4}" component="[^"]+" context="[^"]*" type="[123]" thread="\d+" file="[^"]*">$`)

// TestOneRequestIDTiesTheHopsTogether follows a request that failed from the device's answer into both roles' logs.
func TestOneRequestIDTiesTheHopsTogether(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	s.cli(t, "server", "set", "app=http://"+address()+":9")
	resp, err := s.client(t).Get(s.publishedURL(t, "app") + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p struct {
		RequestID string `json:"request_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.RequestID == "" || resp.StatusCode != http.StatusBadGateway {
		t.Fatalf("%s without a request id: %v", resp.Status, err)
	}
	for _, pattern := range []string{"instances/*/logs/CMGService", "connection-points/*/logs/SMS_Cloud_ProxyConnector"} {
		for _, suffix := range []string{".log", ".json"} {
			eventually(t, 30*time.Second, pattern+suffix+" names request "+p.RequestID, func() bool {
				files, _ := filepath.Glob(filepath.Join(s.state, pattern+suffix))
				for _, file := range files {
					if bytes.Contains(readFile(t, file), []byte(p.RequestID)) {
						return true
					}
				}
				return false
			})
		}
	}
	files, _ := filepath.Glob(filepath.Join(s.state, "*/*/logs/*.log"))
	if len(files) < 3 {
		t.Fatalf("there are only these logs: %v", files)
	}
	for _, file := range files {
		for line := range strings.Lines(string(readFile(t, file))) {
			if !ccmLine.MatchString(strings.TrimRight(line, "\r\n")) {
				t.Errorf("%s: not a CMTrace line: %q", filepath.Base(file), line)
			}
		}
	}
}

// TestMetricsAndHealthAreNotOnThePublicPort asks the public port for what only the loopback address shows.
func TestMetricsAndHealthAreNotOnThePublicPort(t *testing.T) {
	s := up(t)
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/status", "/debug/pprof/"} {
		if got := s.curl(t, "--output", "/dev/null", "--write-out", "%{http_code}", strings.TrimSuffix(s.GatewayURL, "/")+path); got != "404" {
			t.Errorf("the public port answers %s with %s", path, got)
		}
	}
	for _, path := range []string{"/metrics", "/livez", "/readyz"} {
		resp, err := http.Get(s.AdminURL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s%s: %s %s %v", s.AdminURL, path, resp.Status, body, err)
		}
	}
	// The address is for reading only.
	resp, err := http.Post(s.AdminURL+"/servers", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode < 400 {
		t.Errorf("the read-only address took a change: %s", resp.Status)
	}
}

// TestAStoppedInstanceDoesNotStopTheOthers freezes an instance: the balancer must notice and leave it out.
func TestAStoppedInstanceDoesNotStopTheOthers(t *testing.T) {
	s := up(t, "--instances", "3")
	pid := s.Instances[1].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	url := s.publishedURL(t, "sample") + "/"
	ask := func() bool {
		cmd := command(t, "curl", "--silent", "--max-time", "2", "--output", "/dev/null", "--write-out", "%{http_code}",
			"--cacert", s.CAFile, "--cert", s.DeviceCertFile, "--key", s.DeviceKeyFile, url)
		return run(t, cmd).stdout == "200"
	}
	eventually(t, 60*time.Second, "twenty new connections in a row are served", func() bool {
		for range 20 {
			if !ask() {
				return false
			}
		}
		return true
	})
}
