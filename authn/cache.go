package authn

import (
	"crypto/sha256"
	"hash/maphash"
	"sync"
)

// cache remembers what was verified, by the hash of the proof: no proof is kept itself. It is bounded; when
// it is full some entries, any, make room. Entries carry their own end. Safe for concurrent use.
type cache[V any] struct {
	limit int
	mu    sync.RWMutex
	m     map[[sha256.Size]byte]V
}

// keyOf is the hash of a token. One of usual length is not copied to the heap for it.
func keyOf(token string) [sha256.Size]byte {
	var room [2048]byte
	if len(token) > len(room) {
		return sha256.Sum256([]byte(token))
	}
	return sha256.Sum256(room[:copy(room[:], token)])
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

// seen remembers that texts have been seen, by a cheap hash whose seed nobody knows. It may once in an age take one for another: only for
// what does no harm then. Bounded; safe for concurrent use.
type seen struct {
	limit int
	seed  maphash.Seed
	mu    sync.RWMutex
	m     map[uint64]struct{}
}

func newSeen(limit int) seen {
	return seen{limit: limit, seed: maphash.MakeSeed(), m: map[uint64]struct{}{}}
}

func (s *seen) has(text string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.m) == 0 {
		return false
	}
	_, ok := s.m[maphash.String(s.seed, text)]
	return ok
}

func (s *seen) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.m) >= s.limit {
		clear(s.m)
	}
	s.m[maphash.String(s.seed, text)] = struct{}{}
}
