package authn

import (
	"crypto/sha256"
	"sync"
)

// cache remembers what was verified, by the hash of the proof: no proof is kept itself. It is bounded; when
// it is full some entries, any, make room. Entries carry their own end. Safe for concurrent use.
type cache[V any] struct {
	limit int
	mu    sync.RWMutex
	m     map[[sha256.Size]byte]V
}

func (c *cache[V]) get(key [sha256.Size]byte) (V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.m[key]
	return v, ok
}

func (c *cache[V]) put(key [sha256.Size]byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[[sha256.Size]byte]V{}
	}
	if len(c.m) >= c.limit {
		n := 0
		for k := range c.m { // a map's order is as good as any
			if delete(c.m, k); n > c.limit/8 {
				break
			}
			n++
		}
	}
	c.m[key] = v
}

func (c *cache[V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
}

func (c *cache[V]) drop(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, key)
}
