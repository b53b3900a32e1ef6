//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// httpsOptions are apt's options for a device with a certificate.
func (s *site) httpsOptions() string {
	return fmt.Sprintf(`Acquire::https::CAInfo "%s"; Acquire::https::SslCert "%s"; Acquire::https::SslKey "%s";`,
		s.CAFile, s.DeviceCertFile, s.DeviceKeyFile)
}

// TestAptWorksThroughTheGateway is the main job: an inside server that nobody wrote for a gateway, a client that
// nobody wrote for one, and processes that die while both go on.
func TestAptWorksThroughTheGateway(t *testing.T) {
	r := buildRepositories(t)
	n := startNginx(t, r.root)
	s := up(t, "--publish", "debian="+n.url, "--instances", "2", "--connection-points", "2")
	a := newApt(t, r, s.publishedURL(t, "debian"), s.httpsOptions())
	dir := t.TempDir()

	a.mustGet(t, dir, "update")
	if got := n.requests(t, "GET /flat/./InRelease 200"); len(got) != 1 {
		t.Errorf("the flat repository's index was asked for %d times: %q", len(got), n.requests(t))
	}
	a.mustGet(t, dir, append([]string{"download"}, flatPackages...)...)

	kill(t, s.Instances[0].PID)
	a.mustGet(t, dir, append([]string{"download"}, poolPackages...)...)

	kill(t, s.ConnectionPoints[0].PID)
	a.resume(t, dir, largePackage)
	if got := n.requests(t, largePackage, " 206 bytes="); len(got) == 0 {
		t.Errorf("apt did not go on where it was: %q", n.requests(t, largePackage))
	}
	r.checkPackage(t, filepath.Join(a.dir, "cache/archives"), largePackage)
	for _, name := range append(flatPackages, poolPackages...) {
		r.checkPackage(t, dir, name)
	}
	if got := n.requests(t, "causeway-flat-one_1.0%2bcauseway%7e1-2_all.deb 200"); len(got) != 1 {
		t.Errorf("apt's escapes were not forwarded as they came: %q", n.requests(t, "causeway-flat-one"))
	}

	s.awaitReplacements(t)
	a.mustGet(t, dir, "update")
}

// awaitReplacements waits until every process of the site lives again.
func (s *site) awaitReplacements(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "killed processes were replaced", func() bool {
		s.reread(t)
		for _, pid := range s.pids() {
			if !alive(pid) {
				return false
			}
		}
		return true
	})
}

// TestAptSurvivesKillsInTheMiddleOfADownload kills what carries the download, one after the other.
func TestAptSurvivesKillsInTheMiddleOfADownload(t *testing.T) {
	r := buildRepositories(t)
	n := startNginx(t, r.root)
	s := up(t, "--publish", "debian="+n.url, "--instances", "2", "--connection-points", "2")
	// Slow enough to be hit: six megabytes at one and a half per second.
	a := newApt(t, r, s.publishedURL(t, "debian"), s.httpsOptions()+` Acquire::https::Dl-Limit "1500"; Acquire::http::Dl-Limit "1500";`)
	dir := t.TempDir()
	a.mustGet(t, dir, "update")

	download := start(t, a.command(t, dir, "download", largePackage))
	begun := func(times int) func() bool {
		return func() bool {
			if download.ended() {
				t.Fatalf("the download ended before anything was killed: %v\n%s", download.err, download.out)
			}
			return largestFile(dir) > times*(256<<10)
		}
	}
	eventually(t, 30*time.Second, "the download has begun", begun(1))
	kill(t, s.ConnectionPoints[0].PID)
	kill(t, s.Instances[1].PID)
	<-download.done
	if download.err != nil {
		t.Fatalf("apt-get download: %v\n%s", download.err, download.out)
	}
	r.checkPackage(t, dir, largePackage)
}

// largestFile returns the size of the largest file in dir.
func largestFile(dir string) (size int) {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		size = max(size, int(fileSize(f)))
	}
	return size
}

func TestAptWithoutACertificateIsRefused(t *testing.T) {
	r := buildRepositories(t)
	n := startNginx(t, r.root)
	s := up(t, "--publish", "debian="+n.url)
	a := newApt(t, r, s.publishedURL(t, "debian"), fmt.Sprintf(`Acquire::https::CAInfo "%s"; Acquire::Retries "0";`, s.CAFile))
	before := len(n.requests(t)) // up asks once by itself whether the server answers
	got := a.get(t, t.TempDir(), "update")
	if got.code == 0 || !strings.Contains(got.stdout+got.stderr, "403") {
		t.Errorf("apt-get update ended with %d, want a refusal with 403:\n%s%s", got.code, got.stdout, got.stderr)
	}
	if lines := n.requests(t); len(lines) != before {
		t.Errorf("requests of a stranger reached the server: %q", lines[before:])
	}
}
