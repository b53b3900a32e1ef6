package gateway

import (
	"math/rand/v2"
	"net"
)

// A waitingRoom holds the connections whose handshake is not finished. When it is full, who came in large numbers
// makes room for who did not: silent connections from a few addresses must not keep everybody else out.
// Its owner's lock guards it.
type waitingRoom struct {
	places []*place
}

// A place is one connection in a waiting room.
type place struct {
	conn  net.Conn
	count *int   // connections of the same source in the room
	index int    // among places; -1 once it left
	out   func() // called when it is turned out; may be nil
}

func (r *waitingRoom) enter(conn net.Conn, count *int) *place {
	p := &place{conn: conn, count: count, index: len(r.places)}
	r.places = append(r.places, p)
	*count++
	return p
}

// leave takes a place back. It may be called twice: the connection may have been turned out before.
func (r *waitingRoom) leave(p *place) {
	if p.index < 0 {
		return
	}
	last := len(r.places) - 1
	r.places[p.index] = r.places[last]
	r.places[p.index].index = p.index
	r.places[last] = nil
	r.places = r.places[:last]
	p.index = -1
	*p.count--
}

// turnOutSamples is how many places turnOut looks at. Looking at all would cost more than what it defends against.
const turnOutSamples = 8

// turnOut makes room for one connection of a source that has count others here: it takes the place of one whose
// source has more, and returns that connection for the caller to close, or nil when the newcomer has to go.
func (r *waitingRoom) turnOut(count int) net.Conn {
	var most *place
	for range min(turnOutSamples, len(r.places)) {
		p := r.places[rand.IntN(len(r.places))]
		if most == nil || *p.count > *most.count {
			most = p
		}
	}
	if most == nil || *most.count <= count+1 {
		return nil
	}
	r.leave(most)
	if most.out != nil {
		most.out()
	}
	return most.conn
}
