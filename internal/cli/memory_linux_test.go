package cli

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestTheControlGroupsLimitIsFound(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, tt := range []struct {
		name  string
		files fstest.MapFS
		want  int64
	}{
		{"unit with a limit", fstest.MapFS{"proc/self/cgroup": file("0::/system.slice/x.service\n"),
			"sys/fs/cgroup/system.slice/x.service/memory.max": file("1000\n"), "sys/fs/cgroup/system.slice/memory.max": file("max\n")}, 1000},
		{"the one above is smaller", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("2000\n"), "sys/fs/cgroup/a/memory.max": file("1000\n")}, 1000},
		{"container with a group of its own", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("3000\n")}, 3000},
		{"container that sees the host's path", fstest.MapFS{"proc/self/cgroup": file("0::/docker/123\n"), "sys/fs/cgroup/memory.max": file("3000\n")}, 3000},
		{"first version", fstest.MapFS{"proc/self/cgroup": file("5:cpu:/c\n4:memory:/a\n0::/\n"),
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("4000\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 4000},
		{"no limit", fstest.MapFS{"proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/memory.max": file("max\n")}, 0},
		{"nonsense", fstest.MapFS{"proc/self/cgroup": file("x\n0::\n0::/../..\n"), "sys/fs/cgroup/memory.max": file("-7\n")}, 0},
		{"nothing to read", fstest.MapFS{}, 0},
	} {
		if got := cgroupLimit(tt.files); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if n := memoryThereIs(); n < 1<<20 {
		t.Errorf("this machine has %d bytes", n)
	}
}

func TestTheEnvironmentDecidesOnMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, tt := range []struct {
		name       string
		env        map[string]string
		there      int64
		configured memorySize
		want       int64
	}{
		{"default", nil, 4 << 30, 0, 4 << 30 / 100 * 75},
		{"configured", nil, 4 << 30, 512 << 20, 512 << 20},
		{"not known", nil, 0, 0, 0},
		{"GOGC", map[string]string{"GOGC": "50"}, 4 << 30, 512 << 20, 0},
		{"GOMEMLIMIT", map[string]string{"GOMEMLIMIT": "1GiB"}, 4 << 30, 512 << 20, 0}, // Go has obeyed it before us
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		r := &roleProcess{app: &app{getenv: func(name string) string { return tt.env[name] }}, memory: tt.there}
		if got := r.limitMemory(tt.configured); got != tt.want {
			t.Errorf("%s: limit %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestMemorySizes(t *testing.T) {
	for text, want := range map[string]memorySize{"32MiB": 32 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40, "33554432": 32 << 20, "33554432B": 32 << 20, "65536KiB": 64 << 20} {
		var m memorySize
		if err := m.UnmarshalText([]byte(text)); err != nil || m != want {
			t.Errorf("%q = %d, %v; want %d", text, m, err, want)
		}
		again := memorySize(0)
		if out, err := m.MarshalText(); err != nil || again.UnmarshalText(out) != nil || again != m {
			t.Errorf("%q was written as %q, %v", text, out, err)
		}
	}
	for _, text := range []string{"", "0", "31MiB", "-1GiB", "1GB", "1 GiB", "1.5GiB", "9223372036854775807TiB", "GiB", "MiB", "half"} {
		var m memorySize
		if err := m.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d, want an error", text, m)
		}
	}
}
