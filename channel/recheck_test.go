package channel

import (
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A fickleKeeper takes a connection point off the list right behind the verdict that it may come, as a document does that
// arrives then.
type fickleKeeper struct {
	keeper
	pool *Pool

	once sync.Once
	lock sync.Mutex // guards the field below
	off  bool
}

func (k *fickleKeeper) Admit(h Hello, _ []*x509.Certificate) (Welcome, error) {
	k.lock.Lock()
	off := k.off
	k.lock.Unlock()
	if off {
		return Welcome{}, causeway.Refuse(causeway.CodeForbidden, "not on the list")
	}
	k.once.Do(k.remove)
	return Welcome{Instance: "i-1", Slot: h.Slot}, nil
}

func (k *fickleKeeper) remove() {
	k.lock.Lock()
	k.off = true
	k.lock.Unlock()
	k.pool.Recheck()
}

func TestWhoIsTakenOffTheListWhileItJoinsIsOut(t *testing.T) {
	k := new(fickleKeeper)
	b := newBed(t, PoolConfig{})
	b.pool.cfg.Gatekeeper, k.pool = k, b.pool
	cp, gw := tcpPair(t)
	ended := make(chan error, 1)
	go func() { ended <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	session, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp-1", Slot: 3, Software: "test"}, SessionConfig{})
	if err == nil { // the first verdict was that it may come
		defer session.Close()
	}
	select {
	case err := <-ended:
		if causeway.CodeOf(err) != causeway.CodeForbidden {
			t.Errorf("its channel ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("its channel is still served")
	}
	if b.pool.Ready() {
		t.Error("requests may still go to it")
	}
}

func TestWhoIsTakenOffTheListLater(t *testing.T) {
	k := new(fickleKeeper)
	k.once.Do(func() {}) // not by itself
	b := newBed(t, PoolConfig{})
	b.pool.cfg.Gatekeeper, k.pool = k, b.pool
	p := b.join("cp-1", answer("hello"), SessionConfig{})
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err != nil {
		t.Fatal(err)
	}
	k.remove()
	waitFor(t, "its channel to end", func() bool { return p.session.link.failure() != nil })
	if err := b.pool.Exchange(t.Context(), get("/"), &recorder{}); err == nil {
		t.Error("it still answers")
	}
}
