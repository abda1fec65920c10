// Package memory is the store's engine without a disk: for simulation and
// tests. It keeps every version of every key until Compact, starts no
// goroutines, reads no clock and builds for wasip1.
package memory

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sort"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/lighter-k8s/lighter/store"
)

// version is one value of a key; a nil value is a deletion.
type version struct {
	revision store.Revision
	value    []byte
}

// Store implements store.Store in memory.
type Store struct {
	mu        sync.RWMutex
	keys      btree.Map[string, []version] // versions by rising revision, never empty
	log       []store.Event                // events from revision compacted on; elements never change
	newest    store.Revision
	compacted store.Revision
	live      int           // keys that exist
	changed   chan struct{} // closed at the next commit; nil while nobody waits
	closed    bool
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{} }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, err := s.readable(ctx, at)
	if err != nil {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	versions, _ := s.keys.Get(key)
	v := newest(versions, at)
	if v.value == nil {
		return store.Entry{Key: key}, nil
	}
	return store.Entry{Key: key, Value: v.value, Revision: v.revision}, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, err := s.readable(ctx, p.At)
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	var entries []store.Entry
	s.keys.Ascend(max(prefix, p.After), func(key string, versions []version) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		if v := newest(versions, at); v.value != nil && key > p.After {
			entries = append(entries, store.Entry{Key: key, Value: v.value, Revision: v.revision})
		}
		return p.Limit == 0 || len(entries) < p.Limit
	})
	return entries, at, nil
}

// Commit implements store.Store. Both classes are as durable as memory is.
func (s *Store) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	ops, err := t.Plan()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	for _, op := range ops {
		if actual := s.current(op.Key); op.Expect != store.Any && op.Expect != actual {
			return 0, &store.Conflict{Key: op.Key, Expect: op.Expect, Actual: actual}
		}
	}
	revision, start := s.newest+1, len(s.log)
	for _, op := range ops {
		if op.Check || op.Value == nil && s.current(op.Key) == 0 {
			continue
		}
		s.put(op.Key, version{revision, op.Value})
	}
	if len(s.log) == start {
		return s.newest, nil
	}
	s.show(revision)
	return revision, nil
}

// put writes a version and its event.
func (s *Store) put(key string, v version) {
	was := s.current(key) != 0
	versions, _ := s.keys.Get(key)
	s.keys.Set(key, append(versions, v))
	s.log = append(s.log, store.Event{Entry: store.Entry{Key: key, Value: v.value, Revision: v.revision}})
	switch {
	case v.value == nil:
		s.live--
	case !was:
		s.live++
	}
}

// show makes revision the newest and wakes who waits for it.
func (s *Store) show(revision store.Revision) {
	s.newest = revision
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (store.Revision, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.newest, s.usable(ctx)
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		if err := s.started(after); err != nil {
			yield(store.Event{}, fmt.Errorf("watch %s after %d: %w", prefix, after, err))
			return
		}
		for cursor := after; ; {
			events, newest, err := s.wait(ctx, cursor)
			if err != nil {
				yield(store.Event{}, fmt.Errorf("watch %s after %d: %w", prefix, cursor, err))
				return
			}
			shown := cursor
			for len(events) > 0 {
				n := sort.Search(len(events), func(i int) bool { return events[i].Revision > events[0].Revision })
				any, more := show(events[:n], prefix, yield)
				if !more {
					return
				}
				if any {
					shown = events[0].Revision
				}
				events = events[n:]
			}
			if cursor = newest; shown < newest && !yield(store.Event{Entry: store.Entry{Revision: newest}, Last: true}, nil) {
				return
			}
		}
	}
}

func (s *Store) started(after store.Revision) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if after > s.newest {
		return store.ErrFuture
	}
	return nil
}

