package watch

import (
	"github.com/tidwall/btree"

	"github.com/lighter-k8s/lighter/api"
)

// Snapshot is a resource as it was at one revision, for good. It shares its memory with the present: what it costs is
// what has changed since. The zero Snapshot is empty.
type Snapshot struct{ items *btree.Map[string, *Item] }

// Get returns the object at a key (Item.Key), or nil.
func (s Snapshot) Get(key string) *Item {
	if s.items == nil {
		return nil
	}
	i, _ := s.items.Get(key)
	return i
}

// All yields the objects that the filter takes, by key.
func (s Snapshot) All(f *Filter) func(yield func(*Item) bool) {
	return func(yield func(*Item) bool) {
		if s.items != nil {
			s.items.Scan(func(_ string, i *Item) bool { return !f.Match(i) || yield(i) })
		}
	}
}

// Follow is ListWatch with a snapshot for a list. poke, if not nil, is called where Wake would become ready, which then never
// is; it must neither wait nor use the state.
func (s *State) Follow(i *api.Info, f Filter, poke func()) (Snapshot, *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(i)
	w := s.watcher(t, &f, poke)
	return Snapshot{t.snapshot()}, w
}

// Snapshot is the resource as the watcher has seen it; false: there are events that Take has not given yet.
func (w *Watcher) Snapshot() (Snapshot, bool) {
	s := w.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.early != nil || w.next != w.feed.end() {
		return Snapshot{}, false
	}
	return Snapshot{w.table.snapshot()}, true
}
