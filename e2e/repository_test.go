//go:build linux

package e2e

import (
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A repositories is a folder with two signed Debian package repositories, /flat and /pool, and the key to check them.
type repositories struct {
	root string
	key  string // public key, for signed-by
}

// Packages of the repositories. The version holds what apt must escape in a URL; the last one is large enough to be
// interrupted.
const (
	packageVersion = "1:1.0+causeway~1-2"
	largePackage   = "causeway-large"
	largeBytes     = 6 << 20
)

var (
	flatPackages = []string{"causeway-flat-one", "causeway-flat-two"}
	poolPackages = []string{"causeway-pool-one", "causeway-pool-two", largePackage}
)

// buildRepositories builds what an administrator would: packages, indexes and signatures, with Debian's own tools.
func buildRepositories(t *testing.T) *repositories {
	t.Helper()
	r := &repositories{root: t.TempDir()}
	sign := r.newSigner(t)

	flat := filepath.Join(r.root, "flat")
	for _, name := range flatPackages {
		buildPackage(t, flat, name, 32<<10)
	}
	writeIndex(t, flat, must(t, flat, "dpkg-scanpackages", "--multiversion", "."))
	write(t, filepath.Join(flat, "Release"), must(t, flat, "apt-ftparchive",
		"-o", "APT::FTPArchive::Release::Suite=flat", "release", "."))
	sign(flat)

	pool := filepath.Join(r.root, "pool")
	for _, name := range poolPackages {
		size := 64 << 10
		if name == largePackage {
			size = largeBytes
		}
		buildPackage(t, filepath.Join(pool, "pool/main/c", name), name, size)
	}
	stable := filepath.Join(pool, "dists/stable")
	writeIndex(t, filepath.Join(stable, "main/binary-amd64"), must(t, pool, "apt-ftparchive", "packages", "pool"))
	write(t, filepath.Join(stable, "Release"), must(t, pool, "apt-ftparchive",
		"-o", "APT::FTPArchive::Release::Suite=stable", "-o", "APT::FTPArchive::Release::Codename=stable",
		"-o", "APT::FTPArchive::Release::Components=main", "-o", "APT::FTPArchive::Release::Architectures=amd64",
		"release", "dists/stable"))
	sign(stable)
	return r
}

// newSigner makes a signing key and returns a function that signs a folder's Release file.
func (r *repositories) newSigner(t *testing.T) func(dir string) {
	t.Helper()
	// Short, because gpg puts a socket into it and the names of sockets are short.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		must(t, "", "gpgconf", "--homedir", home, "--kill", "gpg-agent")
		os.RemoveAll(home)
	})
	gpg := func(args ...string) {
		must(t, "", "gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	}
	gpg("--quick-generate-key", "Causeway e2e <e2e@causeway.test>", "ed25519", "sign", "never")
	r.key = filepath.Join(r.root, "key.gpg")
	gpg("--output", r.key, "--export")
	return func(dir string) {
		gpg("--output", filepath.Join(dir, "InRelease"), "--clear-sign", filepath.Join(dir, "Release"))
		gpg("--output", filepath.Join(dir, "Release.gpg"), "--armor", "--detach-sign", filepath.Join(dir, "Release"))
	}
}

// buildPackage puts a package with size random bytes in it into dir.
func buildPackage(t *testing.T, dir, name string, size int) {
	t.Helper()
	tree := t.TempDir()
	write(t, filepath.Join(tree, "DEBIAN/control"), fmt.Sprintf(`Package: %s
Version: %s
Architecture: all
Maintainer: Causeway e2e <e2e@causeway.test>
Description: a package for a test
`, name, packageVersion))
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, "usr/share", name, "data"), string(data))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "", "dpkg-deb", "-Zgzip", "--root-owner-group", "--build", tree, dir)
}

// writeIndex writes Packages and Packages.gz.
func writeIndex(t *testing.T, dir, text string) {
	t.Helper()
	write(t, filepath.Join(dir, "Packages"), text)
	f, err := os.Create(filepath.Join(dir, "Packages.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