// show yields those events of one revision that are under prefix, and tells whether there are any and more are wanted.
func show(events []store.Event, prefix string, yield func(store.Event, error) bool) (any, more bool) {
	last := -1
	for i, e := range events {
		if strings.HasPrefix(e.Key, prefix) {
			last = i
		}
	}
	for i, e := range events[:last+1] {
		e.Last = i == last
		if strings.HasPrefix(e.Key, prefix) && !yield(e, nil) {
			return true, false
		}
	}
	return last >= 0, true
}

// wait returns the events later than after as soon as there are some, and the revision they end at.
func (s *Store) wait(ctx context.Context, after store.Revision) ([]store.Event, store.Revision, error) {
	for {
		s.mu.Lock()
		err := s.usable(ctx)
		if err == nil && after+1 < s.compacted {
			err = store.ErrCompacted
		}
		if err != nil || s.newest > after {
			from := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision > after })
			events, newest := s.log[from:len(s.log):len(s.log)], s.newest
			s.mu.Unlock()
			return events, newest, err
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, before store.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	switch {
	case before <= s.compacted:
		return fmt.Errorf("compact before %d: %w", before, store.ErrCompacted)
	case before > s.newest:
		return fmt.Errorf("compact before %d: %w", before, store.ErrFuture)
	}
	s.compact(before)
	return nil
}

func (s *Store) compact(before store.Revision) {
	s.compacted = before
	from := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision >= before })
	s.log = append([]store.Event(nil), s.log[from:]...)

	kept := map[string][]version{} // nil: nothing is left of the key
	s.keys.Scan(func(key string, versions []version) bool {
		from := sort.Search(len(versions), func(i int) bool { return versions[i].revision > before })
		if from > 0 && versions[from-1].value != nil {
			from-- // still the answer at revision before
		}
		if from > 0 {
			kept[key] = append([]version(nil), versions[from:]...)
		}
		return true
	})
	for key, versions := range kept {
		if len(versions) == 0 {
			s.keys.Delete(key)
		} else {
			s.keys.Set(key, versions)
		}
	}
}

// Backup implements store.Store.
func (s *Store) Backup(ctx context.Context, w io.Writer) (store.Revision, error) {
	entries, at, err := s.List(ctx, "", store.Page{})
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	b, err := store.NewBackupWriter(w, at)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := b.Write(e); err != nil {
			return 0, err
		}
	}
	return at, b.Close()
}

// Restore implements store.Store. All entries get one revision, and the store goes on from the next.
func (s *Store) Restore(ctx context.Context, r io.Reader, atLeast store.Revision) (store.Revision, error) {
	b, err := store.NewBackupReader(r)
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	var entries []store.Entry
	for {
		e, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("restore: %w", err)
		}
		entries = append(entries, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if s.live > 0 {
		return 0, fmt.Errorf("restore: %w", store.ErrNotEmpty)
	}
	revision := max(s.newest, b.Revision(), atLeast) + 1
	for _, e := range entries {
		s.put(e.Key, version{revision, e.Value})
	}
	s.compact(revision + 1)
	s.show(revision + 1)
	return revision + 1, nil
}

// Close implements store.Store. Watches end with ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.show(s.newest)
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed {
		return store.ErrClosed
	}
	return nil
}

// readable resolves the revision of a read.
func (s *Store) readable(ctx context.Context, at store.Revision) (store.Revision, error) {
	switch err := s.usable(ctx); {
	case err != nil:
		return 0, err
	case at == 0:
		return s.newest, nil
	case at < s.compacted:
		return 0, store.ErrCompacted
	case at > s.newest:
		return 0, store.ErrFuture
	}
	return at, nil
}

// current is the key's revision; 0 when it is not there.
func (s *Store) current(key string) store.Revision {
	versions, _ := s.keys.Get(key)
	if n := len(versions); n > 0 && versions[n-1].value != nil {
		return versions[n-1].revision
	}
	return 0
}

// newest is the last version not later than at.
func newest(versions []version, at store.Revision) version {
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].revision <= at {
			return versions[i]
		}
	}
	return version{}
}
