package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// traffic counts what each endpoint carries, for the summary lines and the metrics. Endpoints live as long as a
// configuration names them; their counters outlive changes of it.
type traffic struct {
	mu        sync.Mutex // guards endpoints
	endpoints map[ruleKey]*endpoint
}

// An endpoint is one rule of one publication, as the log names it.
type endpoint struct {
	key ruleKey
	uri string

	requests      atomic.Uint64
	requestBytes  atomic.Uint64
	answers       atomic.Uint64
	answerBytes   atomic.Uint64
	failed        [numFaults]atomic.Uint64
	elapsedNanos  atomic.Uint64
	inFlight      atomic.Int64
	maxConcurrent atomic.Int64

	told endpointCounts // as of the last summary; owned by the summarising goroutine
}

type endpointCounts struct {
	requests, requestBytes, answers, answerBytes, elapsedNanos uint64
	failed                                                     [numFaults]uint64
}

func newTraffic() *traffic { return &traffic{endpoints: make(map[ruleKey]*endpoint)} }

// keep returns the endpoints of the keys in their order, new ones for new keys, and forgets all others.
func (t *traffic) keep(keys []ruleKey, uris []string) []*endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := make(map[ruleKey]*endpoint, len(keys))
	out := make([]*endpoint, len(keys))
	for i, k := range keys {
		e := kept[k]
		if e == nil {
			if e = t.endpoints[k]; e == nil || e.uri != uris[i] {
				e = &endpoint{key: k, uri: uris[i]}
			}
			kept[k] = e
		}
		out[i] = e
	}
	t.endpoints = kept
	return out
}

func (t *traffic) list() []*endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*endpoint, 0, len(t.endpoints))
	for _, e := range t.endpoints {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].uri < out[j].uri })
	return out
}

func (e *endpoint) begin() {
	e.requests.Add(1)
	n := e.inFlight.Add(1)
	for {
		old := e.maxConcurrent.Load()
		if n <= old || e.maxConcurrent.CompareAndSwap(old, n) {
			return
		}
	}
}

func (e *endpoint) end(in, out int64, took time.Duration, answered bool, f fault) {
	e.inFlight.Add(-1)
	e.requestBytes.Add(uint64(in))
	e.answerBytes.Add(uint64(out))
	e.elapsedNanos.Add(uint64(took))
	if answered {
		e.answers.Add(1)
	}
	if f != faultNone {
		e.failed[f].Add(1)
	}
}

func (e *endpoint) counts() endpointCounts {
	c := endpointCounts{requests: e.requests.Load(), requestBytes: e.requestBytes.Load(), answers: e.answers.Load(),
		answerBytes: e.answerBytes.Load(), elapsedNanos: e.elapsedNanos.Load()}
	for f := range e.failed {
		c.failed[f] = e.failed[f].Load()
	}
	return c
}

// summarise writes one line for each endpoint that carried something since the last call, in the form that
// readers of CMGService.log know.
func (t *traffic) summarise(ctx context.Context, log *slog.Logger) {
	for _, e := range t.list() {
		c, old := e.counts(), e.told
		e.told = c
		n, answers := c.requests-old.requests, c.answers-old.answers
		if n == 0 && answers == 0 && c.answerBytes == old.answerBytes {
			continue
		}
		average := int64(0)
		if answers > 0 {
			average = time.Duration((c.elapsedNanos - old.elapsedNanos) / answers).Milliseconds()
		}
		log.LogAttrs(ctx, slog.LevelInfo, fmt.Sprintf(
			"RequestUri: %s RequestCount: %d RequestSize: %d Bytes ResponseCount: %d ResponseSize: %d Bytes AverageElapsedTime: %d ms",
			shown(e.uri), n, c.requestBytes-old.requestBytes, answers, c.answerBytes-old.answerBytes, average))
	}
}
