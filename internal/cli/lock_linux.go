package cli

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockIsFree reports whether no site runs in the folder.
func lockIsFree(dir state) (bool, error) {
	f, err := os.Open(dir.lock())
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
