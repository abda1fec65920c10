package watch

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"k8s.io/apimachinery/pkg/selection"

	"github.com/lighter-k8s/lighter/api"
)

// table is one resource. Guarded by State.mu.
type table struct {
	info   *api.Info
	hot    *hot
	items  *btree.Map[string, *Item] // by key
	shared *btree.Map[string, *Item] // a copy handed out, while nothing changed since
	owners map[string]set            // controlling owner's UID
	nodes  map[string]set            // spec.nodeName; pods only
	labels labelSets
	// indexes are those of fields that were selected by again and again; asked counts towards one.
	indexes map[string]*index
	asked   map[string]int

	log   feed              // the recent events
	feeds map[feedKey]*feed // those of them that some watchers look at alone
	// routes counts the feeds of each label and field, so that an event is looked up by those alone.
	routes map[indexKey]int
	bytes  int    // that log's events hold
	since  uint64 // events later than this revision are all in log

	unreadable map[string]Unreadable // by key; nil while there is none

	lists, walked, listed atomic.Uint64 // of all lists of before; see Count
	received              uint64

	epoch int  // counts how often all watches were ended
	gone  bool // it is none of the state's tables any more
}

// set is what an index has for one value.
type set map[string]*Item

// indexKey names a label, or a selectable field.
type indexKey struct {
	field bool
	name  string
}

// of is the item's value of the index's label or field; an item without the label is in no index.
func (k indexKey) of(i *Item) (string, bool) {
	if k.field {
		return i.field(k.name)
	}
	return i.label(k.name)
}

// index finds items by the value of one field.
type index struct {
	field   string
	sets    map[string]set
	used    time.Time
	ready   bool
	changes []change // while it is being made
}

type change struct{ old, new *Item }

func (x *index) of(i *Item) (string, bool) { return i.field(x.field) }

// An index is made when a field was selected by this often, for tables from this size; it goes when nobody
// used it for a while.
const (
	indexAfter = 2
	indexFrom  = 500
	indexMost  = 8
	indexIdle  = 10 * time.Minute
)

// newTable makes one with the maps alone that an empty table needs: most custom resources have no objects for long.
func newTable(i *api.Info, h *hot, since uint64) *table {
	t := &table{info: i, hot: h, items: btree.NewMap[string, *Item](32), labels: newLabelSets(), since: since}
	if i.StoreKey == "pods" {
		t.nodes = map[string]set{}
	}
	return t
}

// snapshot is the table as it is now, for good. s.mu must be held for writing.
func (t *table) snapshot() *btree.Map[string, *Item] {
	if t.shared == nil {
		t.shared = t.items.Copy()
	}
	return t.shared
}

// changed is the revision of the last change, or a later one.
func (t *table) changed() uint64 {
	if n := len(t.log.events); n > 0 {
		return t.log.events[n-1].Revision
	}
	return t.since
}

// put makes new (nil: nothing) of what was old (nil: nothing).
func (t *table) put(old, new *Item) {
	t.shared = nil
	if new != nil {
		t.items.Set(new.key, new)
	} else {
		t.items.Delete(old.key)
	}
	if t.owners == nil {
		t.owners = map[string]set{}
	}
	move(t.owners, old, new, func(i *Item) (string, bool) { return i.owner, i.owner != "" })
	if t.nodes != nil {
		move(t.nodes, old, new, func(i *Item) (string, bool) { return i.node, i.node != "" })
	}
	t.labels.move(old, new)
	for _, x := range t.indexes {
		if !x.ready {
			x.changes = append(x.changes, change{old, new})
			continue
		}
		move(x.sets, old, new, x.of)
	}
}

// move keeps an index by some value.
func move(m map[string]set, old, new *Item, of func(*Item) (string, bool)) {
	var was, is string
	var had, has bool
	if old != nil {
		was, had = of(old)
	}
	if new != nil {
		is, has = of(new)
	}
	if had && !(has && was == is) {
		in := m[was]
		if delete(in, old.key); len(in) == 0 {
			delete(m, was)
		}
	}
	if has {
		in := m[is]
		if in == nil {
			in = set{}
			m[strings.Clone(is)] = in // what is keeps the whole object
		}
		in[new.key] = new
	}
}

