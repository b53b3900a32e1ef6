//go:build linux

package main

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestTurnsAlternateAndAreSummedUp(t *testing.T) {
	none := func() []int { return nil }
	var order string
	w := workload{name: costs, turns: 2, run: timed(func(_ context.Context, _ *lab, t *target, _ time.Duration) (result, error) {
		order += t.name
		if t.name == "c" && len(order) > 6 {
			return result{}, errors.New("gone")
		}
		return result{Requests: 30, Seconds: 2, P99: 4}, nil
	})}
	l := &lab{backend: none}
	var targets []*target
	for _, name := range []string{"a", "b", "c"} {
		targets = append(targets, &target{name: name, gateway: none, connector: none})
	}
	rows := measureTurns(t.Context(), options{}, l, w, targets)
	if order != "abc"+"abc"+"cba" { // the first turn of each does not count
		t.Errorf("order %s", order)
	}
	for _, r := range rows[:2] {
		if r.RequestsPerSecond != 15 || r.P99 != 4 || r.Void != "" {
			t.Errorf("%+v", r)
		}
	}
	if rows[2].Void != "gone" || rows[2].RequestsPerSecond != 0 {
		t.Errorf("a turn that failed counts: %+v", rows[2])
	}
}
