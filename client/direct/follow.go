package direct

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/watch"
)

// Subscribe follows the state's events; one who falls too far behind is told the difference.
func (v *view) Subscribe(ctx context.Context, f func(client.Change)) {
	l := &follower{view: v, f: f}
	if v.unhurried {
		l.rarely(ctx)
		return
	}
	go l.follow(ctx)
}

// follower tells one subscriber what happens.
type follower struct {
	*view
	f      func(client.Change)
	told   told
	poke   func()         // what the watcher calls; nil: it has a channel
	w      *watch.Watcher // nil: to be begun
	events []*watch.Event
}

// follow tells of all that happens until ctx ends.
func (l *follower) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if again := l.look(); again > 0 {
			wait(ctx, again)
			continue
		}
		select {
		case <-l.w.Wake():
		case <-ctx.Done():
		}
	}
	l.close()
}

// rarely does the same with a goroutine only while there is something to tell: a resource that nobody uses costs none.
func (l *follower) rarely(ctx context.Context) {
	var pokes atomic.Int64 // since the goroutine began; 0: there is none
	run := func() {
		for done := int64(0); !pokes.CompareAndSwap(done, 0); {
			done = pokes.Load()
			for again := time.Nanosecond; again > 0 && ctx.Err() == nil; {
				if again = l.look(); again > 0 {
					wait(ctx, again)
				}
			}
			if ctx.Err() != nil {
				l.close()
				return // and none comes after this one
			}
		}
	}
	l.poke = func() {
		if pokes.Add(1) == 1 {
			go run()
		}
	}
	l.server.resting.add(func() bool { return ctx.Err() != nil }, l.poke)
	l.poke()
}

// resting are the subscribers without a goroutine. Those whose context has ended are told so when as many again have come: until then they cost a
// little memory, where being told at once would cost each of the others more (half a KB, for each custom resource).
type resting struct {
	mu     sync.Mutex
	all    []rester
	enough int
}

type rester struct {
	ended func() bool
	poke  func()
}

func (r *resting) add(ended func() bool, poke func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) >= r.enough {
		r.all = slices.DeleteFunc(r.all, func(o rester) bool {
			if !o.ended() {
				return false
			}
			o.poke()
			return true
		})
		r.enough = 2*len(r.all) + 64
	}
	r.all = append(r.all, rester{ended, poke})
}

func wait(ctx context.Context, long time.Duration) {
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}

func (l *follower) close() {
	if l.w != nil {
		l.w.Close()
		l.w = nil
	}
}

const (
	againAfter   = 50 * time.Millisecond // when a custom resource is looked for again that is not there
	unhurriedFor = 10 * time.Millisecond // how long changes are gathered for a subscriber who does not mind
)

// look tells of what happened, and says after how long to look again even if nothing more does; 0: only then.
func (l *follower) look() time.Duration {
	if l.w == nil {
		i := l.record()
		if i == nil { // it is about to be served, or gone for good
			return againAfter
		}
		var now watch.Snapshot
		now, l.w = l.state().Follow(i.Stored, l.filter, l.poke)
		l.difference(&l.told, now, l.f)
	}
	for news := false; ; news = true {
		var err error
		clear(l.events)
		l.events, _, err = l.w.Take(l.events[:0])
		switch {
		case errors.Is(err, watch.ErrEnded), errors.Is(err, watch.ErrExpired): // it is served otherwise, or not any more; or too much happened
			l.close()
			return time.Millisecond
		case err != nil:
			return math.MaxInt64 // the state has ended: nothing more will happen
		case len(l.events) == 0 && news && l.unhurried:
			return unhurriedFor
		case len(l.events) == 0:
			return 0
		}
		for _, e := range l.events {
			l.tell(&l.told, e, l.f)
		}
		if len(l.told.since) > toldMost {
			if now, ok := l.w.Snapshot(); ok {
				l.told.base = now
				clear(l.told.since)
			}
		}
	}
}

// told is what a subscriber was told, to tell it the difference after a gap: a snapshot that is shared with the
// present, and the changes since.
type told struct {
	base  watch.Snapshot
	since map[string]*watch.Item // nil: gone
}

// toldMost is from how many changes on a newer snapshot is taken.
const toldMost = 256

func (t *told) get(key string) *watch.Item {
	if i, ok := t.since[key]; ok {
		return i
	}
	return t.base.Get(key)
}

// set notes what is told.
func (t *told) set(key string, i *watch.Item) {
	if t.since == nil {
		t.since = map[string]*watch.Item{}
	}
	t.since[key] = i
}

// difference tells f what is different now from what it was told.
func (v *view) difference(t *told, now watch.Snapshot, f func(client.Change)) {
	before := *t
	*t = told{base: now}
	for item := range now.All(&v.filter) {
		old := before.get(item.Key())
		if old == item || old != nil && old.Revision == item.Revision {
			continue
		}
		if o := v.object(item); o != nil {
			f(client.Change{Old: v.was(old), New: o})
		}
	}
	gone := func(old *watch.Item) {
		if i := now.Get(old.Key()); i == nil || !v.filter.Match(i) {
			if o := v.was(old); o != nil {
				f(client.Change{Old: o})
			}
		}
	}
	for item := range before.base.All(&v.filter) {
		if _, newer := before.since[item.Key()]; !newer {
			gone(item)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before.since)) {
		if item := before.since[key]; item != nil {
			gone(item)
		}
	}
}

// tell tells f of one event.
func (v *view) tell(t *told, e *watch.Event, f func(client.Change)) {
	var c client.Change
	if v.filter.Match(e.New) {
		if c.New = v.object(e.New); c.New == nil {
			return
		}
	} else if !v.filter.Match(e.Old) {
		return
	}
	if e.Old != nil && v.filter.Match(e.Old) {
		if c.Old = v.object(e.Old); c.Old == nil { // it cannot be read, and was not told: what was before it may have been
			c.Old = v.was(t.get(e.Old.Key()))
		}
	}
	switch {
	case c.New != nil:
		t.set(e.New.Key(), e.New)
	case c.Old != nil:
		t.set(e.Old.Key(), nil)
	default:
		return
	}
	f(c)
}

// was is the object that f was told of before, or nil.
func (v *view) was(item *watch.Item) client.Object {
	if item == nil || !v.filter.Match(item) {
		return nil
	}
	return v.object(item)
}
