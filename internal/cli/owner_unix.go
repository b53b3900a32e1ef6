//go:build unix

package cli

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// ownerOf names the user that a folder belongs to.
func ownerOf(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return "another user"
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "another user"
	}
	id := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return "user " + u.Username
	}
	return "user " + id
}
