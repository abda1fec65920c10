package watch

import (
	"encoding/binary"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/lighter-k8s/lighter/api"
)

// labelSet is one distinct set of labels and the items of a table that have it: the pods of a replica set share one. So
// a selector is held against each set once, and what it reads stays in the cache. It is a labels.Labels.
type labelSet struct {
	text  string  // the labels by key, each key and value behind its length: what tells sets apart, and never changes
	items []*Item // in no order, each at its place; guarded by State.mu, and none in the set of an item that is in no table
}

// labelSets are those of a table, and where to find them. Guarded by State.mu.
type labelSets struct {
	known map[string]*labelSet           // by text
	with  map[string]map[string]*holders // by key and value
	room  []byte                         // to write down a text in
}

// holders are the sets that have one label.
type holders struct {
	sets []*labelSet
	gone int // so many of them have no items any more
}

func newLabelSets() labelSets {
	return labelSets{known: map[string]*labelSet{}, with: map[string]map[string]*holders{}}
}

// of gives the set that has an object's labels: the table's, or one that is in the table when its first item is. It keeps
// nothing of what the labels' strings are part of, and may change their order. l is nil for an item that comes into no table.
func (l *labelSets) of(list []api.Label) *labelSet {
	var room []byte
	if l != nil {
		room = l.room[:0]
	}
	slices.SortStableFunc(list, func(a, b api.Label) int { return strings.Compare(a.Key, b.Key) })
	for n, one := range list {
		if n+1 < len(list) && list[n+1].Key == one.Key {
			continue // of several the last one counts, as for who decodes the object
		}
		room = appendText(appendText(room, one.Key), one.Value)
	}
	if l != nil {
		l.room = room
		if s := l.known[string(room)]; s != nil {
			return s
		}
	}
	return &labelSet{text: string(room)}
}

// move puts an item (nil: nothing) into its set, in the place of what it was (nil: nothing).
func (l *labelSets) move(old, new *Item) {
	if old != nil && new != nil && old.labels == new.labels {
		new.place = old.place
		new.labels.items[new.place] = new
		return
	}
	if new != nil {
		l.join(new)
	}
	if old != nil {
		l.leave(old)
	}
}

func (l *labelSets) join(i *Item) {
	s := i.labels
	if len(s.items) == 0 {
		l.known[s.text] = s
		for rest := s.text; rest != ""; {
			var key, value string
			key, value, rest = cutLabel(rest)
			values := l.with[key]
			if values == nil {
				values = map[string]*holders{}
				l.with[key] = values
			}
			h := values[value]
			if h == nil {
				h = &holders{}
				values[value] = h
			}
			h.sets = append(h.sets, s)
		}
	}
	i.place = len(s.items)
	s.items = append(s.items, i)
}

func (l *labelSets) leave(i *Item) {
	s := i.labels
	end := len(s.items) - 1
	s.items[i.place] = s.items[end]
	s.items[i.place].place = i.place
	s.items[end] = nil
	s.items = s.items[:end]
	if end > 0 {
		if cap(s.items) > 64 && end < cap(s.items)/4 {
			s.items = slices.Clone(s.items)
		}
		return
	}
	s.items = nil
	delete(l.known, s.text)
	for rest := s.text; rest != ""; {
		var key, value string
		key, value, rest = cutLabel(rest)
		h := l.with[key][value]
		if h.gone++; h.gone <= len(h.sets)/2 {
			continue // looking for it among many would cost more than it does
		}
		h.sets, h.gone = slices.Clone(slices.DeleteFunc(h.sets, func(s *labelSet) bool { return s.items == nil })), 0
		if len(h.sets) > 0 {
			continue
		}
		if delete(l.with[key], value); len(l.with[key]) == 0 {
			delete(l.with, key)
		}
	}
}

// mostSets bounds how many sets a selector is held against while writers wait.
const mostSets = 4096

// taken gives the sets that a selector takes and how many items they have; false: they have more than most, or finding
// that out would take as long as looking at so many.
func (l *labelSets) taken(by labels.Selector, most int) (sets []*labelSet, items int, ok bool) {
	candidates, count, narrow := l.candidates(by)
	if !narrow {
		count = len(l.known)
	}
	if count > min(most, mostSets) {
		return nil, 0, false
	}
	look := func(s *labelSet) {
		if len(s.items) > 0 && by.Matches(s) {
			sets, items = append(sets, s), items+len(s.items)
		}
	}
	if !narrow {
		for _, s := range l.known {
			look(s)
		}
	}
	for _, h := range candidates {
		for _, s := range h.sets {
			look(s)
		}
	}
	return sets, items, items <= most
}

// candidates are the fewest sets among which all are that a selector takes; false: it names no value that a label must have.
func (l *labelSets) candidates(by labels.Selector) (best []*holders, count int, ok bool) {
	reqs, _ := by.Requirements()
	for _, r := range reqs {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			var in []*holders
			n := 0
			for value := range r.Values() {
				if h := l.with[r.Key()][value]; h != nil {
					in, n = append(in, h), n+len(h.sets)
				}
			}
			if !ok || n < count {
				best, count, ok = in, n, true
			}
		}
	}
	return best, count, ok
}

// Lookup gives the value of a label.
func (s *labelSet) Lookup(key string) (string, bool) {
	for rest := s.text; rest != ""; {
		var k, value string
		if k, value, rest = cutLabel(rest); k == key {
			return value, true
		}
	}
	return "", false
}

// Has tells whether there is a label.
func (s *labelSet) Has(key string) bool { _, ok := s.Lookup(key); return ok }

// Get gives the value of a label, or "".
func (s *labelSet) Get(key string) string { v, _ := s.Lookup(key); return v }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutLabel(text string) (key, value, rest string) {
	key, text = cutText(text)
	value, text = cutText(text)
	return key, value, text
}

func cutText(text string) (s, rest string) {
	n, at := 0, 0
	for shift := 0; ; shift += 7 {
		c := text[at]
		n, at = n|int(c&0x7f)<<shift, at+1
		if c < 0x80 {
			return text[at : at+n], text[at+n:]
		}
	}
}
