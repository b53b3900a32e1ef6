package confine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// abi is the newest Landlock that was tried with our roles. A newer kernel gives this much, so that an upgrade of the
// kernel alone never takes something from a role that works.
var abi = landlock.V7

// landlockVersion asks the kernel; tests replace it.
var landlockVersion = ll.LandlockGetABIVersion

// restrict applies Landlock as far as the kernel has it, and reports it: files always, signals and abstract sockets
// from ABI 6 on.
func restrict(p Policy, uid int, r *Report) error {
	version, err := landlockVersion()
	if err != nil {
		r.Missing = append(r.Missing, fmt.Sprintf("landlock (%v)", err))
		return nil
	}
	rules, err := fileRules(p, uid)
	if err != nil {
		return err
	}
	c := abi
	c.HandledAccessNet = 0 // roles dial and serve
	if err := c.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	r.LandlockABI, r.Files = version, true
	// Before this fix the threads of one process could not signal each other; the library then leaves signals alone.
	const threadSignalsFixed = 1 << 1
	errata, err := ll.LandlockGetErrata()
	if version < 6 || err != nil || errata&threadSignalsFixed == 0 {
		r.Missing = append(r.Missing, "signal scope", "abstract socket scope")
		return nil
	}
	r.Signals, r.AbstractSockets = true, true
	return nil
}

// fileRules translates the policy. Landlock wants to be told files from folders.
func fileRules(p Policy, uid int) ([]landlock.Rule, error) {
	var rules []landlock.Rule
	add := func(path string, file, dir landlock.AccessFSSet) error {
		info, err := os.Stat(path)
		switch {
		case os.IsNotExist(err):
			return nil
		case err != nil && uid != 0:
			return nil // closed to us: then it is closed without a rule, too
		case err != nil:
			return err
		case info.IsDir():
			rules = append(rules, landlock.PathAccess(dir, path))
		default:
			rules = append(rules, landlock.PathAccess(file, path))
		}
		return nil
	}
	for _, path := range readWrite(p) {
		if err := add(path, writeFile, writeDir); err != nil {
			return nil, err
		}
	}
	for _, path := range append(systemReadOnly(uid), p.ReadOnly...) {
		if err := add(path, readFile, readDir); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// The rights that rules give. Nobody gets the right to execute: no role starts a program. Nor the right to make
// devices, or to move files between folders (which kernels before 5.19 cannot give).
const (
	readFile  landlock.AccessFSSet = ll.AccessFSReadFile
	readDir                        = readFile | ll.AccessFSReadDir
	writeFile                      = readFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	writeDir                       = writeFile | readDir | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir |
		ll.AccessFSMakeReg | ll.AccessFSMakeSock
)

func readWrite(p Policy) []string {
	paths := append([]string{os.DevNull}, p.ReadWrite...)
	if p.Dir != "" {
		paths = append(paths, ".") // the working directory by now
	}
	return paths
}

// systemReadOnly lists what Go reads by itself: names, certificates, time zones, random bytes, its own binary (for
// stack traces and build information) and its own process.
func systemReadOnly(uid int) []string {
	paths := []string{
		"/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/gai.conf", "/etc/host.conf",
		"/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom", "/dev/random",
		"/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates", "/usr/share/ca-certificates",
		"/usr/local/share/ca-certificates", "/etc/ssl/cert.pem",
		"/proc/self", "/proc/stat", "/proc/sys/net/core/somaxconn",
	}
	if exe, err := os.Executable(); err == nil {
		paths = append(paths, exe)
	}
	return append(paths, resolvConf("/etc/resolv.conf", uid)...)
}

// resolvConf returns what keeps name resolution alive when the file is replaced, as DHCP clients do on every renewal.
// Landlock's rules stick to the file, not to its name, so a rule for the file alone would fail hours later: the rule
// must be for its folder. For /etc itself that is no loss to a process that is not root, because file modes still
// rule there; root keeps the file alone.
func resolvConf(path string, uid int) []string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	if dir := filepath.Dir(real); uid != 0 || strings.HasPrefix(dir, "/run/") {
		return []string{dir}
	}
	return []string{real}
}
