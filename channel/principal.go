package channel

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	maxEvidenceBytes = 64 << 10
	maxSourceBytes   = 64
	// maxPrincipalBytes bounds the evidence that one link's principals make the connection point hold.
	maxPrincipalBytes = 64 << 20
)

// A Principal is one device connection together with one proof, as the gateway tells it to connection points. It
// is sent once on every link that carries its requests; those then name it by a number.
type Principal struct {
	kind     uint8
	source   string
	evidence []byte

	mu      sync.Mutex // guards the fields below
	numbers map[*gatewayLink]uint32
	closed  bool
}

// NewPrincipal returns a principal. kind and evidence are those of package identity, evidence at most 64 KiB;
// source is the device's address and port.
func NewPrincipal(kind uint8, evidence []byte, source string) *Principal {
	return &Principal{kind: kind, evidence: evidence, source: source[:min(len(source), maxSourceBytes)]}
}

// Close tells every connection point that was told of the principal that its device connection is gone.
func (p *Principal) Close() {
	p.mu.Lock()
	numbers := p.numbers
	p.numbers, p.closed = nil, true
	p.mu.Unlock()
	for l, n := range numbers {
		l.forget(p, n)
	}
}

// numberOnLocked returns the principal's number on l, and tells l's other side of it first if need be. The caller
// holds l.openMu until its open frame is in the output too: so a principalClose never comes between. flush says that
// the caller has become the link's writer.
func (p *Principal) numberOnLocked(l *gatewayLink) (n uint32, flush bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.numbers[l]; ok {
		return n, false, nil
	}
	if p.closed {
		return 0, false, errStreamDone
	}
	if len(p.evidence) > maxEvidenceBytes {
		return 0, false, fmt.Errorf("evidence of %d bytes: at most %d may be sent", len(p.evidence), maxEvidenceBytes)
	}
	n = l.nextPrincipal.Add(1)
	var fixed [6]byte
	binary.BigEndian.PutUint32(fixed[:], n)
	fixed[4], fixed[5] = p.kind, byte(len(p.source))
	if _, flush, err = l.enqueue(frameHeader{typ: framePrincipal}, fixed[:], []byte(p.source), p.evidence); err != nil {
		return 0, flush, err
	}
	if p.numbers == nil {
		p.numbers = map[*gatewayLink]uint32{}
	}
	p.numbers[l] = n
	l.remember(p)
	return n, flush, nil
}

// take removes the principal's number on l, and reports whether it had one.
func (p *Principal) take(l *gatewayLink) (n uint32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok = p.numbers[l]
	delete(p.numbers, l)
	return n, ok
}

// Bounds of what a gateway tells one link's other side at a time; half of what a connection point holds, which
// need not be this version. Beyond them, principals make room for one another and are told again when they return.
const (
	maxToldPrincipals = DefaultMaxPrincipals / 2
	maxToldBytes      = maxPrincipalBytes / 2
)

// remember notes that p has a number on l, so that part can tell it when l is gone.
func (l *gatewayLink) remember(p *Principal) {
	l.pmu.Lock()
	defer l.pmu.Unlock()
	if l.principals != nil {
		l.principals[p] = struct{}{}
		l.told += len(p.evidence)
	}
}

// unlearn undoes remember.
func (l *gatewayLink) unlearn(p *Principal) {
	l.pmu.Lock()
	defer l.pmu.Unlock()
	if _, ok := l.principals[p]; ok {
		delete(l.principals, p)
		l.told -= len(p.evidence)
	}
}

// makeRoomLocked takes back principals, any but keep, until those that are left fit. The caller holds openMu.
func (l *gatewayLink) makeRoomLocked(keep *Principal) (flush bool) {
	for {
		victim := l.victim(keep)
		if victim == nil {
			return flush
		}
		l.unlearn(victim)
		if n, ok := victim.take(l); ok {
			first, err := l.sendClose(n)
			flush = flush || first
			if err != nil {
				return flush
			}
		}
	}
}

// victim returns a principal to take back, or nil when all fit. A map gives them in no order, which is as good as
// any: nobody can foresee it.
func (l *gatewayLink) victim(keep *Principal) *Principal {
	l.pmu.Lock()
	defer l.pmu.Unlock()
	if len(l.principals) <= l.maxPrincipals && l.told <= l.maxTold {
		return nil
	}
	for p := range l.principals {
		if p != keep {
			return p
		}
	}
	return nil
}

// forget tells the connection point that p is gone.
func (l *gatewayLink) forget(p *Principal, n uint32) {
	l.unlearn(p)
	l.openMu.Lock()
	first, _ := l.sendClose(n) // a lost link has forgotten it already
	l.openMu.Unlock()
	if first {
		l.flush()
	}
}

func (l *gatewayLink) sendClose(n uint32) (first bool, err error) {
	var num [4]byte
	binary.BigEndian.PutUint32(num[:], n)
	_, first, err = l.enqueue(frameHeader{typ: framePrincipalClose}, num[:], nil, nil)
	return first, err
}

// InboundPrincipal is a principal as the connection point knows it. Nothing of it is verified yet.
type InboundPrincipal struct {
	Kind     uint8
	Evidence []byte
	Source   string

	// Memo keeps what the handler made of the evidence, for the next request of the same principal.
	Memo atomic.Pointer[any]
}

func parsePrincipal(p []byte) (number uint32, ip *InboundPrincipal, err error) {
	if len(p) < 6 {
		return 0, nil, violation("principal frame of %d bytes", len(p))
	}
	number = binary.BigEndian.Uint32(p)
	kind, n, rest := p[4], int(p[5]), p[6:]
	if n > maxSourceBytes || n > len(rest) || len(rest)-n > maxEvidenceBytes {
		return 0, nil, violation("principal with a source of %d bytes in %d", n, len(rest))
	}
	ip = &InboundPrincipal{Kind: kind, Source: string(rest[:n]), Evidence: append([]byte(nil), rest[n:]...)}
	return number, ip, nil
}
