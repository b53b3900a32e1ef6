package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A folder is a role's folder, held open. Every write goes through the open folder and follows no link out of it:
// the role may be broken, and the parent often is root.
type folder struct {
	root *os.Root
	id   int // the role's user and group, which may read the files; -1 when it runs as ours
}

// openFolder makes path if need be. The role's group may enter and read; only we may change what lies there.
func openFolder(path string, id int) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root, id: id}
	if err := f.share(".", 0o750); err != nil {
		root.Close()
		return nil, err
	}
	return f, nil
}

func (f *folder) close() { f.root.Close() }

// share gives name to the role's group, or keeps it to ourselves when the role runs as our user.
func (f *folder) share(name string, perm fs.FileMode) error {
	if f.id < 0 {
		return f.root.Chmod(name, perm&^0o077)
	}
	if err := f.root.Lchown(name, os.Geteuid(), f.id); err != nil {
		return fmt.Errorf("give %s to group %d: %w", filepath.Join(f.root.Name(), name), f.id, err)
	}
	return f.root.Chmod(name, perm)
}

// folder makes a folder inside that the role may read.
func (f *folder) folder(name string) (*folder, error) {
	if err := f.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := f.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	inner := &folder{root: root, id: f.id}
	if err := inner.share(".", 0o750); err != nil {
		root.Close()
		return nil, err
	}
	return inner, nil
}

// ownFolder makes a folder inside that belongs to the role: the one place where it may write.
func (f *folder) ownFolder(name string) error {
	if err := f.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if f.id < 0 {
		return f.root.Chmod(name, 0o700)
	}
	return f.root.Lchown(name, f.id, f.id)
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
	if f.id >= 0 {
		if err := errors.Join(file.Chown(os.Geteuid(), f.id), file.Chmod(0o640)); err != nil {
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
	return &folder{root: root, id: -1}, nil
}
