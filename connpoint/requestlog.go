package connpoint

import (
	"bytes"
	"fmt"
	"time"
)

// trafficEvery is how often the traffic report is logged.
const trafficEvery = 5

// logEnd writes the line about a finished request in the shape that ConfigMgr administrators know. It is there at
// debug level only. Queries can hold secrets and are left out.
func (x *exchange) logEnd() {
	if !x.handler.debug {
		return
	}
	x.handler.log.Debug(fmt.Sprintf("MessageID: %s RequestURI: %s EndpointName: %s ResponseHeader: HTTP/1.1 %d ~~ ResponseBodySize: %d ElapsedTime: %d ms",
		x.in.ID(), shownTarget(x.req.Target), x.target.server.Name, x.status, x.replied, time.Since(x.start).Milliseconds()))
}

// stamp is a time as all roles log it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// shownTarget is a request target fit for a log: without its query, cut, and in printable ASCII.
func shownTarget(target []byte) string {
	path, _, query := bytes.Cut(target, []byte{'?'})
	if len(path) > 256 {
		path = path[:256]
	}
	path = bytes.Map(func(r rune) rune {
		if r < '!' || r > '~' {
			return '.'
		}
		return r
	}, path)
	if query {
		return string(path) + "?…"
	}
	return string(path)
}

// logTraffic writes the traffic report every few checks, a line for each server that was asked since the last one.
func (a *Agent) logTraffic() {
	s := &a.state
	if s.checks++; s.checks%trafficEvery != 0 {
		return
	}
	r := s.inside.counts.report(s.started, s.inside.now())
	for _, e := range r.EndPoints {
		if e.TotalRequests == s.reported[e.Name] {
			continue
		}
		s.reported[e.Name] = e.TotalRequests
		a.log().Info("traffic", "server", e.Name, "total_requests", e.TotalRequests, "max_concurrent_requests", e.MaxConcurrentRequests,
			"total_request_bytes", e.TotalRequestBytes, "total_response_bytes", e.TotalResponseBytes, "failed_requests", e.FailedRequests)
	}
}
