package authn

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"unsafe"
)

// cache remembers what was verified, by the digest of the proof. It is bounded; when it is full some entries, any, make
// room. Entries carry their own end. Safe for concurrent use.
type cache[V any] struct {
	limit int
	mu    sync.RWMutex
	m     map[[sha256.Size]byte]V

	lately [512]atomic.Pointer[shown[V]] // by the quick hash of the proof; what another one pushed out is in m
}

// shown is a proof that came lately. It is kept itself, as the connection that it came on keeps it too: who asks again and again is
// recognized without a digest, which would take most of the time.
type shown[V any] struct {
	hash  uint64
	proof string
	v     V
}

// find gives what was kept of a proof. hash is its quickHash.
func (c *cache[V]) find(hash uint64, proof string) (V, bool) {
	if s := c.lately[hash%uint64(len(c.lately))].Load(); s != nil && s.hash == hash && equal(s.proof, proof) {
		return s.v, true
	}
	v, ok := c.get(keyOf(proof))
	if ok {
		c.show(hash, proof, v)
	}
	return v, ok
}

// keep keeps what was verified of a proof.
func (c *cache[V]) keep(hash uint64, proof string, v V) {
	c.put(keyOf(proof), v)
	c.show(hash, proof, v)
}

func (c *cache[V]) show(hash uint64, proof string, v V) {
	if len(proof) <= 4096 { // so that all are no more than 2 MiB
		c.lately[hash%uint64(len(c.lately))].Store(&shown[V]{hash, proof, v})
	}
}

// equal takes a time that tells nothing about the texts, as subtle.ConstantTimeCompare does, but looks at many bytes at once. A connection gives the
// very same string again for a header that it has in its table: that is one look.
func equal(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	if unsafe.StringData(a) == unsafe.StringData(b) {
		return true
	}
	var x, y [128]byte
	var differ uint64
	for len(a) > 0 {
		n := copy(x[:], a)
		copy(y[:], b)
		subtle.XORBytes(x[:n], x[:n], y[:n])
		clear(x[n:])
		for i := 0; i < len(x); i += 8 {
			differ |= binary.NativeEndian.Uint64(x[i:])
		}
		a, b = a[n:], b[n:]
	}
	return differ == 0
}

var seed = maphash.MakeSeed()

// quickHash is a cheap hash, whose seed nobody knows.
func quickHash(text string) uint64 { return maphash.String(seed, text) }

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

// seen remembers that texts have been seen, by their quickHash. It may once in an age take one for another: only for
// what does no harm then. Bounded; safe for concurrent use.
type seen struct {
	limit int
	mu    sync.RWMutex
	m     map[uint64]struct{}
}

func newSeen(limit int) seen {
	return seen{limit: limit, m: map[uint64]struct{}{}}
}

func (s *seen) has(hash uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.m[hash]
	return ok
}

func (s *seen) add(hash uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.m) >= s.limit {
		clear(s.m)
	}
	s.m[hash] = struct{}{}
}
