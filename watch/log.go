package watch

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lighter-k8s/lighter/api"
)

// The recent events of all resources are bounded together by logBytes, where the resource that holds most gives
// first, and each by logFor, or by logLong while they are few. What is encoded of them for watchers counts too.
// Source: kube-apiserver keeps events for 75 s at least: a request's minute and a little.
const (
	logBytes = 16 << 20
	logFew   = 1 << 20
	logFor   = 75 * time.Second
	logLong  = 5 * time.Minute
)

// Event is one change of one object: New is nil when it was deleted, Old when it was created.
type Event struct {
	Revision uint64
	Old, New *Item
	at       time.Time

	once sync.Once
	gone *Item // Old as it is shown to those for whom the object is gone: at this revision

	frames [3 * Encodings]atomic.Pointer[[]byte]
}

// Encodings is how many encodings on the wire an event may have.
const Encodings = 4

// Frame gives the event's encoding on the wire, made once for all watchers to whom it is of the type.
func (e *Event) Frame(encoding int, t Type, encode func() ([]byte, error)) ([]byte, error) {
	n := 3 * encoding
	switch t {
	case Modified:
		n++
	case Deleted:
		n += 2
	}
	if b := e.frames[n].Load(); b != nil {
		return *b, nil
	}
	b, err := encode()
	if err == nil && !e.frames[n].CompareAndSwap(nil, &b) {
		b = *e.frames[n].Load()
	}
	return b, err
}

// Type is what an event is to a watcher.
type Type string

// The types of watch events that concern objects.
const (
	Added    Type = "ADDED"
	Modified Type = "MODIFIED"
	Deleted  Type = "DELETED"
)

func (e *Event) item() *Item {
	if e.New != nil {
		return e.New
	}
	return e.Old
}

// size is what an event holds: the object that it replaced, and what watchers are sent of the one that is there now.
func (e *Event) size() int {
	n := 500 // of the event and its item
	if e.Old != nil {
		n += len(e.Old.raw)
	}
	return n + 2*len(e.item().raw)
}

// For tells what the event is to a watcher with the filter; the item is nil when it is nothing.
// An object that ceases to match is deleted, with its last matching state at the event's revision.
func (e *Event) For(f *Filter) (Type, *Item) {
	now, before := f.Match(e.New), f.Match(e.Old)
	switch {
	case now && before:
		return Modified, e.New
	case now:
		return Added, e.New
	case before:
		return Deleted, e.last()
	}
	return "", nil
}

// last is Old with the event's revision as its own.
func (e *Event) last() *Item {
	e.once.Do(func() {
		o := e.Old
		e.gone = &Item{Info: o.Info, Namespace: o.Namespace, Name: o.Name, Revision: e.Revision, key: o.key, labels: o.labels,
			owner: o.owner, node: o.node, raw: api.WithVersion(o.raw, e.Revision), hot: o.hot}
	})
	return e.gone
}

// feed is a sequence of events, numbered, of which the oldest go. Watchers are cursors into it.
type feed struct {
	events   []*Event
	first    uint64 // number of events[0]
	watchers map[*Watcher]struct{}
}

func (f *feed) end() uint64 { return f.first + uint64(len(f.events)) }

// pop drops the oldest event.
func (f *feed) pop() *Event {
	e := f.events[0]
	f.events[0] = nil
	f.events = f.events[1:]
	if len(f.events) == 0 {
		f.events = nil
	}
	f.first++
	return e
}

// feedKey says which events a feed has: those of a namespace, of an object, or of objects with one value of a label or
// field. So an event costs by the watchers that it concerns, and not by those that there are.
type feedKey struct {
	namespace, name string
	by              indexKey
	value           string
}

// keyFor is the narrowest feed for a filter; the zero key is the whole log.
func keyFor(t *table, f *Filter) (k feedKey) {
	if f.Name != "" {
		return feedKey{namespace: f.Namespace, name: f.Name}
	}
	for by, value := range f.exact {
		if k.by.name == "" || by.field && !k.by.field {
			k = feedKey{by: by, value: value}
		}
		if by == nodeKey {
			break // the narrowest there is
		}
	}
	if k.by.name == "" && t.info.Namespaced {
		k.namespace = f.Namespace
	}
	return k
}

// reaches calls yield with each feed beside the whole log that an event belongs to.
func (t *table) reaches(e *Event, yield func(feedKey, *feed)) {
	if len(t.feeds) == 0 {
		return
	}
	i := e.item()
	try := func(k feedKey) {
		if f := t.feeds[k]; f != nil {
			yield(k, f)
		}
	}
	try(feedKey{name: i.Name})
	if i.Namespace != "" {
		try(feedKey{namespace: i.Namespace})
		try(feedKey{namespace: i.Namespace, name: i.Name})
	}
	for by := range t.routes {
		var was, is string
		var had, has bool
		if e.Old != nil {
			was, had = by.of(e.Old)
		}
		if e.New != nil {
			is, has = by.of(e.New)
		}
		if had {
			try(feedKey{by: by, value: was})
		}
		if has && !(had && was == is) {
			try(feedKey{by: by, value: is})
		}
	}
}

// has tells whether an event belongs to the feed.
func (k feedKey) has(e *Event) bool {
	i := e.item()
	if k.namespace != "" && k.namespace != i.Namespace || k.name != "" && k.name != i.Name {
		return false
	}
	if k.by.name == "" {
		return true
	}
	for _, i := range []*Item{e.Old, e.New} {
		if i != nil {
			if v, ok := k.by.of(i); ok && v == k.value {
				return true
			}
		}
	}
	return false
}

// append adds an event to the log and to the feeds that it belongs to, and appends to wake whom it concerns.
func (s *State) append(t *table, e *Event, wake []*Watcher) []*Watcher {
	add := func(f *feed) {
		f.events = append(f.events, e)
		for w := range f.watchers {
			wake = append(wake, w)
		}
	}
	add(&t.log)
	t.reaches(e, func(_ feedKey, f *feed) { add(f) })
	t.bytes += e.size()
	s.bytes += e.size()
	return wake
}

// trim drops events beyond the bounds.
func (s *State) trim() {
	for s.bytes > logBytes {
		most := s.busiest
		if most == nil || most.bytes < s.bytes/4 || len(most.log.events) < 2 {
			for _, t := range s.tables {
				if most == nil || t.bytes > most.bytes {
					most = t
				}
			}
			s.busiest = most
		}
		if len(most.log.events) < 2 {
			break // one large event alone
		}
		s.drop(most)
	}
	now := s.now()
	if now.Sub(s.tidied) < time.Second {
		return
	}
	s.tidied = now
	for _, t := range s.tables {
		for len(t.log.events) > 0 {
			if age := now.Sub(t.log.events[0].at); age <= logFor || age <= logLong && s.bytes <= logFew {
				break
			}
			s.drop(t)
		}
		t.dropIndexes(now, indexIdle)
	}
}

// Rest lets go of what nobody has needed for a while. It is for who knows that little is going on: else writes do it.
func (s *State) Rest() {
	s.hot.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tidied = time.Time{}
	s.trim()
}

// drop forgets the oldest event of a table.
func (s *State) drop(t *table) {
	e := t.log.pop()
	t.since = e.Revision
	t.bytes -= e.size()
	s.bytes -= e.size()
	t.reaches(e, func(_ feedKey, f *feed) {
		if len(f.events) > 0 && f.events[0] == e { // it may be older than the feed
			f.pop()
		}
	})
}
