//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTheGatewayTakesSystemdsSockets starts the gateway as the packaged units do: systemd's own program holds the
// sockets and starts it at the first connection, and it has a network of its own in which there is nothing. It can
// answer whoever comes, and dial nobody.
func TestTheGatewayTakesSystemdsSockets(t *testing.T) {
	o := startOrigin(t)
	dir, listen := t.TempDir(), address()
	state, gatewayDir, pointDir := filepath.Join(dir, "state"), filepath.Join(dir, "gateway"), filepath.Join(dir, "point")
	start(t, command(t, binary, "site", "run", "--state", state, "--gateway-address", listen, "--port", sitePort, "--publish", "app="+o.url))
	eventually(t, 30*time.Second, "the site runs", func() bool {
		return run(t, command(t, binary, "status", "--state", state)).code == 0
	})
	must(t, "", binary, "site", "export", "gateway", "0", gatewayDir, "--state", state)
	must(t, "", binary, "site", "export", "connection-point", "cp-1", pointDir, "--state", state)
	must(t, "", binary, "device", "cert", "laptop-1", "--out", filepath.Join(dir, "device"), "--state", state)

	devices, channels, health := listen+":"+sitePort, listen+":10124", listen+":9080"
	gateway := start(t, command(t, "systemd-socket-activate", "--listen="+devices, "--listen="+channels, "--listen="+health,
		"--fdname=devices:channels:health", tool(t, "unshare"), "--map-root-user", "--net",
		binary, "gateway", "run", "--config", filepath.Join(gatewayDir, "config.yaml")))
	waitForListener(t, gateway, health)
	eventually(t, 30*time.Second, "the health socket is answered", func() bool {
		resp, err := http.Get("http://" + health + "/")
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return err == nil
	})
	start(t, command(t, binary, "connection-point", "run", "--config", filepath.Join(pointDir, "config.yaml")))
	eventually(t, 30*time.Second, "a device is served over systemd's sockets", func() bool {
		got := run(t, command(t, "curl", "--silent", "--fail", "--max-time", "5", "--cacert", filepath.Join(state, "ca.crt"),
			"--cert", filepath.Join(dir, "device/device.crt"), "--key", filepath.Join(dir, "device/device.key"),
			fmt.Sprintf("https://%s/app/hello", devices)))
		return got.code == 0 && decode(t, got.stdout).Target == "/hello"
	})
	gateway.stop(t)
}

// TestTheExampleConfigurationsAreWhatExportWrites keeps the packaged examples to fields that exist.
func TestTheExampleConfigurationsAreWhatExportWrites(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	start(t, command(t, binary, "site", "run", "--state", state, "--gateway-address", address()))
	eventually(t, 30*time.Second, "the site runs", func() bool {
		return run(t, command(t, binary, "status", "--state", state)).code == 0
	})
	must(t, "", binary, "site", "export", "gateway", "0", filepath.Join(dir, "gateway"), "--systemd", "--state", state)
	must(t, "", binary, "site", "export", "connection-point", "cp-1", filepath.Join(dir, "connection-point"), "--systemd", "--state", state)
	for _, role := range []string{"gateway", "connection-point"} {
		written := settings(t, filepath.Join(dir, role, "config.yaml"))
		for name, value := range settings(t, filepath.Join("../packaging/examples", role, "config.yaml")) {
			got, ok := written[name]
			if !ok || strings.HasPrefix(value, "/") && got != value {
				t.Errorf("%s: the example says %s: %s, export writes %q", role, name, value, got)
			}
		}
	}
}

// settings reads the fields of a flat YAML file, those that are commented out included.
func settings(t *testing.T, file string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(?:# )?([a-z_]+): *"?([^"#\n]*[^"# \n])`).FindAllStringSubmatch(string(readFile(t, file)), -1) {
		fields[m[1]] = m[2]
	}
	return fields
}
