// Package metrictest compares a role's metrics with what the documentation says of them.
package metrictest

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A Registry notes what is registered with it.
type Registry struct {
	prometheus.Registerer // nil: a role calls nothing but Register
	Collectors            []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (r *Registry) Register(c prometheus.Collector) error {
	r.Collectors = append(r.Collectors, c)
	return nil
}

// description is how a prometheus.Desc prints itself, which is the only way to read one.
var description = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), .*variableLabels: [\[{](.*?)[\]}]\}$`)

// Documented fails the test unless the rows of file's tables that begin with prefix are those of the metrics, one for
// each: name, labels, help.
func Documented(t testing.TB, file, prefix string, collectors ...prometheus.Collector) {
	t.Helper()
	var want []string
	for _, c := range collectors {
		ch := make(chan *prometheus.Desc, 256)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			want = append(want, row(t, d.String()))
		}
	}
	slices.Sort(want)
	got := rows(t, file, "| `"+prefix)
	if !slices.Equal(got, want) {
		t.Errorf("%s is not up to date; its rows for %s must be\n%s", file, prefix, strings.Join(want, "\n"))
	}
}

func row(t testing.TB, desc string) string {
	t.Helper()
	m := description.FindStringSubmatch(desc)
	if m == nil {
		t.Fatalf("cannot read %s", desc)
	}
	name, err := strconv.Unquote(m[1])
	if err != nil {
		t.Fatal(err)
	}
	help, err := strconv.Unquote(m[2])
	if err != nil {
		t.Fatal(err)
	}
	labels := strings.Join(strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' }), ", ")
	return strings.Join(strings.Fields(fmt.Sprintf("| `%s` | %s | %s |", name, labels, help)), " ")
}

func rows(t testing.TB, file, prefix string) (all []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		if line := in.Text(); strings.HasPrefix(line, prefix) {
			all = append(all, line)
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
