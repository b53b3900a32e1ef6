package cli

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/pflag"
)

// The collector's settings of every role, for the sake of gateway and connection point. How far the heap may grow before
// it is collected follows the load (see gcPace). At a peak that can take the process over what the machine or its control
// group has, and the kernel kills it with every connection that it holds. So there is a limit besides, near which the
// collector works harder instead of letting the heap grow. It is soft: nothing fails because of it. A quarter stays for
// stacks, socket buffers and everybody else. Roles of one machine do not share it out: below its limit each is collected
// as ever.

// memoryShare is the part of the memory there is that a role may fill, in percent.
const memoryShare = 75

// leastMemoryLimit is the smallest limit that makes sense: below it the collector would hardly ever rest.
const leastMemoryLimit = 32 << 20

// enoughFiles is how many files a gateway should be able to open: each device has one, and each channel.
const enoughFiles = 65_536

// limitMemory sets the collector's limit: the configured one, else a share of the memory there is. Who sets GOGC or
// GOMEMLIMIT in the environment has decided, and nothing is changed. It returns the limit in force, 0 for none.
func (r *roleProcess) limitMemory(configured memorySize) int64 {
	limit := r.memoryLimit(configured)
	if limit > 0 && !r.collectorDecided() {
		debug.SetMemoryLimit(limit)
	}
	if limit = debug.SetMemoryLimit(-1); limit == math.MaxInt64 { // how Go says that there is none
		return 0
	}
	return limit
}

// memoryLimit is the configured limit, else a share of the memory there is; 0 when that is not known.
func (r *roleProcess) memoryLimit(configured memorySize) int64 {
	if configured == 0 && r.memory > 0 {
		return r.memory / 100 * memoryShare
	}
	return int64(configured)
}

// warnOfBudget says when bodies alone may take more than the role should.
func (r *roleProcess) warnOfBudget(log *slog.Logger, budget, configured memorySize) {
	limit := memorySize(r.memoryLimit(configured))
	if limit > 0 && budget > limit {
		log.Warn("the memory budget is above the memory limit, so it bounds nothing", "memory_budget", budget.String(), "memory_limit", limit.String(),
			"hint", "lower memory_budget (--memory-budget), or raise memory_limit")
	}
}

// collectorDecided reports whether somebody has decided on the collector, in the environment.
func (r *roleProcess) collectorDecided() bool {
	return r.app.getenv("GOGC") != "" || r.app.getenv("GOMEMLIMIT") != ""
}

// paceCollector adapts the collector to the load until ctx ends.
func (r *roleProcess) paceCollector(ctx context.Context) {
	if !r.collectorDecided() {
		newGCPace().run(ctx)
	}
}

// A memorySize is written as "512MiB" in configuration files, as GOMEMLIMIT is in the environment.
type memorySize int64

const sizeWanted = "a size of 32MiB or more, such as 512MiB or 2GiB; the units are KiB, MiB, GiB and TiB, and a number alone is bytes"

var memoryUnits = []struct {
	suffix string
	shift  int
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"B", 0}, {"", 0}}

// UnmarshalYAML reads a field of a configuration file.
func (m *memorySize) UnmarshalYAML(n ast.Node) error {
	return unmarshalField(n, m, "want "+sizeWanted)
}

func (m *memorySize) UnmarshalText(b []byte) error {
	for _, u := range memoryUnits {
		digits, ok := strings.CutSuffix(string(b), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64>>u.shift || n<<u.shift < leastMemoryLimit {
			break
		}
		*m = memorySize(n << u.shift)
		return nil
	}
	return fmt.Errorf("%q is not %s", b, sizeWanted)
}

// Set reads a flag.
func (m *memorySize) Set(text string) error { return m.UnmarshalText([]byte(text)) }

// Type is what help calls the value of a flag.
func (m *memorySize) Type() string { return "size" }

// String returns the size as a person would write it, nothing for none.
func (m *memorySize) String() string {
	const mebi = 1 << 20
	switch n := int64(*m); {
	case n == 0:
		return ""
	case n%mebi == 0:
		return strconv.FormatInt(n/mebi, 10) + "MiB"
	default:
		return strconv.FormatInt(n, 10) + "B"
	}
}

// budgetFlag adds --memory-budget to a command. who has the budget.
func budgetFlag(f *pflag.FlagSet, m *memorySize, who string) {
	f.Var(m, "memory-budget", "bytes of bodies that "+who+" may hold for slow readers, such as 512MiB; 32MiB or more (default 256MiB)")
}

func (m memorySize) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatInt(int64(m), 10) + "B"), nil
}
