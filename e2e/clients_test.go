//go:build linux

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// curl runs curl as a device; its exit status must be zero.
func (s *site) curl(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, t.TempDir(), "curl", append([]string{"--silent", "--show-error", "--max-time", "60",
		"--cacert", s.CAFile, "--cert", s.DeviceCertFile, "--key", s.DeviceKeyFile}, args...)...)
}

// wget runs wget in dir as a device.
func (s *site) wget(t *testing.T, dir string, args ...string) finished {
	t.Helper()
	cmd := command(t, "wget", append([]string{"--no-verbose", "--no-hsts", "--tries=1", "--timeout=60",
		"--ca-certificate=" + s.CAFile, "--certificate=" + s.DeviceCertFile, "--private-key=" + s.DeviceKeyFile}, args...)...)
	cmd.Dir = dir
	return run(t, cmd)
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decode reads what the origin's echo answered.
func decode(t *testing.T, text string) (got echoed) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("the answer is not the server's echo: %v\n%s", err, text)
	}
	return got
}

func TestCurlWorksThroughTheGateway(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	base := s.publishedURL(t, "app")
	payload := filepath.Join(t.TempDir(), "payload")
	write(t, payload, string(fileData()))

	for _, version := range []string{"1.1", "2"} {
		http := "--http" + version
		t.Run("http"+version, func(t *testing.T) {
			t.Run("it is that version", func(t *testing.T) {
				if got := s.curl(t, http, "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}", base+"/x"); got != version+" 200" {
					t.Errorf("got %q, want %q", got, version+" 200")
				}
			})
			t.Run("download", func(t *testing.T) {
				if got := s.curl(t, http, base+"/file"); sumOf([]byte(got)) != sumOf(fileData()) {
					t.Errorf("%d bytes came that are not the file's %d", len(got), fileBytes)
				}
			})
			t.Run("download of unknown length", func(t *testing.T) {
				if got := s.curl(t, http, base+"/bytes?chunked=1&n=1000000"); len(got) != 1000000 {
					t.Errorf("%d bytes came, want 1000000", len(got))
				}
			})
			t.Run("head", func(t *testing.T) {
				got := strings.ToLower(s.curl(t, http, "--head", base+"/file"))
				for _, want := range []string{"http/" + version + " 200", "content-length: " + strconv.Itoa(fileBytes), `etag: "v1"`, "accept-ranges: bytes"} {
					if !strings.Contains(got, want) {
						t.Errorf("HEAD answered without %q:\n%s", want, got)
					}
				}
			})
			t.Run("range", func(t *testing.T) {
				got := s.curl(t, http, "--range", "1000-1999", "--dump-header", "-", base+"/file")
				head, body, _ := strings.Cut(got, "\r\n\r\n")
				if !strings.Contains(strings.ToLower(head), "content-range: bytes 1000-1999/"+strconv.Itoa(fileBytes)) || body != string(fileData()[1000:2000]) {
					t.Errorf("a range of 1,000 bytes came as %d bytes with head:\n%s", len(body), head)
				}
			})
			t.Run("conditional", func(t *testing.T) {
				if got := s.curl(t, http, "--header", `If-None-Match: "v1"`, "--write-out", "%{http_code}", base+"/file"); got != "304" {
					t.Errorf("got %q, want 304 and nothing else", got)
				}
			})
			t.Run("upload", func(t *testing.T) {
				got := decode(t, s.curl(t, http, "--upload-file", payload, base+"/up/load?a=b%20c"))
				if got.Method != "PUT" || got.Target != "/up/load?a=b%20c" || got.SHA256 != sumOf(fileData()) {
					t.Errorf("the server got %+v", got)
				}
			})
			t.Run("upload of unknown length", func(t *testing.T) {
				got := decode(t, s.curl(t, http, "--request", "POST", "--header", "Transfer-Encoding: chunked", "--data-binary", "@"+payload, base+"/up"))
				if got.Method != "POST" || got.SHA256 != sumOf(fileData()) {
					t.Errorf("the server got %+v", got)
				}
			})
			t.Run("expect 100-continue", func(t *testing.T) {
				got := decode(t, s.curl(t, http, "--header", "Expect: 100-continue", "--expect100-timeout", "30", "--data-binary", "@"+payload, base+"/up"))
				if got.SHA256 != sumOf(fileData()) || got.Header.Get("Expect") != "" {
					t.Errorf("the server got %+v", got)
				}
			})
			t.Run("redirect", func(t *testing.T) {
				got := s.curl(t, http, "--location", "--write-out", "\n%{url_effective}", base+"/redirect")
				body, effective, _ := strings.Cut(got, "\n\n")
				if effective == "" {
					body, effective, _ = strings.Cut(got, "\n")
				}
				if want := base + "/landed?from=redirect"; strings.TrimSpace(effective) != want {
					t.Errorf("the redirect led to %q, want %q", effective, want)
				}
				if got := decode(t, body); got.Target != "/landed?from=redirect" {
					t.Errorf("the server got %+v", got)
				}
			})
			t.Run("cookies", func(t *testing.T) {
				jar := filepath.Join(t.TempDir(), "jar")
				s.curl(t, http, "--cookie-jar", jar, base+"/cookie")
				if got := decode(t, s.curl(t, http, "--cookie", jar, base+"/x")); got.Header.Get("Cookie") != "session=abc123" {
					t.Errorf("the cookie did not come back: %v\njar:\n%s", got.Header, readFile(t, jar))
				}
			})
			t.Run("methods and headers of management clients", func(t *testing.T) {
				for _, method := range []string{"CCM_POST", "BITS_POST", "PROPFIND", "POST"} {
					got := decode(t, s.curl(t, http, "--request", method, "--data-binary", "x", "--header", "CCMClientID: GUID:1",
						"--header", "CCMClientIDSignature: s", "--header", "CCMClientTimestamp: t", "--header", "CCMClientTimestampsSignature: u", base+"/m"))
					if got.Method != method || got.Header.Get("CCMClientID") != "GUID:1" || got.Header.Get("CCMClientTimestampsSignature") != "u" {
						t.Errorf("%s came as %+v", method, got)
					}
				}
			})
			t.Run("the server learns who asks", func(t *testing.T) {
				got := decode(t, s.curl(t, http, "--header", "X-Causeway-Device-Id: forged", "--header", "X_Causeway_Device_Id: forged", "--header", "Client-Cert: forged", base+"/who"))
				for name, values := range got.Header {
					if strings.Contains(strings.Join(values, " "), "forged") {
						t.Errorf("a forged header went through: %s: %v", name, values)
					}
				}
				if len(got.Header.Values("X-Causeway-Device-Id")) != 1 || !strings.HasPrefix(got.Header.Get("Client-Cert"), ":") {
					t.Errorf("the server was not told who asks: %v", got.Header)
				}
			})
		})
	}
}

