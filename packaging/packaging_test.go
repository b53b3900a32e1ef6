//go:build linux

// Package packaging holds what a Debian package of Causeway installs beside the binary: systemd units, users, folders
// and example configurations. Its tests ask systemd itself to judge them.
package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// maxExposure is the threshold of `systemd-analyze security` in tenths: 15 is an exposure of 1.5 of 10. The site stands
// on the premises and is root, held to what it needs that for.
func maxExposure(unit string) string {
	if unit == "causeway-site.service" {
		return "25"
	}
	return "15"
}

// command runs a program to its end and returns what it printed.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=", "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files (%v)", pattern, err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSystemdFindsNoFaultInTheUnits(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "causeway")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var units []string
	for _, file := range glob(t, "systemd/*") {
		// verify wants the program to exist; on this machine it is not installed.
		text := strings.ReplaceAll(read(t, file), "/usr/bin/causeway", program)
		unit := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	out := command(t, "systemd-analyze", append([]string{"verify", "--man=no"}, units...)...)
	for line := range strings.Lines(out) {
		if strings.Contains(line, dir) { // faults of the machine's own units are not ours
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

func TestTheServicesExposeLittle(t *testing.T) {
	for _, file := range glob(t, "systemd/*.service") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			command(t, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+maxExposure(filepath.Base(file)), file)
		})
	}
}

func TestUsersAndFoldersAreMade(t *testing.T) {
	root := t.TempDir()
	for dir, text := range map[string]string{"etc": "", "usr/lib/sysusers.d": read(t, "sysusers.d/causeway.conf"), "usr/lib/tmpfiles.d": read(t, "tmpfiles.d/causeway.conf")} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if text != "" {
			if err := os.WriteFile(filepath.Join(root, dir, "causeway.conf"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	command(t, "systemd-sysusers", "--root="+root)
	users := read(t, filepath.Join(root, "etc/passwd"))
	for _, role := range []string{"gateway", "connection-point"} {
		unit := "systemd/causeway-" + role + ".service"
		user := setting(t, unit, "User")
		if !strings.Contains(users, user+":") {
			t.Errorf("%s runs as %s, whom sysusers.d does not make:\n%s", unit, user, users)
		}
		if !strings.Contains(read(t, "tmpfiles.d/causeway.conf"), "root "+user+" -") {
			t.Errorf("tmpfiles.d gives %s no configuration folder", user)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can give folders to those users
	}
	command(t, "systemd-tmpfiles", "--create", "--root="+root, "--prefix=/etc/causeway", "--prefix=/var/lib")
	for dir, want := range map[string]struct {
		mode  os.FileMode
		owner string
	}{
		"etc/causeway/gateway":              {0o750, "root"},
		"etc/causeway/connection-point":     {0o750, "root"},
		"var/lib/causeway-connection-point": {0o700, "causeway-connection-point"},
	} {
		info, err := os.Stat(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want.mode {
			t.Errorf("%s has mode %o, want %o", dir, got, want.mode)
		}
		entry := ":x:" + strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)) + ":"
		if !strings.Contains("\n"+users+"\nroot:x:0:", "\n"+want.owner+entry) {
			t.Errorf("%s does not belong to %s:\n%s", dir, want.owner, users)
		}
	}
}

// A site keeps the folder of its connection point fresh, which is the one that the connection point's unit names.
func TestTheSiteMayWriteWhereItsConnectionPointReads(t *testing.T) {
	folder := "/var/lib/" + setting(t, "systemd/causeway-connection-point.service", "StateDirectory")
	if got := setting(t, "systemd/causeway-site.service", "ReadWritePaths"); got != "-"+folder {
		t.Errorf("the site may write to %s, want %s", got, folder)
	}
	if !strings.Contains(read(t, "tmpfiles.d/causeway.conf"), "d "+folder+" 0700 causeway-connection-point causeway-connection-point -") {
		t.Errorf("tmpfiles.d does not make %s", folder)
	}
}

func TestEveryServiceSaysWhenItIsReady(t *testing.T) {
	for _, file := range glob(t, "systemd/*.service") {
		if got := setting(t, file, "Type"); got != "notify" {
			t.Errorf("%s has type %s", file, got)
		}
	}
}

// setting returns the value of a key that stands once in a unit.
func setting(t *testing.T, unit, key string) string {
	t.Helper()
	for line := range strings.Lines(read(t, unit)) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s=", unit, key)
	return ""
}

func TestEverySocketIsTheGateways(t *testing.T) {
	service := "systemd/causeway-gateway.service"
	for _, file := range glob(t, "systemd/*.socket") {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "causeway-gateway-"), ".socket")
		if got := setting(t, file, "FileDescriptorName"); got != name {
			t.Errorf("%s calls its descriptor %q, want %q", file, got, name)
		}
		if got := setting(t, file, "Service"); got != filepath.Base(service) {
			t.Errorf("%s starts %q", file, got)
		}
		if !strings.Contains(setting(t, service, "Sockets"), filepath.Base(file)) {
			t.Errorf("%s does not take %s", service, filepath.Base(file))
		}
	}
}
