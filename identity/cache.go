package identity

import "sync"

// A cache remembers at most about 2*max values: a young and an old half. When the young half is full it becomes
// the old one, and what nobody asked for since is gone. The zero value with max set is ready.
type cache[V any] struct {
	max int

	mu         sync.Mutex
	young, old map[[32]byte]V
}

func (c *cache[V]) get(key [32]byte) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.young[key]; ok {
		return v, true
	}
	if v, ok = c.old[key]; ok {
		c.putLocked(key, v)
	}
	return v, ok
}

func (c *cache[V]) put(key [32]byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(key, v)
}

func (c *cache[V]) putLocked(key [32]byte, v V) {
	if c.young == nil || len(c.young) >= c.max {
		c.old, c.young = c.young, make(map[[32]byte]V)
	}
	c.young[key] = v
}
