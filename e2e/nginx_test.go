//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An nginx serves one folder on an address of its own. Everything it writes lies in a folder of the test.
type nginx struct {
	*process
	url  string
	log  string // access log: method, path, status, range
	args []string
}

func startNginx(t *testing.T, root string) *nginx {
	t.Helper()
	listen := net.JoinHostPort(address(), "8080")
	n := prepareNginx(t, root, listen)
	n.process = start(t, command(t, "nginx", n.args...))
	waitForListener(t, n.process, listen)
	return n
}

// prepareNginx writes the configuration of one that listens at listen.
func prepareNginx(t *testing.T, root, listen string) *nginx {
	t.Helper()
	dir, user := t.TempDir(), ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	config := filepath.Join(dir, "nginx.conf")
	n := &nginx{url: "http://" + listen, log: filepath.Join(dir, "access.log"), args: []string{"-e", "stderr", "-c", config}}
	text := fmt.Sprintf(`
daemon off; %s worker_processes 1; pid %[2]s/pid; error_log stderr error;
events { worker_connections 512; }
http {
	log_format e2e '$request_method $request_uri $status $http_range';
	access_log %[2]s/access.log e2e;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	server { listen %s; root %s; }
}
`, user, dir, listen, root)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return n
}

// requests returns the lines of the access log that contain every one of words.
func (n *nginx) requests(t *testing.T, words ...string) (lines []string) {
	t.Helper()
	data, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
next:
	for line := range strings.Lines(string(data)) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// waitForListener returns when p accepts connections at address.
func waitForListener(t *testing.T, p *process, address string) {
	t.Helper()
	eventually(t, 30*time.Second, address+" accepts connections", func() bool {
		if p.ended() {
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.out)
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
