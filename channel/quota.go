package channel

import "sync/atomic"

// A Quota bounds how many requests the sessions of one set take at a time, whatever the gateway makes of the hello's
// max_in_flight.
type Quota struct {
	most int64
	used atomic.Int64
}

// NewQuota returns the quota to a hello's MaxInFlight; nil, which is none, for zero. It is larger by a quarter and 64: a request
// is over for the gateway a moment before it is for us, and with thousands a second those moments add up.
func NewQuota(maxInFlight int) *Quota {
	if maxInFlight <= 0 {
		return nil
	}
	return &Quota{most: int64(maxInFlight) + int64(maxInFlight)/4 + 64}
}

// take reports whether there is room for one request more, which then has to be given back.
func (q *Quota) take() bool {
	if q == nil {
		return true
	}
	if q.used.Add(1) > q.most {
		q.used.Add(-1)
		return false
	}
	return true
}

func (q *Quota) give() {
	if q != nil {
		q.used.Add(-1)
	}
}