// TestWgetWorksThroughTheGateway does it again with a client that shares no code with the first.
func TestWgetWorksThroughTheGateway(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish", "app="+o.url)
	base := s.publishedURL(t, "app")
	dir := t.TempDir()
	want := fileData()

	if got := s.wget(t, dir, base+"/file"); got.code != 0 || sumOf(readFile(t, filepath.Join(dir, "file"))) != sumOf(want) {
		t.Fatalf("download: exit status %d, %d bytes\n%s", got.code, fileSize(filepath.Join(dir, "file")), got.stderr)
	}
	if err := os.Truncate(filepath.Join(dir, "file"), fileBytes/3); err != nil {
		t.Fatal(err)
	}
	if got := s.wget(t, dir, "--continue", "--server-response", base+"/file"); got.code != 0 ||
		!strings.Contains(got.stderr, "206 ") || sumOf(readFile(t, filepath.Join(dir, "file"))) != sumOf(want) {
		t.Errorf("continued download: exit status %d, %d bytes\n%s", got.code, fileSize(filepath.Join(dir, "file")), got.stderr)
	}
	got := s.wget(t, dir, "--post-file=file", "--output-document=-", base+"/posted")
	if e := decode(t, got.stdout); e.Method != "POST" || e.SHA256 != sumOf(want) {
		t.Errorf("the server got %+v", e)
	}
	got = s.wget(t, dir, "--output-document=-", base+"/redirect")
	if e := decode(t, got.stdout); e.Target != "/landed?from=redirect" {
		t.Errorf("the redirect led to %+v", e)
	}
	if got := s.wget(t, dir, "--spider", base+"/file"); got.code != 0 {
		t.Errorf("HEAD: exit status %d\n%s", got.code, got.stderr)
	}
	if got := s.wget(t, dir, "--output-document=-", strings.TrimSuffix(s.GatewayURL, "/")+"/not-published"); got.code != 8 || !strings.Contains(got.stderr, "404") {
		t.Errorf("a URL that is not published: exit status %d\n%s", got.code, got.stderr)
	}
}

// TestAServerPublishedByHostNameBehavesAsInside asks for a server by a name of its own.
func TestAServerPublishedByHostNameBehavesAsInside(t *testing.T) {
	o := startOrigin(t)
	s := up(t, "--publish-host", "app.example.test="+o.url)
	_, port, err := net.SplitHostPort(s.host(t))
	if err != nil {
		t.Fatal(err)
	}
	base := "https://app.example.test:" + port
	resolve := "app.example.test:" + port + ":" + strings.TrimSuffix(s.host(t), ":"+port)
	got := decode(t, s.curl(t, "--resolve", resolve, base+"/a/b?c"))
	if got.Target != "/a/b?c" || "http://"+got.Host != o.url {
		t.Errorf("the server got %+v, want its own host %s", got, o.url)
	}
	where := s.curl(t, "--resolve", resolve, "--output", "/dev/null", "--write-out", "%{redirect_url}", base+"/redirect")
	if want := base + "/landed?from=redirect"; where != want {
		t.Errorf("the redirect points to %q, want %q", where, want)
	}
}

// TestThePastedCurlLinesDoWhatTheySay pastes the two lines of the Ready block into a shell.
func TestThePastedCurlLinesDoWhatTheySay(t *testing.T) {
	s := up(t)
	var lines []string
	for line := range strings.Lines(s.out.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
			lines = append(lines, line)
		}
	}
	if len(lines) < 2 {
		t.Fatalf("the Ready block shows %d curl lines, want one that succeeds and one that is refused:\n%s", len(lines), s.out)
	}
	for i, want := range []string{"200", "403"} {
		shell := command(t, "sh", "-c", lines[i]+` --silent --output /dev/null --write-out '%{http_code}'`)
		shell.Dir = t.TempDir()
		if got := run(t, shell); got.stdout != want {
			t.Errorf("%s\ngave %q, want %s (exit status %d)\n%s", lines[i], got.stdout, want, got.code, got.stderr)
		}
	}
}

// problem reads a refusal of ours.
func problem(t *testing.T, body string) (code string) {
	t.Helper()
	var p struct {
		Code   string `json:"code"`
		Status int    `json:"status"`
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("not problem+json: %v\n%s", err, body)
	}
	return fmt.Sprintf("%d %s", p.Status, p.Code)
}
