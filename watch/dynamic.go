package watch

import (
	"context"
	"errors"
	"fmt"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
)

// ErrEnded: what was watched is not served any more, or not as it was; clients begin anew where they are.
var ErrEnded = errors.New("watch ended")

// AddLive makes room for one more resource while the state runs: it has all that is stored under its key, and every
// event since, none missing and none twice. It returns when that is so. A resource that is there already stays as it is.
func (s *State) AddLive(ctx context.Context, i *api.Info) error {
	s.mu.Lock()
	if s.tables[i.StoreKey] != nil {
		s.mu.Unlock()
		return nil
	}
	t := newTable(i, s.hot, s.revision)
	if s.loading == nil {
		s.loading = map[*table][]store.Event{}
	}
	s.loading[t] = nil
	s.tables[i.StoreKey] = t
	at := s.revision
	s.mu.Unlock()
	items, lost, at, err := s.stored(ctx, t, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.loading, t)
		delete(s.tables, i.StoreKey)
		return fmt.Errorf("load %s: %w", i.StoreKey, err)
	}
	for _, item := range items {
		t.put(nil, item)
	}
	for _, u := range lost {
		s.lose(t, u.Key[len(Prefix)+len(i.StoreKey)+1:], store.Entry{Key: u.Key, Revision: store.Revision(u.Revision)}, u.Err)
	}
	t.since = at
	missed := s.loading[t]
	delete(s.loading, t)
	var woken []*Watcher // nobody watches yet
	for _, e := range missed {
		if uint64(e.Revision) > at {
			woken = s.take(t, e, woken)
		}
	}
	s.trim()
	return nil
}

// stored reads a table's objects as of a revision, or of the newest one if that is compacted, which the state is waited for.
func (s *State) stored(ctx context.Context, t *table, at uint64) (items []*Item, lost []Unreadable, _ uint64, err error) {
	prefix := Prefix + t.info.StoreKey + "/"
	var entries []store.Entry
	err = store.ErrCompacted
	if at > 0 { // 0 would be the newest, whichever that is
		entries, _, err = s.store.List(ctx, prefix, store.Page{At: store.Revision(at)})
	}
	if errors.Is(err, store.ErrCompacted) {
		var newest store.Revision
		if entries, newest, err = s.store.List(ctx, prefix, store.Page{}); err == nil {
			at = uint64(newest)
			err = s.Wait(ctx, at)
		}
	}
	if err != nil {
		return nil, nil, 0, err
	}
	for _, e := range entries {
		if item, err := s.read(t, e.Key[len(prefix):], e, nil); err == nil {
			items = append(items, item)
		} else {
			lost = append(lost, Unreadable{e.Key, uint64(e.Revision), err})
		}
	}
	return items, lost, at, nil
}

// Remove forgets a resource. Who watches it is told ErrEnded.
func (s *State) Remove(i *api.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[i.StoreKey]
	if t == nil {
		return
	}
	delete(s.tables, i.StoreKey)
	delete(s.loading, t)
	s.bytes -= t.bytes
	if s.busiest == t {
		s.busiest = nil
	}
	t.gone = true
	t.wake()
}

// EndWatches ends all watches of a resource with ErrEnded: it is no longer served as they began.
func (s *State) EndWatches(i *api.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[i.StoreKey]; t != nil {
		t.epoch++
		t.wake()
	}
}

// table is a resource's, or one without anything for a resource that was removed, whose watches end at once.
func (s *State) table(i *api.Info) *table {
	if t := s.tables[i.StoreKey]; t != nil {
		return t
	}
	t := newTable(i, s.hot, s.revision)
	t.gone = true
	return t
}

// wake pokes all who watch.
func (t *table) wake() {
	poke := func(f *feed) {
		for w := range f.watchers {
			w.Poke()
		}
	}
	poke(&t.log)
	for _, f := range t.feeds {
		poke(f)
	}
}

// Changed is the revision of the resource's last change, or a later one.
func (s *State) Changed(i *api.Info) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.tables[i.StoreKey]; t != nil {
		return t.changed()
	}
	return 0
}
