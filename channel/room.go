package channel

import (
	"context"
	"time"
)

// The waiting room: where safe requests stay for a moment when every channel is lost at once, as after a standstill of the
// instance, or with the only connection point. Without it a device whose answer was cut would find no channel with its
// second try, either.
const (
	// roomPatience is how long a request waits. A connection point is back within a second of what it noticed; a device
	// that is told 503 any later would have been better off with an answer at once.
	roomPatience = time.Second
	// roomOpen is how long after the loss of the last channel requests may wait: then it will not be back in a moment.
	roomOpen = 10 * time.Second
	// roomPlaces bounds how many wait.
	roomPlaces = 1024
)

// A waitingRoom is guarded by Pool.mu.
type waitingRoom struct {
	lostAt  time.Time // the last channel; zero before there was one
	waiting int
	changed chan struct{} // closed when the channels change; nil while nobody waits
	served  uint64        // of those who waited, those who got a channel
	left    uint64        // and who did not
}

// changedLocked wakes all who wait, to look again.
func (r *waitingRoom) changedLocked(before, open int) {
	if open == 0 && before > 0 {
		r.lostAt = time.Now()
	}
	r.wakeLocked()
}

func (r *waitingRoom) wakeLocked() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// await is pick for a request that may wait for a channel, until ctx ends. Nothing is returned when it had to wait in vain.
func (p *Pool) await(ctx context.Context) (l *gatewayLink, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, full = p.pick(nil); l != nil || full || p.room.waiting >= roomPlaces || !p.mayReturnLocked() {
		return l, full
	}
	late := time.NewTimer(roomPatience)
	defer late.Stop()
	p.room.waiting++
	for ok := true; ok && l == nil && !full && p.mayReturnLocked(); l, full = p.pick(nil) {
		ok = p.changeLocked(ctx, late.C)
	}
	p.room.waiting--
	if l != nil || full {
		p.room.served++
	} else {
		p.room.left++
	}
	return l, full
}

// mayReturnLocked reports whether a channel may be back in a moment.
func (p *Pool) mayReturnLocked() bool {
	return !p.draining && (p.Ready() || !p.room.lostAt.IsZero() && time.Since(p.room.lostAt) < roomOpen)
}

// changeLocked lets go of the lock until the channels change. It reports whether they did before late and ctx's end.
func (p *Pool) changeLocked(ctx context.Context, late <-chan time.Time) bool {
	if p.room.changed == nil {
		p.room.changed = make(chan struct{})
	}
	changed := p.room.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

// RoomStatus is a look at the requests that wait for a channel.
type RoomStatus struct {
	Waiting int
	Served  uint64 // since the start: got a channel
	Left    uint64 // did not in time, or their device left
}

// Room returns the figures.
func (p *Pool) Room() RoomStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return RoomStatus{Waiting: p.room.waiting, Served: p.room.served, Left: p.room.left}
}
