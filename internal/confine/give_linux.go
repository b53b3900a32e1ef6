package confine

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Give makes uid and gid the owners of dir and everything in it, and closes dir to everybody else. Nothing outside can
// be given away by what lies inside: links are not followed, and a file with a second name somewhere is refused.
func Give(dir string, uid, gid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("confine: give folder: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return give(root, name, uid, gid)
	})
	if err != nil {
		return fmt.Errorf("confine: give folder: %w", err)
	}
	return root.Chmod(".", 0o700)
}

func give(root *os.Root, name string, uid, gid int) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	if info.Mode().IsRegular() && st.Nlink > 1 {
		return fmt.Errorf("%s has %d names: one of them may belong to somebody else", name, st.Nlink)
	}
	return root.Lchown(name, uid, gid)
}
