// Package encrypt lies between the API and a store's engine and encrypts the values of the resources that an
// EncryptionConfiguration names: above it (registry, watch) is plain text, below it (engines, their logs and backups)
// is what upstream would have stored. The store's key is authenticated with the value where the provider can do that,
// so that a value which was moved to another key is not read there.
//
//	encrypt.go  Store          keys.go    aesgcm, aescbc, secretbox
//	config.go   the file       kms.go     KMS v2 plugins
//	rules.go    which resource with which providers        rewrite.go  Rewrite, Count
package encrypt

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lighter-k8s/lighter/store"
)

// sealed begins every encrypted value. Source: Kubernetes documentation, Encrypting Confidential Data at Rest.
const sealed = "k8s:enc:"

// Store is a store.Store whose values are encrypted in the engine below.
type Store struct {
	store.Store // the engine: what it keeps, it keeps encrypted

	keys atomic.Pointer[Keys]
	// writing is held for reading by commits that encrypt, so that Use can wait for those with the keys before.
	writing sync.RWMutex
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Pusher = (*Store)(nil)
)

// New puts encryption above an engine, which Close closes.
func New(engine store.Store, k *Keys) *Store {
	s := &Store{Store: engine}
	s.keys.Store(k)
	return s
}

// Use replaces the keys. When it returns, no write is under way with those before.
func (s *Store) Use(k *Keys) {
	s.keys.Store(k)
	s.writing.Lock()
	defer s.writing.Unlock() // the commits that began earlier have ended
}

// Keys are those in use.
func (s *Store) Keys() *Keys { return s.keys.Load() }

// Commit implements store.Store. What cannot be encrypted is not written.
func (s *Store) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	for i, op := range t.Ops {
		if op.Value == nil || op.Check || s.keys.Load().chain(op.Key) == nil {
			continue
		}
		s.writing.RLock()
		defer s.writing.RUnlock()
		keys := s.keys.Load()
		ops := slices.Clone(t.Ops)
		for j, op := range ops[i:] {
			c := keys.chain(op.Key)
			if op.Value == nil || op.Check || c == nil {
				continue
			}
			value, err := c[0].seal(ctx, op.Key, op.Value)
			if err != nil {
				return 0, fmt.Errorf("commit: encrypt %s: %w", op.Key, err)
			}
			ops[i+j].Value = value
		}
		t.Ops = ops
		break
	}
	return s.Store.Commit(ctx, t)
}

// Get implements store.Store; further errors: ErrUnreadable.
func (s *Store) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	e, err := s.Store.Get(ctx, key, at)
	if err != nil || e.Revision == 0 {
		return e, err
	}
	value, _, err := s.keys.Load().Open(ctx, key, e.Value)
	if err != nil {
		return store.Entry{}, fmt.Errorf("get: %w", err)
	}
	e.Value = value
	return e, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	entries, at, err := s.Store.List(ctx, prefix, p)
	keys := s.keys.Load()
	for i := range entries {
		keys.open(ctx, &entries[i])
	}
	return entries, at, err
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		for e, err := range s.Store.Watch(ctx, prefix, after) {
			if err == nil && e.Value != nil {
				s.keys.Load().open(ctx, &e.Entry)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Push implements store.Pusher above any engine. Where a plugin has the keys, it may be waited for: not by who writes.
func (s *Store) Push(ctx context.Context, prefix string, after store.Revision, take func([]store.Event) bool) error {
	more := true
	err := store.Follow(ctx, s.Store, prefix, after, func(events []store.Event) bool {
		keys := s.keys.Load()
		if len(keys.kms) > 0 {
			return false
		}
		for n := range events {
			if events[n].Value != nil {
				keys.open(ctx, &events[n].Entry)
			}
		}
		after, more = events[0].Revision, take(events)
		return more
	})
	if err != nil || !more {
		return err
	}
	return store.FollowWatch(ctx, s, prefix, after, take)
}

// Seal gives what a value is stored as.
func (k *Keys) Seal(ctx context.Context, key string, plain []byte) ([]byte, error) {
	c := k.chain(key)
	if c == nil {
		return plain, nil
	}
	return c[0].seal(ctx, key, plain)
}

// open decrypts an entry in its place.
func (k *Keys) open(ctx context.Context, e *store.Entry) {
	value, _, err := k.Open(ctx, e.Key, e.Value)
	if err != nil {
		e.Err = err
		return
	}
	e.Value = value
}

// Open gives the plain text of a stored value, and whether it would be written otherwise now. Errors: ErrUnreadable, which names the key.
func (k *Keys) Open(ctx context.Context, key string, stored []byte) (plain []byte, stale bool, err error) {
	c := k.chain(key)
	if c == nil {
		if hasPrefix(stored, sealed) {
			return nil, false, unreadable(key, fmt.Errorf("it is encrypted (%s) and the configuration has no provider for its resource", Provenance(stored)))
		}
		return stored, false, nil
	}
	var errs []error
	for i, p := range c {
		if !hasPrefix(stored, p.prefix()) || p.prefix() == "" && hasPrefix(stored, sealed) {
			continue
		}
		plain, old, err := p.open(ctx, key, stored[len(p.prefix()):])
		if err == nil {
			if plain == nil {
				plain = []byte{} // the value is there and empty
			}
			return plain, i > 0 || old, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", strings.TrimSuffix(p.prefix(), ":"), err))
	}
	switch {
	case len(errs) > 0:
		return nil, false, unreadable(key, errors.Join(errs...))
	case hasPrefix(stored, sealed):
		return nil, false, unreadable(key, fmt.Errorf("no provider of the configuration has its key (%s)", Provenance(stored)))
	}
	return nil, false, unreadable(key, errors.New("it is not encrypted and the configuration has no identity provider for its resource"))
}

func unreadable(key string, why error) error {
	return fmt.Errorf("%s: %w: %w", key, store.ErrUnreadable, why)
}

func hasPrefix(value []byte, prefix string) bool {
	return len(value) >= len(prefix) && string(value[:len(prefix)]) == prefix
}

// Provenance says what wrote a stored value: "aesgcm:v1:key1", or "identity" for plain text.
func Provenance(stored []byte) string {
	if !hasPrefix(stored, sealed) {
		return identity
	}
	rest := string(stored[len(sealed):min(len(stored), 512)])
	n := 0
	for i, b := range []byte(rest) {
		if b != ':' {
			continue
		}
		if n++; n == 3 {
			return rest[:i]
		}
	}
	return "unknown"
}
