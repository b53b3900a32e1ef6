//go:build !race

package connpoint

import "testing"

// quietInbound is a device that does not keep what it gets.
type quietInbound struct {
	*fakeInbound
	answers, bytes int
}

func (q *quietInbound) Answer(_, body []byte, last bool) error {
	if last {
		q.answers++
	}
	q.bytes += len(body)
	return nil
}

// TestSmallRequestsAllocateNothing keeps garbage off the path of small requests. Package channel's test of that name
// covers what lies in front of the handler.
func TestSmallRequestsAllocateNothing(t *testing.T) {
	srv := quietServer(t)
	b := newBench(t, srv.url(), nil)
	b.handler.log, b.handler.debug = quietLogger(), false
	in := &quietInbound{fakeInbound: b.request("POST", "/app/x?y=z", "Accept: */*", "User-Agent: bench", "Content-Length: 4",
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}
	in.bodyBytes, in.whole = 4, []byte("body")
	const runs = 1000
	if got := testing.AllocsPerRun(runs, func() { b.handler.serve(in) }); got > 0 {
		t.Errorf("%v allocations for each small request, want none", got)
	}
	if in.answers != runs+1 || in.bytes != (runs+1)*1024 || in.refusals > 0 {
		t.Errorf("%d answers with %d bytes, %d refusals; want %d answers of 1 KiB", in.answers, in.bytes, in.refusals, runs+1)
	}
}
