package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/causeway-gateway/causeway"
)

// A folder is a role's folder, held open. Every write goes through the open folder and follows no link out of it:
// the role may be broken, and the parent often is root.
type folder struct {
	root *os.Root
	user int // the user that the role becomes; 0 when it runs as ours
}

// openFolder makes path if need be, for the role's user alone.
func openFolder(path string, user int) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root, user: user}
	if err := f.give("."); err != nil {
		root.Close()
		return nil, err
	}
	return f, nil
}

func (f *folder) close() { f.root.Close() }

// give makes the role's user the owner of what lies under name, and closes it to all others.
func (f *folder) give(name string) error {
	if f.user != 0 {
		if err := f.root.Lchown(name, f.user, f.user); err != nil {
			return causeway.WithHint(fmt.Errorf("give %s to user %d: %w", filepath.Join(f.root.Name(), name), f.user, err),
				"start causeway as an ordinary user, or with the rights to change owners")
		}
	}
	return f.root.Chmod(name, 0o700)
}

// folder makes a folder inside.
func (f *folder) folder(name string) (*folder, error) {
	if err := f.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := f.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	inner := &folder{root: root, user: f.user}
	if err := inner.give("."); err != nil {
		root.Close()
		return nil, err
	}
	return inner, nil
}

// write puts data under name in one step: whoever reads sees the old file or the new one, also after a crash.
func (f *folder) write(name string, data []byte) error {
	temp := "." + name + "." + rand.Text()
	if err := f.writeNew(temp, data); err != nil {
		f.root.Remove(temp)
		return fmt.Errorf("write %s: %w", filepath.Join(f.root.Name(), name), err)
	}
	if err := f.root.Rename(temp, name); err != nil {
		f.root.Remove(temp)
		return err
	}
	return syncFolder(f.root)
}

func (f *folder) writeNew(name string, data []byte) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if f.user != 0 {
		if err := file.Chown(f.user, f.user); err != nil {
			return err
		}
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Close()
}

// writeFile is write for a file that no role needs: its folder's owner alone reads it.
func writeFile(path string, data []byte) error {
	f, err := openOwnFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.close()
	return f.write(filepath.Base(path), data)
}

func openOwnFolder(path string) (*folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &folder{root: root}, nil
}
