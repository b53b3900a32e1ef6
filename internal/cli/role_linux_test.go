package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func TestARoleMakesItsFolders(t *testing.T) {
	above := t.TempDir()
	dir, user := filepath.Join(above, "documents"), os.Geteuid()
	if user == 0 {
		user = 65534
	}
	for range 2 { // the second time it is there
		if err := makeRoleFolder(dir, user); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if owner := int(fi.Sys().(*syscall.Stat_t).Uid); fi.Mode().Perm() != 0o700 || owner != user {
			t.Errorf("mode %04o of user %d, want 0700 of %d", fi.Mode().Perm(), owner, user)
		}
	}
	mistyped := filepath.Join(above, "no", "documents")
	if err := makeRoleFolder(mistyped, 0); err == nil || !strings.Contains(err.Error(), mistyped) || causeway.Hint(err) == "" {
		t.Errorf("a folder below one that is not there: %v, want an error that names it, with a hint", err)
	}
	if err := makeRoleFolder("", 0); err != nil {
		t.Errorf("no folder is configured: %v", err)
	}
}
