package confine

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// Users that belong to no account: a wide range that nothing is known to use (systemd's list of ranges calls it
// unused), and systemd's range for dynamic users, which even a small user namespace maps.
const (
	wideFirst, wideLast     = 1879048192, 2147352575
	narrowFirst, narrowLast = 61184, 65519
)

// UserBlock returns the first of count user ids for the roles of one site, always the same for one seed (the path of
// the state folder). It returns 0 where this user namespace maps no suitable range: then roles stay who they are.
func UserBlock(seed string, count int) int {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return 0
	}
	defer f.Close()
	return userBlock(f, seed, count)
}

func userBlock(uidMap io.Reader, seed string, count int) int {
	type span struct{ first, length int }
	var mapped []span
	for lines := bufio.NewScanner(uidMap); lines.Scan(); {
		var s span
		var outside int
		if n, _ := fmt.Sscan(lines.Text(), &s.first, &outside, &s.length); n == 3 {
			mapped = append(mapped, s)
		}
	}
	h := fnv.New64a()
	io.WriteString(h, seed)
	for _, r := range []span{{wideFirst, wideLast - wideFirst + 1}, {narrowFirst, narrowLast - narrowFirst + 1}} {
		blocks := r.length / max(count, 1)
		if blocks == 0 {
			continue
		}
		for _, m := range mapped {
			if m.first <= r.first && r.first+r.length <= m.first+m.length {
				return r.first + int(h.Sum64()%uint64(blocks))*count
			}
		}
	}
	return 0
}
