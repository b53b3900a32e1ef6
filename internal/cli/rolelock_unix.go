//go:build unix

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway"
)

// lockFolder keeps a folder that a role writes to for this process: a second role of the same name would take over the
// admin socket of the first, and compete with it for the documents. The folder itself is locked, so that nothing has
// to be made in it; the lock is gone with the process, however that ends. Under `up` the parent sees to it.
func (r *roleProcess) lockFolder(dir string) (release func(), err error) {
	if r.inherited != nil || dir == "" {
		return func() {}, nil
	}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeRoleFolder(dir, 0); err != nil {
			return nil, err
		}
		f, err = os.Open(dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, causeway.WithHint(fmt.Errorf("documents_dir: %w", err),
			"give it, and the folder of the configuration, to the user that this runs as: chown -R %d %s", os.Geteuid(), filepath.Dir(dir))
	}
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("documents_dir: %w", err), "make it, and let this user read and write it: mkdir -m 700 %s", dir)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, causeway.WithHint(fmt.Errorf("a %s already runs with %s", strings.ReplaceAll(r.name, "-", " "), dir),
			"find it with: pgrep -af 'causeway %s run'; or give this one a folder of its own", r.name)
	}
	// A file system without locks is no reason to stay down.
	return func() { f.Close() }, nil
}
