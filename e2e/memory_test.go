//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxGrowth is what a process may grow by, whatever passes through it.
const maxGrowth = 64 << 20

// bulkBytes is the length of a large body.
func bulkBytes() int64 {
	if soak {
		return 5 << 30
	}
	return 384 << 20
}

// residentBytes returns the memory of a process now.
func residentBytes(pid int) int64 {
	status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// watchMemory runs f and returns by how much the largest process of the site grew meanwhile.
func (s *site) watchMemory(f func()) (growth int64) {
	base := map[int]int64{}
	for _, pid := range s.pids() {
		base[pid] = residentBytes(pid)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.Tick(20 * time.Millisecond); ; {
			for pid, before := range base {
				growth = max(growth, residentBytes(pid)-before)
			}
			select {
			case <-stop:
				return
			case <-tick:
			}
		}
	}()
	f()
	close(stop)
	<-done
	return growth
}

// TestMemoryStaysFlatUnderLargeBodies sends bodies up and down that no process may hold, of known length and unknown,
// over both versions of HTTP.
func TestMemoryStaysFlatUnderLargeBodies(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	base, size := s.publishedURL(t, "app"), bulkBytes()
	sparse := filepath.Join(t.TempDir(), "sparse")
	write(t, sparse, "")
	if err := os.Truncate(sparse, size); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		up   bool
	}{
		{"down over HTTP/1.1", []string{"--http1.1", base + fmt.Sprintf("/bytes?n=%d", size)}, false},
		{"down over HTTP/1.1 of unknown length", []string{"--http1.1", base + fmt.Sprintf("/bytes?chunked=1&n=%d", size)}, false},
		{"down over HTTP/2", []string{"--http2", base + fmt.Sprintf("/bytes?n=%d", size)}, false},
		{"up over HTTP/1.1", []string{"--http1.1", "--upload-file", sparse, base + "/sink"}, true},
		{"up over HTTP/1.1 of unknown length", []string{"--http1.1", "--header", "Transfer-Encoding: chunked", "--upload-file", sparse, base + "/sink"}, true},
		{"up over HTTP/2", []string{"--http2", "--upload-file", sparse, base + "/sink"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got finished
			growth := s.watchMemory(func() {
				args := append([]string{"--silent", "--show-error", "--fail", "--max-time", "900", "--write-out", "%{size_download}",
					"--cacert", s.CAFile, "--cert", s.DeviceCertFile, "--key", s.DeviceKeyFile}, tt.args...)
				if !tt.up {
					args = append(args, "--output", "/dev/null")
				}
				got = run(t, command(t, "curl", args...))
			})
			text := strings.TrimSpace(got.stdout)
			if tt.up {
				text, _, _ = strings.Cut(text, "\n")
			}
			if got.code != 0 || text != strconv.FormatInt(size, 10) {
				t.Fatalf("exit status %d, %q of %d bytes came: %s", got.code, text, size, got.stderr)
			}
			if growth > maxGrowth {
				t.Errorf("a process grew by %d MiB", growth>>20)
			}
		})
	}
}
