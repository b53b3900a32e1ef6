package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway"
)

// A claim is one up's hold of a state folder.
type claim struct {
	dir  state
	lock *os.File
	made string // the topmost folder that the claim had to make; "" when all was there
	new  bool   // the folder held no site before
}

// claimState makes the folder if need be, checks that nobody else can read or change it, and locks it, so that one
// site runs in it. After an error the file system is as it was.
func claimState(dir state) (*claim, error) { return claimFolder(dir, siteRuns) }

// claimFolder is claimState for whatever has a folder of its own. taken is what to say when it is held already.
func claimFolder(dir state, taken func(dir state, pid string) error) (_ *claim, err error) {
	c := &claim{dir: dir}
	defer func() {
		if err != nil {
			c.undo()
		}
	}()
	if c.made, err = makeFolder(string(dir)); err != nil {
		return nil, stateError(dir, err)
	}
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	if c.lock, err = lockFile(dir, taken); err != nil {
		return nil, err
	}
	_, err = os.Lstat(dir.site()) // after the lock: whoever held it a moment ago may have made a site
	c.new = errors.Is(err, fs.ErrNotExist)
	return c, nil
}

// undo takes back a start that failed: a folder that held no site is left as it was found. Only names that are ours
// are removed, whatever else lies there.
func (c *claim) undo() {
	if c.lock != nil && c.new {
		for _, name := range stateEntries {
			os.RemoveAll(c.dir.path(name))
		}
	}
	for dir := string(c.dir); c.made != "" && strings.HasPrefix(dir, c.made); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break
		}
	}
	c.release()
}

// stateEntries are all names that a site makes in its state folder.
var stateEntries = []string{"site", "balancer", "instances", "connection-points", "sample-server", "devices",
	"logs", "ca.crt", "ready.json", "lock"}

// release gives the folder free for another up. The lock file stays: removing it would let two take it at once.
func (c *claim) release() {
	if c.lock != nil {
		c.lock.Close()
	}
}

// makeFolder makes dir and its parents and returns the topmost one it made.
func makeFolder(dir string) (made string, err error) {
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); err == nil || p == filepath.Dir(p) {
			break
		}
		made = p
	}
	return made, os.MkdirAll(dir, 0o700)
}

// checkFolder refuses a folder that another user owns, reads or could swap.
func checkFolder(dir state) error {
	fi, err := os.Stat(string(dir))
	if err != nil {
		return stateError(dir, err)
	}
	if !fi.IsDir() {
		return stateError(dir, errors.New("not a folder"))
	}
	if uid := int(fi.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
		return causeway.WithHint(fmt.Errorf("state folder %s belongs to uid %d, not to you (uid %d)", dir, uid, os.Geteuid()),
			"run as that user, or choose another folder with --state DIR")
	}
	if err := checkContents(dir, fi.Mode().Perm()); err != nil {
		return err
	}
	if err := unix.Access(string(dir), unix.W_OK|unix.X_OK); err != nil {
		return stateError(dir, err)
	}
	return checkParents(dir)
}

// checkContents closes an empty folder to others, and refuses one that is open to them or holds other things.
func checkContents(dir state, perm fs.FileMode) error {
	f, err := os.Open(string(dir))
	if err != nil {
		return stateError(dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && err != io.EOF {
		return stateError(dir, err)
	}
	if len(names) == 0 {
		if err := f.Chmod(0o700); err != nil {
			return stateError(dir, err)
		}
		return nil
	}
	if perm&0o077 != 0 {
		return causeway.WithHint(fmt.Errorf("state folder %s is open to other users (mode %04o)", dir, perm),
			"make sure that nobody changed it, then: chmod 700 %s", dir)
	}
	for _, name := range names {
		if name == fabricFolder || slices.Contains(stateEntries, name) {
			return nil
		}
	}
	return causeway.WithHint(fmt.Errorf("state folder %s holds other things, such as %q", dir, names[0]),
		"choose an empty or a new folder with --state DIR")
}

// checkParents refuses a path on which any user could put another folder in the place of ours.
func checkParents(dir state) error {
	real, err := filepath.EvalSymlinks(string(dir))
	if err != nil {
		return stateError(dir, err)
	}
	for p := filepath.Dir(real); ; p = filepath.Dir(p) {
		fi, err := os.Stat(p)
		if err != nil {
			return stateError(dir, err)
		}
		if fi.Mode().Perm()&0o002 != 0 && fi.Mode()&fs.ModeSticky == 0 {
			return causeway.WithHint(fmt.Errorf("state folder %s lies in %s, which every user can change", dir, p),
				"choose a folder of your own with --state DIR, or: chmod o-w %s", p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// lockFile takes the lock without waiting. It is held by the open file and gone with the process, however that ends.
func lockFile(dir state, taken func(dir state, pid string) error) (*os.File, error) {
	f, err := os.OpenFile(dir.lock(), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, stateError(dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		pid := make([]byte, 20)
		n, _ := f.ReadAt(pid, 0)
		return nil, taken(dir, strings.TrimSpace(string(pid[:n])))
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, stateError(dir, err)
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		f.Close()
		return nil, stateError(dir, err)
	}
	return f, nil
}

func siteRuns(dir state, pid string) error {
	return causeway.WithHint(fmt.Errorf("a site already runs in %s (pid %s)", dir, pid),
		"see it with: causeway status --state %s; stop it with: causeway down --state %s; or give this one another folder with --state DIR", dir, dir)
}

func stateError(dir state, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return causeway.WithHint(fmt.Errorf("state folder %s cannot be used: %w", dir, err),
		"choose a folder that you may write with --state DIR or CAUSEWAY_STATE")
}
