//go:build unix

package durable

import (
	"fmt"
	"os"
	"syscall"
)

// ownLike gives f the owner of dir when we are root; nobody else can.
func ownLike(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("owner of %s: unknown", dir)
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}

// SyncDir makes a rename in dir last through a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return d.Close()
}
