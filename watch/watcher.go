package watch

import (
	"context"
	"sort"

	"github.com/lighter-k8s/lighter/api"
)

// Watcher is a cursor into the events of one resource. It is used by one goroutine and must be closed.
type Watcher struct {
	state *State
	table *table
	key   feedKey
	feed  *feed
	early []*Event // what had happened when it began, before its feed did
	next  uint64   // number in feed of the next event to look at
	begin uint64
	seen  uint64 // revision up to which everything was looked at
	wake  chan struct{}
	poke  func()
	past  *past // gives what happened before the log began; nil: the watcher is in its feed
	epoch int   // of the table when it began
}

// takeBytes bounds what one Take gives, beyond the events of one revision, which stay together so that whoever breaks off
// after any event can resume there: a reader who is slow holds no more of the past.
const takeBytes = 4 << 10

// Watch begins a watcher of what happens after the revision. What is older than the log comes from the store's history;
// ctx bounds that. Errors: ErrExpired when the store has forgotten it, ctx's, the store's.
func (s *State) Watch(ctx context.Context, i *api.Info, f Filter, after uint64) (*Watcher, error) {
	s.mu.Lock()
	w := &Watcher{state: s, table: s.table(i), begin: after, seen: after, wake: make(chan struct{}, 1)}
	w.epoch = w.table.epoch
	in := s.join(w, &f)
	s.mu.Unlock()
	if in {
		return w, nil
	}
	w.past = s.recall(ctx, w.table, f, after, w.Poke)
	select {
	case <-w.wake: // its first answer, so that who comes too late is told at once
		w.Poke()
	case <-ctx.Done():
	}
	if err := w.past.failed(ctx); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// join puts the watcher into its feed, after what it has seen; false: the log does not reach back as far.
func (s *State) join(w *Watcher, f *Filter) bool {
	t := w.table
	if w.seen < t.since {
		return false
	}
	s.feed(w, f)
	w.begin = w.seen
	log := t.log.events
	from := sort.Search(len(log), func(n int) bool { return log[n].Revision > w.begin })
	if w.feed == &t.log {
		w.next -= uint64(len(log) - from)
	} else {
		for _, e := range log[from:] {
			if w.key.has(e) {
				w.early = append(w.early, e)
			}
		}
	}
	if w.early != nil || w.next < w.feed.end() {
		w.Poke() // what has happened already is not announced again
	}
	return true
}

// ListWatch lists and begins a watcher of what happens after that list.
func (s *State) ListWatch(i *api.Info, f Filter) ([]*Item, *Watcher) {
	s.mu.Lock()
	t := s.table(i)
	view := s.look(t, &f)
	w := s.watcher(t, &f, nil)
	s.mu.Unlock()
	items, _, _ := view.page(&f, Page{})
	return items, w
}

// watcher makes one of what happens from now on. poke, if not nil, is called where Wake would become ready.
func (s *State) watcher(t *table, f *Filter, poke func()) *Watcher {
	w := &Watcher{state: s, table: t, begin: s.revision, seen: s.revision, poke: poke, epoch: t.epoch}
	if poke == nil {
		w.wake = make(chan struct{}, 1)
	}
	s.feed(w, f)
	return w
}

// feed puts a watcher at the end of its feed.
func (s *State) feed(w *Watcher, f *Filter) {
	t := w.table
	w.key = keyFor(t, f)
	if w.key == (feedKey{}) {
		w.feed = &t.log
	} else if w.feed = t.feeds[w.key]; w.feed == nil {
		if t.feeds == nil {
			t.feeds, t.routes = map[feedKey]*feed{}, map[indexKey]int{}
		}
		w.feed = &feed{}
		t.feeds[w.key] = w.feed
		if w.key.by.name != "" {
			t.routes[w.key.by]++
		}
	}
	if w.feed.watchers == nil {
		w.feed.watchers = map[*Watcher]struct{}{}
	}
	w.feed.watchers[w] = struct{}{}
	w.next = w.feed.end()
	if t.gone {
		w.Poke()
	}
}

// Poke makes Wake ready. Whoever waits there for other things too may have them poke; any goroutine may call it.
func (w *Watcher) Poke() {
	if w.poke != nil {
		w.poke()
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Ready tells whether Wake is ready.
func (w *Watcher) Ready() bool { return len(w.wake) > 0 }

// Wake is ready to receive when there may be events that Take has not given yet.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Take gives some of the events since the last Take that may concern the watcher (For tells), appended to into, and the
// revision up to which nothing is missing; where there are more, Wake is ready at once. It never waits.
// Errors: ErrExpired when the watcher is too far behind, ErrEnded, or why the state ended.
func (w *Watcher) Take(into []*Event) (events []*Event, upTo uint64, err error) {
	if w.past != nil {
		return w.takePast(into)
	}
	s := w.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	given := len(into)
	if w.next < w.feed.first || w.early != nil && w.early[0].Revision <= w.table.since {
		return into, w.seen, ErrExpired
	}
	taken, bytes := 0, 0
	for _, e := range w.early {
		if taken++; e.Revision > w.begin {
			into, bytes = append(into, e), bytes+len(e.item().raw)
		}
		if bytes > takeBytes && (taken == len(w.early) || w.early[taken].Revision != e.Revision) {
			w.seen = max(w.seen, e.Revision)
			break
		}
	}
	if w.early = w.early[taken:]; len(w.early) > 0 {
		w.Poke()
		return into, w.seen, s.failed
	}
	w.early = nil
	for _, e := range w.feed.events[w.next-w.feed.first:] {
		if w.next++; e.Revision > w.begin { // it may have begun in the future
			into, bytes = append(into, e), bytes+len(e.item().raw)
		}
		if bytes > takeBytes && w.next < w.feed.end() && w.feed.events[w.next-w.feed.first].Revision != e.Revision {
			w.seen = max(w.seen, e.Revision)
			w.Poke()
			return into, w.seen, s.failed
		}
	}
	w.seen = max(w.seen, s.revision)
	if w.ended() {
		if len(into) == given {
			return into, w.seen, ErrEnded
		}
		w.Poke() // what happened before the end first
	}
	return into, w.seen, s.failed
}

// takePast is Take before the watcher is in its feed.
func (w *Watcher) takePast(into []*Event) ([]*Event, uint64, error) {
	p, s := w.past, w.state
	events, upTo, arrived, err := p.take(into)
	w.seen = max(w.seen, upTo)
	if !arrived {
		return events, w.seen, err
	}
	s.mu.Lock()
	ended := w.ended()
	in := !ended && s.join(w, &p.filter)
	s.mu.Unlock()
	if ended {
		return events, w.seen, ErrEnded
	}
	if in {
		p.stop()
		w.past = nil
	} else {
		p.goOn() // the log has moved on since
	}
	return events, w.seen, nil
}

// ended tells whether the table's watches were ended since it began. The state's lock is held.
func (w *Watcher) ended() bool { return w.table.gone || w.epoch != w.table.epoch }

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
	if w.past != nil {
		w.past.stop()
		return
	}
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	t := w.table
	if delete(w.feed.watchers, w); len(w.feed.watchers) > 0 || w.feed == &t.log || t.feeds[w.key] != w.feed {
		return
	}
	delete(t.feeds, w.key)
	if by := w.key.by; by.name != "" {
		if t.routes[by]--; t.routes[by] == 0 {
			delete(t.routes, by)
		}
	}
}
