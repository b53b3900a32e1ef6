//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestTwoOrdinaryHostsAreEnough runs a gateway on one host, and site, connection point and server on another, which
// lets nobody in. There is no fabric, no storage, and no way for files to go between the hosts after the gateway's
// folder was carried over.
func TestTwoOrdinaryHostsAreEnough(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	inside := newInsideHost(t)
	const name, port = "gateway.example.test", "8443"
	dir := t.TempDir()
	root, state := filepath.Join(dir, "www"), filepath.Join(dir, "state")
	write(t, filepath.Join(root, "hello"), "hello from inside\n")

	// On the premises: a server, and the site.
	server := prepareNginx(t, root, "0.0.0.0:8080")
	start(t, inside.command(t, "nginx", server.args...))
	eventually(t, 30*time.Second, "the server answers inside", func() bool {
		return run(t, inside.command(t, "curl", "--silent", "--fail", "http://127.0.0.1:8080/hello")).code == 0
	})
	site := start(t, inside.command(t, binary, "site", "run", "--state", state, "--gateway-address", outsideIP,
		"--service-name", name, "--port", port, "--publish", "app=http://127.0.0.1:8080"))
	eventually(t, 30*time.Second, "the site runs", func() bool {
		if site.ended() {
			t.Fatalf("site run ended: %v\n%s", site.err, site.out)
		}
		return run(t, inside.command(t, binary, "status", "--state", state)).code == 0
	})
	if got := run(t, command(t, "curl", "--silent", "--max-time", "2", "http://"+insideIP+":8080/hello")); got.code == 0 {
		t.Fatal("the premises are open, so this test would show nothing")
	}

	// The folders of the two roles, and a device.
	gatewayDir, pointDir, deviceDir := filepath.Join(dir, "gateway"), filepath.Join(dir, "point"), filepath.Join(dir, "device")
	inside.must(t, binary, "site", "export", "gateway", "0", gatewayDir, "--state", state)
	inside.must(t, binary, "site", "export", "connection-point", "cp-1", pointDir, "--state", state)
	inside.must(t, binary, "device", "cert", "laptop-1", "--out", deviceDir, "--state", state)

	gateway := start(t, command(t, binary, "gateway", "run", "--config", filepath.Join(gatewayDir, "config.yaml")))
	waitForListener(t, gateway, outsideIP+":"+port)
	point := start(t, inside.command(t, binary, "connection-point", "run", "--config", filepath.Join(pointDir, "config.yaml")))

	get := func(path string) finished {
		return run(t, command(t, "curl", "--silent", "--show-error", "--fail", "--max-time", "5",
			"--resolve", name+":"+port+":"+outsideIP, "--cacert", filepath.Join(state, "ca.crt"),
			"--cert", filepath.Join(deviceDir, "device.crt"), "--key", filepath.Join(deviceDir, "device.key"),
			fmt.Sprintf("https://%s:%s%s", name, port, path)))
	}
	served := func(path string) func() bool {
		return func() bool { return get(path).stdout == "hello from inside\n" }
	}
	eventually(t, 30*time.Second, "a device outside reads what lies inside", served("/app/hello"))

	// A change on the premises reaches the gateway by the channel alone.
	inside.must(t, binary, "server", "add", "more=http://127.0.0.1:8080", "--state", state)
	eventually(t, 30*time.Second, "a server that was added later is served", served("/more/hello"))

	// A gateway that crashed comes back to channels that come back to it.
	if err := syscall.Kill(gateway.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-gateway.done
	gateway = start(t, command(t, binary, "gateway", "run", "--config", filepath.Join(gatewayDir, "config.yaml")))
	waitForListener(t, gateway, outsideIP+":"+port)
	eventually(t, 30*time.Second, "the gateway serves again after its crash", served("/more/hello"))

	// Nothing of the site's own lies on the gateway's host.
	for _, secret := range []string{"site.db", "seal.key", "admin.token"} {
		if matches, _ := filepath.Glob(filepath.Join(gatewayDir, "*", secret)); len(matches) > 0 || exists(filepath.Join(gatewayDir, secret)) {
			t.Errorf("the gateway's folder holds %s", secret)
		}
	}
	point.stop(t)
	if got := get("/app/hello"); got.code == 0 {
		t.Error("requests are served without a connection point")
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
