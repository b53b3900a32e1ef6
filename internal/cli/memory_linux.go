package cli

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryThereIs is what the machine has, or what our control group may use of it, in bytes; 0 when nobody says.
func memoryThereIs() int64 {
	total := int64(0)
	var info unix.Sysinfo_t // not /proc/meminfo: a unit may hide it
	if unix.Sysinfo(&info) == nil {
		total = int64(info.Totalram) * int64(info.Unit)
	}
	if limit := cgroupLimit(os.DirFS("/")); limit > 0 && (total == 0 || limit < total) {
		return limit
	}
	return total
}

// cgroupLimit is the smallest memory limit of our control group and those above it, 0 for none.
func cgroupLimit(root fs.FS) (limit int64) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		// "0::/a/b", or "4:memory:/a/b" where the machine still uses the first version.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if parts[0] != "0" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
			if parts[1] != "memory" {
				continue
			}
		}
		// In a container the path may be the host's: then the mount's own root is our group.
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			text, err := fs.ReadFile(root, path.Join(mount, dir, file))
			if n, errParse := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && errParse == nil && n > 0 && (limit == 0 || n < limit) {
				limit = n
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

// openFiles is how many files this process may open. Go has raised it to the hard limit at the start.
func openFiles() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return enoughFiles // nobody knows better
	}
	return limit.Cur
}
