package watch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lighter-k8s/lighter/api"
)

// Event is one change of one object: New is nil when it was deleted, Old when it was created.
type Event struct {
	Revision uint64
	Old, New *Item
	at       time.Time

	once sync.Once
	gone *Item // Old as it is shown to those for whom the object is gone: at this revision

	frames [6]atomic.Pointer[[]byte]
}

// Frame gives the event's encoding on the wire, made once for all watchers to whom it is of the type.
func (e *Event) Frame(protobuf bool, t Type, encode func() ([]byte, error)) ([]byte, error) {
	n := map[Type]int{Added: 0, Modified: 1, Deleted: 2}[t]
	if protobuf {
		n += 3
	}
	if b := e.frames[n].Load(); b != nil {
		return *b, nil
	}
	b, err := encode()
	if err == nil {
		e.frames[n].Store(&b)
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

func (e *Event) size() int {
	n := 500 // of the event and its item
	if e.New != nil {
		n += 3 * len(e.New.raw) // itself, and what watchers are sent of it
	}
	return n
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
		e.gone = &Item{Info: o.Info, Namespace: o.Namespace, Name: o.Name, Revision: e.Revision, Labels: o.Labels,
			owner: o.owner, node: o.node, raw: api.WithVersion(o.raw, e.Revision)}
	})
	return e.gone
}

// Watcher is a cursor into the events of one resource. It is used by one goroutine and
// must be closed.
type Watcher struct {
	state  *State
	table  *table
	filter Filter
	next   uint64 // sequence number of the next event to look at
	begin  uint64
	seen   uint64 // revision up to which everything was looked at
	wake   chan struct{}
	node   string // events for other nodes only do not concern it
}

// Watch begins a watcher of what happens after the revision. Errors: ErrExpired.
func (s *State) Watch(i *api.Info, f Filter, after uint64) (*Watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[i.StoreKey]
	if after < t.since {
		return nil, ErrExpired
	}
	w := s.watcher(t, f)
	w.begin, w.seen = after, after
	w.next = t.first + uint64(len(t.events))
	for w.next > t.first && t.events[w.next-t.first-1].Revision > after {
		w.next--
	}
	if w.next < t.first+uint64(len(t.events)) {
		w.poke() // what has happened already is not announced again
	}
	return w, nil
}

// ListWatch lists and begins a watcher of what happens after that list.
func (s *State) ListWatch(i *api.Info, f Filter) ([]*Item, *Watcher) {
	s.mu.Lock()
	t := s.tables[i.StoreKey]
	snap := t.snapshot()
	w := s.watcher(t, f)
	w.begin, w.seen = s.revision, s.revision
	w.next = t.first + uint64(len(t.events))
	s.mu.Unlock()
	return scan(snap, i, f), w
}

func (s *State) watcher(t *table, f Filter) *Watcher {
	w := &Watcher{state: s, table: t, filter: f, wake: make(chan struct{}, 1)}
	if f.Fields != nil {
		w.node, _ = f.Fields.RequiresExactMatch("spec.nodeName")
	}
	t.watchers[w] = struct{}{}
	return w
}

// concerns is a quick, generous test of whether an event can matter to the watcher.
func (w *Watcher) concerns(e *Event) bool {
	i := e.New
	if i == nil {
		i = e.Old
	}
	if w.filter.Namespace != "" && w.filter.Namespace != i.Namespace || w.filter.Name != "" && w.filter.Name != i.Name {
		return false
	}
	if w.node != "" && w.table.nodes != nil {
		for _, i := range []*Item{e.Old, e.New} {
			if i != nil {
				if i.node == w.node {
					return true
				}
			}
		}
		return false
	}
	return true
}

func (w *Watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Wake is ready to receive when there may be events that Take has not given yet.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Take gives the events since the last Take that may concern the watcher (For tells), appended to into, and the
// revision up to which nothing is missing. It never waits. Errors: ErrExpired when the watcher is
// too far behind, or why the state ended.
func (w *Watcher) Take(into []*Event) (events []*Event, upTo uint64, err error) {
	s, t := w.state, w.table
	s.mu.RLock()
	defer s.mu.RUnlock()
	if w.next < t.first {
		return into, w.seen, ErrExpired
	}
	for _, e := range t.events[w.next-t.first:] {
		if e.Revision > w.begin && w.concerns(e) { // it may have begun in the future
			into = append(into, e)
		}
	}
	w.next = t.first + uint64(len(t.events))
	w.seen = max(w.seen, s.revision)
	return into, w.seen, s.failed
}

// Next waits for Take to give events or for ctx.
func (w *Watcher) Next(ctx context.Context, into []*Event) ([]*Event, uint64, error) {
	for {
		events, upTo, err := w.Take(into)
		if err != nil || len(events) > 0 {
			return events, upTo, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return events, upTo, ctx.Err()
		}
	}
}

// Begin is the revision that the watcher began after.
func (w *Watcher) Begin() uint64 { return w.begin }

// Close ends the watcher.
func (w *Watcher) Close() {
	w.state.mu.Lock()
	delete(w.table.watchers, w)
	w.state.mu.Unlock()
}
