//go:build linux

package main

import (
	"context"
	"time"
)

// turnTime is how long a target has the machine in a workload of turns: long beside a start of the load tool, short beside
// the waves in which neighbours work at the machine.
const turnTime = 1500 * time.Millisecond

// measureTurns measures targets that differ by little: they alternate within a round, forwards and backwards, and the row of
// each is the sum of its turns. A figure of one long turn each would say more about the machine of that moment than of them.
func measureTurns(ctx context.Context, o options, l *lab, w workload, targets []*target) []row {
	o.duration = turnTime
	rows := make([]row, len(targets))
	sums := make([]result, len(targets))
	spent := make([]books, len(targets))
	machine := readMachine()
	for i, t := range targets {
		rows[i] = row{Workload: w.name, Target: t.name}
		_, _ = w.run(ctx, l, t, o) // does not count; what goes wrong here shows again below
	}
	for turn := range w.turns {
		for n := range targets {
			i := n
			if turn%2 == 1 {
				i = len(targets) - 1 - n
			}
			before := l.books(targets[i])
			got, err := w.run(ctx, l, targets[i], o)
			if err != nil {
				rows[i].Void = err.Error()
				continue
			}
			sums[i].add(got)
			spent[i] = spent[i].plus(l.books(targets[i]), before)
		}
	}
	for i := range rows {
		rows[i].Others = readMachine().othersSince(machine)
		if rows[i].Void == "" {
			rows[i].fill(w, sums[i].over(w.turns), books{}, spent[i])
		}
	}
	return rows
}

// add sums up what may be summed up.
func (r *result) add(turn result) {
	r.Requests += turn.Requests
	r.Seconds += turn.Seconds
	r.MB += turn.MB
	r.P50 += turn.P50
	r.P99 += turn.P99
}

// over gives percentiles as the mean of the turns.
func (r result) over(turns int) result {
	r.P50 /= float64(turns)
	r.P99 /= float64(turns)
	return r
}

// plus adds what one turn took; memory is that after the last.
func (b books) plus(after, before books) books {
	after.gateway += b.gateway - before.gateway
	after.connector += b.connector - before.connector
	after.backend += b.backend - before.backend
	return after
}
