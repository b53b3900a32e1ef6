//go:build linux

package main

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

func TestRatiosAreTakenWithinARound(t *testing.T) {
	r := &report{targets: []string{"haproxy", "causeway"}, Rows: []row{
		{Round: 0, Workload: "a", Target: "haproxy", RequestsPerSecond: 100},
		{Round: 0, Workload: "a", Target: "causeway", RequestsPerSecond: 60},
		{Round: 1, Workload: "a", Target: "haproxy", RequestsPerSecond: 10}, // the machine was busy
		{Round: 1, Workload: "a", Target: "causeway", RequestsPerSecond: 5},
		{Round: 2, Workload: "a", Target: "haproxy", Void: "1 socket error"},
		{Round: 2, Workload: "a", Target: "causeway", RequestsPerSecond: 1000},
	}}
	mine, _ := r.of("a", "causeway")
	if got, want := r.ratio(workload{name: "a"}, mine, "haproxy"), "0.55 (0.50-0.60)"; got != want {
		t.Errorf("ratio %q, want %q", got, want)
	}
	text := r.markdown()
	for _, want := range []string{"| causeway | 60 |", "0.55 (0.50-0.60)", "some rounds void: 1 socket error"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestEveryOtherRoundRunsBackwards(t *testing.T) {
	targets := []*target{{name: "haproxy"}, {name: "go-direct"}, {name: "causeway"}}
	for round, want := range []string{"haproxy", "causeway", "haproxy"} {
		if got := inTurn(targets, round); len(got) != 3 || got[0].name != want || got[1].name != "go-direct" {
			t.Errorf("round %d begins with %s, want %s", round, got[0].name, want)
		}
	}
}

func TestPercentile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 50: 3, 99: 5, 100: 5} {
		if got := percentile(values, p); got != want {
			t.Errorf("percentile %v is %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("percentile of nothing is %v", got)
	}
}

func TestAnswersWithoutALengthAreRefused(t *testing.T) {
	for text, want := range map[string]int64{
		"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n": 12,
		"HTTP/1.1 200 OK\r\n\r\n":                       -1,
		"garbage\r\n\r\n":                               -1,
	} {
		c := &client{r: bufio.NewReader(strings.NewReader(text))}
		_, n, err := c.answer()
		if want < 0 && err == nil || want >= 0 && (err != nil || n != want) {
			t.Errorf("%q: %d bytes, %v", text, n, err)
		}
	}
}

func TestTheBooksOfAProcess(t *testing.T) {
	p, ok := readProcess(os.Getpid())
	if !ok || p.parent != os.Getppid() || len(p.args) == 0 {
		t.Errorf("got %+v, %v", p, ok)
	}
	if pssKiB([]int{os.Getpid()}) <= 0 {
		t.Error("this process uses no memory")
	}
	found := false
	for _, d := range descendants(os.Getppid()) {
		found = found || d.pid == os.Getpid()
	}
	if !found {
		t.Error("this process is not among its parent's descendants")
	}
}
