//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An apt is a whole apt of its own: lists, cache, sources and keys lie in a folder of the test.
type apt struct {
	dir, config string
}

// newApt prepares apt for repositories that lie below base; extra goes into its configuration.
func newApt(t *testing.T, r *repositories, base string, extra string) *apt {
	t.Helper()
	a := &apt{dir: t.TempDir()}
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d", "log"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(a.dir, "state/status"), "")
	write(t, filepath.Join(a.dir, "etc/sources.list"), fmt.Sprintf(
		"deb [signed-by=%[1]s arch=amd64] %[2]s/flat ./\ndeb [signed-by=%[1]s arch=amd64] %[2]s/pool stable main\n", r.key, base))
	a.config = filepath.Join(a.dir, "apt.conf")
	write(t, a.config, fmt.Sprintf(`
Dir::State "%[1]s/state"; Dir::State::status "%[1]s/state/status"; Dir::Cache "%[1]s/cache"; Dir::Log "%[1]s/log";
Dir::Etc "%[1]s/etc"; Dir::Etc::sourcelist "%[1]s/etc/sources.list"; Dir::Etc::sourceparts "-";
APT::Architecture "amd64"; APT::Architectures { "amd64"; }; APT::Sandbox::User ""; APT::Update::Error-Mode "any";
Acquire::Languages "none"; Acquire::Retries "3"; Acquire::http::Timeout "20"; Acquire::https::Timeout "20";
Acquire::http::Proxy "DIRECT"; Acquire::https::Proxy "DIRECT";
%[2]s
`, a.dir, extra))
	return a
}

// get runs apt-get in dir; the system's own apt is neither read nor changed.
func (a *apt) get(t *testing.T, dir string, args ...string) finished {
	t.Helper()
	return run(t, a.command(t, dir, args...))
}

func (a *apt) command(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "APT_CONFIG="+a.config)
	return cmd
}

// mustGet runs apt-get, which has to succeed.
func (a *apt) mustGet(t *testing.T, dir string, args ...string) string {
	t.Helper()
	got := a.get(t, dir, args...)
	if got.code != 0 {
		t.Fatalf("apt-get %s: exit status %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	return got.stdout
}

// checkPackage compares a downloaded package with the repository's own file.
func (r *repositories) checkPackage(t *testing.T, dir, name string) {
	t.Helper()
	base := name + "_" + strings.TrimPrefix(packageVersion, "1:") + "_all.deb"
	wanted := filepath.Join(r.root, "flat", base)
	if strings.HasPrefix(name, "causeway-pool") || name == largePackage {
		wanted = filepath.Join(r.root, "pool/pool/main/c", name, base)
	}
	want, err := os.ReadFile(wanted)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(downloaded(t, dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s came with %d bytes that are not the %d of the repository", name, len(got), len(want))
	}
}

// downloaded finds the one package of that name in dir.
func downloaded(t *testing.T, dir, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s was not downloaded: %v %v", name, files, err)
	}
	return files[0]
}

// TestTheRepositoriesAreGood lets apt judge them without a gateway, so that the other tests judge the gateway.
func TestTheRepositoriesAreGood(t *testing.T) {
	r := buildRepositories(t)
	n := startNginx(t, r.root)
	a := newApt(t, r, n.url, "")
	dir := t.TempDir()
	a.mustGet(t, dir, "update")
	a.mustGet(t, dir, append([]string{"download"}, append(flatPackages, poolPackages...)...)...)
	for _, name := range append(flatPackages, poolPackages...) {
		r.checkPackage(t, dir, name)
	}
	if got := n.requests(t, "GET /flat/./InRelease 200"); len(got) != 1 {
		t.Errorf("apt did not ask for /flat/./InRelease once, which is the point of a flat repository: %q", n.requests(t))
	}
	a.resume(t, dir, largePackage)
	r.checkPackage(t, filepath.Join(a.dir, "cache/archives"), largePackage)
	if got := n.requests(t, largePackage, " 206 bytes="); len(got) != 1 {
		t.Errorf("apt did not go on where it was: %q", n.requests(t, largePackage))
	}
}

// resume hands apt the first half of a package, as a broken download in its cache leaves it, and has it go on from
// there: `apt-get download` begins again in that case, `apt-get install --download-only` does not.
func (a *apt) resume(t *testing.T, dir, name string) {
	t.Helper()
	whole := downloaded(t, dir, name)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(whole)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(a.dir, "cache/archives/partial", filepath.Base(whole))
	write(t, half, string(data[:len(data)/2]))
	// apt asks for the rest only of the very file it had, which it knows by its time.
	if err := os.Chtimes(half, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	a.mustGet(t, dir, "install", "--download-only", "--assume-yes", name)
}
