package watch

import (
	"maps"
	"slices"
	"strings"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
)

// Unreadable is an object that is stored and cannot be read: encrypted with a key that is not there, or damaged.
// It is served to nobody; the others of its resource are.
type Unreadable struct {
	Key      string // of the store
	Revision uint64
	Err      error
}

// lose notes that what is stored at a key cannot be read.
func (s *State) lose(t *table, key string, e store.Entry, err error) {
	if t.unreadable == nil {
		t.unreadable = map[string]Unreadable{}
	}
	t.unreadable[key] = Unreadable{e.Key, uint64(e.Revision), err}
	s.log.Error("stored object unreadable", "object", e.Key, "rev", e.Revision, "err", err)
}

// Unreadable lists, by key, the unreadable objects of a resource among which those may be that the filter takes: what
// labels and fields they have nobody knows.
func (s *State) Unreadable(i *api.Info, f Filter) []Unreadable {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[i.StoreKey]
	if t == nil || len(t.unreadable) == 0 {
		return nil
	}
	var out []Unreadable
	for _, key := range slices.Sorted(maps.Keys(t.unreadable)) {
		namespace, name := "", key
		if i.Namespaced {
			namespace, name, _ = strings.Cut(key, "/")
		}
		if (f.Namespace == "" || f.Namespace == namespace) && (f.Name == "" || f.Name == name) {
			out = append(out, t.unreadable[key])
		}
	}
	return out
}

// Lost are the store's keys of all unreadable objects.
func (s *State) Lost() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for _, t := range s.tables {
		for _, u := range t.unreadable {
			out = append(out, u.Key)
		}
	}
	slices.Sort(out)
	return out
}

// read makes the Item of an entry, unless it cannot be read; put is called with it next.
func (s *State) read(t *table, key string, e store.Entry, obj api.Object) (*Item, error) {
	if e.Err != nil {
		return nil, e.Err
	}
	return newItem(t.info, key, e, obj, s.hot, &t.labels)
}
