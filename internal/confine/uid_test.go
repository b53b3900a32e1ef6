package confine

import (
	"strings"
	"testing"
)

func TestUserBlock(t *testing.T) {
	for _, tt := range []struct {
		name, uidMap string
		count        int
		first, last  int // bounds of the block's first user
	}{
		{"whole machine", "         0          0 4294967295\n", 64, wideFirst, wideLast - 63},
		{"rootless container", "0 100000 65536\n", 64, narrowFirst, narrowLast - 63},
		{"root alone", "0 1000 1\n", 64, 0, 0},
		{"two pieces", "0 1000 1\n1 100000 65536\n", 64, narrowFirst, narrowLast - 63},
		{"more roles than users", "0 100000 65536\n", 10000, 0, 0},
		{"nonsense", "x y z\n", 64, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := map[int]bool{}
			for _, seed := range []string{"/var/lib/a", "/var/lib/b", "/var/lib/c", "/var/lib/a"} {
				got := userBlock(strings.NewReader(tt.uidMap), seed, tt.count)
				if got < tt.first || got > tt.last {
					t.Errorf("block of %s starts at %d, want %d to %d", seed, got, tt.first, tt.last)
				}
				seen[got] = true
			}
			if tt.first != 0 && len(seen) < 2 {
				t.Errorf("all seeds got one block: %v", seen)
			}
		})
	}
}
