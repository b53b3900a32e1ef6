package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func mustClaim(t *testing.T, dir string) *claim {
	t.Helper()
	c, err := claimState(state(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.release)
	return c
}

func TestAFailedStartLeavesNothingBehind(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b", "state")
	c := mustClaim(t, dir)
	if err := os.MkdirAll(c.dir.site(), 0o700); err != nil {
		t.Fatal(err)
	}
	c.undo()
	if _, err := os.Lstat(filepath.Join(top, "a")); err == nil {
		t.Error("folders that the claim made are still there")
	}
}

func TestAFailedStartTakesNothingOfOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	c := mustClaim(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.undo()
	if _, err := os.Lstat(filepath.Join(dir, "notes")); err != nil {
		t.Errorf("a file that is not ours is gone: %v", err)
	}

	old := mustClaim(t, filepath.Join(t.TempDir(), "old"))
	if err := os.MkdirAll(old.dir.site(), 0o700); err != nil {
		t.Fatal(err)
	}
	old.release()
	again := mustClaim(t, string(old.dir))
	again.undo()
	if _, err := os.Lstat(old.dir.site()); err != nil {
		t.Errorf("a failed second start removed the site: %v", err)
	}
}

func TestOneSiteRunsPerFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := mustClaim(t, dir)
	_, err := claimState(state(dir))
	if err == nil || !strings.Contains(err.Error(), "a site already runs in") {
		t.Errorf("second claim = %v, want a refusal", err)
	}
	if _, err := os.Lstat(first.dir.lock()); err != nil {
		t.Errorf("the refused claim took the lock file of the first: %v", err)
	}
	first.release()
	mustClaim(t, dir)
}

func TestAFolderOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can make a folder of another user")
		return
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	_, err := claimState(state(dir))
	if err == nil || !strings.Contains(err.Error(), "belongs to uid 12345") || causeway.Hint(err) == "" {
		t.Errorf("claim = %v, want a refusal with a hint", err)
	}
}

func TestAnEmptyFolderIsClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, dir)
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("folder is %v, %v; want mode 0700", fi.Mode(), err)
	}
}

func TestALockThatIsALinkIsNotFollowed(t *testing.T) {
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := claimState(state(dir)); err == nil {
		t.Error("the lock was taken through a link")
	}
	if text, _ := os.ReadFile(victim); string(text) != "precious" {
		t.Errorf("the file behind the link now holds %q", text)
	}
}

// TestWritesFollowNoLinkOutOfARolesFolder: a broken role owns its folder, and the parent that writes there is root.
func TestWritesFollowNoLinkOutOfARolesFolder(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "documents")
	if err := os.Mkdir(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := openFolder(filepath.Join(t.TempDir(), "role"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.root.Symlink(victim, "documents"); err != nil {
		t.Fatal(err)
	}
	if err := f.writeDocuments(map[string][]byte{"gateway": []byte("text")}); err == nil {
		t.Error("documents were written through a link")
	}
	if entries, _ := os.ReadDir(victim); len(entries) != 0 {
		t.Errorf("the folder behind the link now holds %v", entries)
	}

	target := filepath.Join(outside, "shadow")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.root.Symlink(target, "config.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := f.write("config.yaml", []byte("text")); err != nil {
		t.Fatal(err) // the link itself is replaced
	}
	if text, _ := os.ReadFile(target); string(text) != "precious" {
		t.Errorf("the file behind the link now holds %q", text)
	}
	if fi, err := f.root.Lstat("config.yaml"); err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm() != 0o600 {
		t.Errorf("config.yaml is %v, %v; want a file of its owner alone", fi, err)
	}
}

func TestFilesBelongToTheRole(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root gives files away")
		return
	}
	f, err := openFolder(filepath.Join(t.TempDir(), "role"), 61200)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.write("tls.key", []byte("key")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "tls.key"} {
		fi, err := f.root.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if uid := fi.Sys().(*syscall.Stat_t).Uid; uid != 61200 || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s belongs to %d with mode %04o, want 61200 alone", name, uid, fi.Mode().Perm())
		}
	}
}
