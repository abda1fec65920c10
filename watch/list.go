package watch

import (
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"github.com/lighter-k8s/lighter/api"
)

// Page bounds a list.
type Page struct {
	After string // keys greater than this only
	Limit int64  // at most so many items; 0: all
}

// List returns the objects that the filter takes, by key, and the revision they are the state of.
// It holds no lock while it filters.
func (s *State) List(i *api.Info, f Filter) ([]*Item, uint64) {
	items, _, revision := s.ListPage(i, f, Page{})
	return items, revision
}

// ListPage is List in pieces; remaining is how many items follow, -1 when there are some but nobody counted.
func (s *State) ListPage(i *api.Info, f Filter, p Page) (items []*Item, remaining int64, revision uint64) {
	s.mu.Lock()
	t := s.tables[i.StoreKey]
	if t == nil {
		defer s.mu.Unlock()
		return nil, 0, s.revision
	}
	view := s.look(t, &f)
	revision = s.revision
	s.mu.Unlock()
	items, remaining = view.list(&f, p)
	return items, remaining, revision
}

// First is the first object that the filter takes (nil: none), and how many follow, as ListPage says: not a list to be counted.
func (s *State) First(i *api.Info, f Filter) (first *Item, remaining int64) {
	s.mu.Lock()
	t := s.tables[i.StoreKey]
	if t == nil {
		s.mu.Unlock()
		return nil, 0
	}
	view := s.look(t, &f)
	s.mu.Unlock()
	items, remaining, _ := view.page(&f, Page{Limit: 1})
	if len(items) > 0 {
		first = items[0]
	}
	return first, remaining
}

// ListPageAt is ListPage as of a revision; false: the resource has changed since, or something of it cannot be read, and
// only the store may still know.
func (s *State) ListPageAt(i *api.Info, f Filter, p Page, at uint64) (items []*Item, remaining int64, ok bool) {
	s.mu.Lock()
	t := s.tables[i.StoreKey]
	if t == nil || at > s.revision || t.changed() > at || len(t.unreadable) > 0 {
		s.mu.Unlock()
		return nil, 0, false
	}
	view := s.look(t, &f)
	s.mu.Unlock()
	items, remaining = view.list(&f, p)
	return items, remaining, true
}

// look is what a filter has to be held against, taken while s.mu is held for writing.
type look struct {
	state *State
	table *table
	items []*Item                   // what an index gave, or
	snap  *btree.Map[string, *Item] // the whole table
	index *index                    // to be made
}

// list is page, counted.
func (v *look) list(f *Filter, p Page) (out []*Item, remaining int64) {
	out, remaining, walked := v.page(f, p)
	v.table.lists.Add(1)
	v.table.walked.Add(uint64(walked))
	v.table.listed.Add(uint64(len(out)))
	return out, remaining
}

func (s *State) look(t *table, f *Filter) look {
	v := look{state: s, table: t}
	if f.Name != "" && (f.Namespace != "" || !t.info.Namespaced) {
		if i, ok := t.items.Get(treeKey(t.info, f.Namespace, f.Name)); ok {
			v.items = []*Item{i}
		}
		return v
	}
	if f.Labels != nil || f.Fields != nil {
		var ok bool
		if v.items, ok = t.found(f, s.now()); ok {
			return v
		}
		v.index = t.wanted(f, s.now())
	}
	v.snap = t.snapshot()
	return v
}

// page filters, without any lock. walked is how many objects it looked at.
func (v *look) page(f *Filter, p Page) (out []*Item, remaining int64, walked int) {
	if v.index != nil {
		v.state.build(v.index, v.snap)
	}
	if v.snap == nil {
		walked = len(v.items)
		items := sorted(slices.DeleteFunc(v.items, func(i *Item) bool { return !f.Match(i) }))
		if p.After != "" {
			n, _ := slices.BinarySearchFunc(items, p.After+"\x00", func(i *Item, key string) int { return strings.Compare(i.key, key) })
			items = items[n:]
		}
		if p.Limit > 0 && int64(len(items)) > p.Limit {
			return items[:p.Limit], int64(len(items)) - p.Limit, walked
		}
		return items, 0, walked
	}
	from := ""
	if v.table.info.Namespaced && f.Namespace != "" {
		from = f.Namespace + "/"
	}
	start := from
	if p.After != "" {
		start = max(start, p.After+"\x00")
	}
	all := f.Labels == nil && f.Fields == nil && f.Name == ""
	if all && from == "" && p.After == "" && p.Limit == 0 {
		out = make([]*Item, 0, v.snap.Len())
	}
	more := ""
	v.snap.Ascend(start, func(key string, i *Item) bool {
		if from != "" && !strings.HasPrefix(key, from) {
			return false
		}
		walked++
		switch {
		case !f.Match(i):
		case p.Limit > 0 && int64(len(out)) == p.Limit:
			more = key
			return false
		default:
			out = append(out, i)
		}
		return true
	})
	if len(out) < cap(out)*3/4 {
		out = slices.Clone(out) // it may be held for as long as a slow client reads
	}
	switch {
	case more == "":
		return out, 0, walked
	case !all:
		return out, -1, walked
	}
	end := v.snap.Len()
	if from != "" {
		end = rank(v.snap, from[:len(from)-1]+"0") // the character behind "/"
	}
	return out, int64(end - rank(v.snap, more)), walked
}

// rank is how many keys are less than key.
func rank(m *btree.Map[string, *Item], key string) int {
	lo, hi := 0, m.Len()
	for lo < hi {
		mid := (lo + hi) / 2
		if k, _, _ := m.GetAt(mid); k < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// By returns the items whose index ("owner" or "node") has the value, by key.
func (s *State) By(i *api.Info, index, value string) []*Item {
	s.mu.RLock()
	t := s.tables[i.StoreKey]
	var in set
	switch {
	case t == nil:
	case index == "owner":
		in = t.owners[value]
	case index == "node" && t.nodes != nil:
		in = t.nodes[value]
	default:
		s.mu.RUnlock()
		panic("watch: no index " + index + " on " + i.Resource)
	}
	out := make([]*Item, 0, len(in))
	for _, i := range in {
		out = append(out, i)
	}
	s.mu.RUnlock()
	return sorted(out)
}
