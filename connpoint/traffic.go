package connpoint

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A TrafficReport says what passed, per published server, in the words of ConfigMgr's own report.
type TrafficReport struct {
	StartTime             time.Time         `json:"start_time"`
	EndTime               time.Time         `json:"end_time"`
	MaxConcurrentRequests int64             `json:"max_concurrent_requests"`
	EndPoints             []EndpointTraffic `json:"endpoints"`
}

// EndpointTraffic is the traffic of one published server since the connection point started.
type EndpointTraffic struct {
	Name                  string `json:"name"`
	TotalRequests         uint64 `json:"total_requests"`
	MaxConcurrentRequests int64  `json:"max_concurrent_requests"`
	TotalRequestBytes     uint64 `json:"total_request_bytes"`
	TotalResponseBytes    uint64 `json:"total_response_bytes"`
	FailedRequests        uint64 `json:"failed_requests"`
}

// traffic counts the requests of one published server, or of all.
type traffic struct {
	name          causeway.ServerName
	total, failed atomic.Uint64
	in, out       atomic.Uint64 // body bytes
	now, most     atomic.Int64
}

func (t *traffic) begin() {
	t.total.Add(1)
	raise(&t.most, t.now.Add(1))
}

func (t *traffic) end(failed bool) {
	t.now.Add(-1)
	if failed {
		t.failed.Add(1)
	}
}

func raise(most *atomic.Int64, n int64) {
	for {
		m := most.Load()
		if n <= m || most.CompareAndSwap(m, n) {
			return
		}
	}
}

// A trafficBook keeps the counters of every server that was ever published, so that a new document resets nothing.
type trafficBook struct {
	all traffic

	mu     sync.Mutex
	byName map[causeway.ServerName]*traffic
}

// maxTrafficNames bounds the book over all documents of a process's life.
const maxTrafficNames = 4096

func (b *trafficBook) endpoint(name causeway.ServerName) *traffic {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.byName[name]; t != nil {
		return t
	}
	if b.byName == nil || len(b.byName) >= maxTrafficNames {
		b.byName = make(map[causeway.ServerName]*traffic)
	}
	t := &traffic{name: name}
	b.byName[name] = t
	return t
}

func (b *trafficBook) endpoints() []*traffic {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.byName), func(x, y *traffic) int { return cmp.Compare(x.name, y.name) })
}

func (b *trafficBook) report(since, now time.Time) TrafficReport {
	r := TrafficReport{StartTime: since.UTC(), EndTime: now.UTC(), MaxConcurrentRequests: b.all.most.Load()}
	for _, t := range b.endpoints() {
		r.EndPoints = append(r.EndPoints, EndpointTraffic{
			Name: string(t.name), TotalRequests: t.total.Load(), MaxConcurrentRequests: t.most.Load(),
			TotalRequestBytes: t.in.Load(), TotalResponseBytes: t.out.Load(), FailedRequests: t.failed.Load(),
		})
	}
	return r
}