// exact are the labels and fields of which the filter takes one value alone.
func (f *Filter) exact(yield func(k indexKey, value string) bool) {
	if f.Fields != nil && f.own() {
		for _, r := range f.Fields.Requirements() {
			if r.Operator != selection.NotEquals && r.Field != "metadata.name" && r.Field != "metadata.namespace" && !yield(indexKey{true, r.Field}, r.Value) {
				return
			}
		}
	}
	if f.Labels != nil {
		reqs, _ := f.Labels.Requirements()
		for _, r := range reqs {
			switch r.Operator() {
			case selection.Equals, selection.DoubleEquals, selection.In:
				if values := r.ValuesUnsorted(); len(values) == 1 && !yield(indexKey{false, r.Key()}, values[0]) {
					return
				}
			}
		}
	}
}

// found gives the fewest items that an index has for the filter, in no order; false: there is no index, or a walk
// through the table is as good.
func (t *table) found(f *Filter, now time.Time) (out []*Item, ok bool) {
	most := t.items.Len()/3 + 10
	if f.Namespace != "" && most > 100 {
		most = min(most, rank(t.items, f.Namespace+"0")-rank(t.items, f.Namespace+"/")) // "0" comes after "/"
	}
	var best set
	for k, value := range f.exact {
		if !k.field {
			continue
		}
		var in set
		switch x := t.indexes[k.name]; {
		case k == nodeKey && t.nodes != nil && value != "":
			in = t.nodes[value]
		case x != nil && x.ready:
			x.used = now
			in = x.sets[value]
		default:
			continue
		}
		if len(in) <= most {
			best, most, ok = in, len(in), true
		}
	}
	if f.Labels != nil && !f.Labels.Empty() {
		if sets, n, few := t.labels.taken(f.Labels, most); few {
			out = make([]*Item, 0, n)
			for _, s := range sets {
				out = append(out, s.items...)
			}
			return out, true
		}
	}
	if !ok {
		return nil, false
	}
	out = make([]*Item, 0, len(best))
	for _, i := range best {
		out = append(out, i)
	}
	return out, true
}

var nodeKey = indexKey{true, "spec.nodeName"}

// wanted counts which fields the filter selects by, and gives the index that is worth making now, or nil.
func (t *table) wanted(f *Filter, now time.Time) *index {
	if t.items.Len() < indexFrom {
		return nil
	}
	if t.asked == nil {
		t.asked, t.indexes = map[string]int{}, map[string]*index{}
	}
	for k := range f.exact {
		if !k.field || t.indexes[k.name] != nil || k == nodeKey && t.nodes != nil {
			continue
		}
		if t.asked[k.name]++; t.asked[k.name] < indexAfter {
			if len(t.asked) > 1000 {
				clear(t.asked)
			}
			continue
		}
		if len(t.indexes) >= indexMost {
			t.dropIndexes(now, time.Minute)
		}
		if len(t.indexes) < indexMost {
			delete(t.asked, k.name)
			x := &index{field: k.name, sets: map[string]set{}, used: now}
			t.indexes[k.name] = x
			return x
		}
	}
	return nil
}

// dropIndexes lets go of those that nobody used for a while.
func (t *table) dropIndexes(now time.Time, idle time.Duration) {
	for name, x := range t.indexes {
		if x.ready && now.Sub(x.used) > idle {
			delete(t.indexes, name)
		}
	}
}

// build fills a new index from a snapshot, without the lock, and catches up with what happened meanwhile.
func (s *State) build(x *index, snap *btree.Map[string, *Item]) {
	snap.Scan(func(_ string, i *Item) bool {
		move(x.sets, nil, i, x.of)
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range x.changes {
		move(x.sets, c.old, c.new, x.of)
	}
	x.changes, x.ready = nil, true
}

// sorted orders what an index gave as lists are ordered.
func sorted(items []*Item) []*Item {
	slices.SortFunc(items, func(a, b *Item) int { return cmp.Compare(a.key, b.key) })
	return items
}
