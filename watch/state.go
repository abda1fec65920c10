// Package watch holds the newest objects and the recent events in memory, once, for
// everybody: the API server's lists and watches, and the views of the parts that
// run in the same process. It is fed by the store's log of writes alone, in order, so it
// can be late but never wrong; a reader that needs "now" waits for the revision
// which the store confirms.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
)

// Prefix is where all keys of the API begin.
const Prefix = "/registry/"

// ErrExpired: the revision to watch from is older than the events that are kept (HTTP 410).
var ErrExpired = errors.New("too old resource version")

// State is the memory of one server. All methods are safe for concurrent use.
type State struct {
	store store.Store
	log   *slog.Logger
	now   func() time.Time

	mu       sync.RWMutex
	tables   map[string]*table        // by StoreKey
	loading  map[*table][]store.Event // what happened to those that are just being read
	revision uint64                   // everything up to it is applied
	failed   error                    // Run ended: nothing newer will come
	waiting  []waiter
	offers   map[offer]api.Object
	hot      *hot
	bytes    int       // that the tables' events hold
	busiest  *table    // gives its oldest events first
	tidied   time.Time // when events were last dropped for their age
	woken    []*Watcher
}

type waiter struct {
	revision uint64
	done     chan struct{}
}

type offer struct {
	key      string
	revision uint64
}

// New makes the memory for the given resources; Load fills it.
func New(s store.Store, log *slog.Logger, now func() time.Time, infos []*api.Info) *State {
	st := &State{store: s, log: log, now: now, tables: map[string]*table{}, offers: map[offer]api.Object{}, hot: &hot{}}
	for _, i := range infos {
		st.Add(i)
	}
	return st
}

// Add makes room for one more resource, before its first object is written.
func (s *State) Add(i *api.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.Virtual || i.Stored != i || s.tables[i.StoreKey] != nil {
		return
	}
	s.tables[i.StoreKey] = newTable(i, s.hot, s.revision)
}

// Key is where an object of the resource is stored.
func Key(i *api.Info, namespace, name string) string {
	if i.Namespaced {
		return Prefix + i.StoreKey + "/" + namespace + "/" + name
	}
	return Prefix + i.StoreKey + "/" + name
}

// split finds the table of a store key and the rest of it.
func (s *State) split(key string) (*table, string) {
	rest, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return nil, ""
	}
	for at := 0; at < len(rest); at++ {
		if rest[at] != '/' {
			continue
		}
		if t := s.tables[rest[:at]]; t != nil {
			return t, rest[at+1:]
		}
	}
	return nil, ""
}

// Load reads all that is stored. It is called once, before Run.
func (s *State) Load(ctx context.Context) error {
	entries, at, err := s.store.List(ctx, Prefix, store.Page{})
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		t, key := s.split(e.Key)
		if t == nil {
			continue
		}
		item, err := s.read(t, key, e, nil)
		if err != nil {
			s.lose(t, key, e, err)
			continue
		}
		t.put(nil, item)
	}
	s.revision = uint64(at)
	for _, t := range s.tables {
		t.since = s.revision
	}
	return nil
}

// Run follows the store until ctx ends or the store fails.
func (s *State) Run(ctx context.Context) error {
	err := store.Follow(ctx, s.store, Prefix, store.Revision(s.Revision()), func(batch []store.Event) bool {
		s.apply(batch)
		return true
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	s.mu.Lock()
	s.failed = fmt.Errorf("state ended: %w", err)
	for _, w := range s.waiting {
		close(w.done)
	}
	s.waiting = nil
	for _, t := range s.tables {
		t.wake()
	}
	s.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Offer hands over the typed object of a write that is about to show up in the log, so that
// it need not be decoded again. obj must not be written to afterwards.
func (s *State) Offer(key string, revision uint64, obj api.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision > s.revision {
		if len(s.offers) > 4096 {
			clear(s.offers)
		}
		s.offers[offer{key, revision}] = obj
		return
	}
	if t, k := s.split(key); t != nil {
		if i, ok := t.items.Get(k); ok && i.Revision == revision {
			i.keep(obj)
		}
	}
}

// apply takes in the events of one revision. The store may call it in the middle of a Commit: it never calls the store.
func (s *State) apply(batch []store.Event) {
	revision := uint64(batch[0].Revision)
	s.mu.Lock()
	woken := s.woken[:0]
	for _, e := range batch {
		if t, _ := s.split(e.Key); t != nil {
			woken = s.take(t, e, woken)
		}
	}
	s.trim()
	s.revision = revision
	rest := s.waiting[:0]
	for _, w := range s.waiting {
		if w.revision <= revision {
			close(w.done)
		} else {
			rest = append(rest, w)
		}
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
	s.mu.Unlock()
	for _, w := range woken { // without the lock, which they need first of all
		w.Poke()
	}
	clear(woken)
	s.woken = woken[:0]
}

// take takes in one event of a table, and appends whom it concerns.
func (s *State) take(t *table, e store.Event, woken []*Watcher) []*Watcher {
	if len(s.loading) > 0 {
		if missed, ok := s.loading[t]; ok {
			s.loading[t] = append(missed, e)
			return woken
		}
	}
	t.received++
	revision := uint64(e.Revision)
	key := e.Key[len(Prefix)+len(t.info.StoreKey)+1:]
	old, _ := t.items.Get(key)
	ev := &Event{Revision: revision, Old: old, at: s.now()}
	delete(t.unreadable, key)
	if e.Value != nil {
		o := offer{e.Key, revision}
		obj := s.offers[o]
		delete(s.offers, o)
		var err error
		if ev.New, err = s.read(t, key, e.Entry, obj); err != nil {
			s.lose(t, key, e.Entry, err) // and do not go on to show the older state: for who watches it is gone
		}
	}
	if ev.New == nil && old == nil {
		return woken
	}
	t.put(old, ev.New)
	return s.append(t, ev, woken)
}

// Revision is the newest revision that the state shows.
func (s *State) Revision() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Wait blocks until the state shows everything up to the revision.
func (s *State) Wait(ctx context.Context, revision uint64) error {
	s.mu.Lock()
	if s.revision >= revision {
		s.mu.Unlock()
		return nil
	}
	if s.failed != nil {
		defer s.mu.Unlock()
		return s.failed
	}
	w := waiter{revision, make(chan struct{})}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	select {
	case <-w.done:
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.revision < revision {
			return s.failed
		}
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		for n, o := range s.waiting {
			if o.done == w.done {
				s.waiting = append(s.waiting[:n], s.waiting[n+1:]...)
				break
			}
		}
		s.mu.Unlock()
		return ctx.Err()
	}
}

// Now waits until the state shows all that was acknowledged before the call.
func (s *State) Now(ctx context.Context) error {
	at, err := s.store.Revision(ctx)
	if err != nil {
		return err
	}
	return s.Wait(ctx, uint64(at))
}

// Get returns an object as the state shows it, or nil.
func (s *State) Get(i *api.Info, namespace, name string) *Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[i.StoreKey]
	if t == nil {
		return nil
	}
	item, _ := t.items.Get(treeKey(i, namespace, name))
	return item
}

// Empty tells whether there is no object of the resource at all.
func (s *State) Empty(i *api.Info) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[i.StoreKey]
	return t == nil || t.items.Len() == 0
}

func treeKey(i *api.Info, namespace, name string) string {
	if i.Namespaced {
		return namespace + "/" + name
	}
	return name
}

// Info is the record of a stored resource by its StoreKey, or nil.
func (s *State) Info(storeKey string) *api.Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.tables[storeKey]; t != nil {
		return t.info
	}
	return nil
}
