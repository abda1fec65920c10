package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lighter-k8s/lighter/store"
)

// recent holds the newest transactions, bounded in bytes, and the newest
// visible revision; watchers wait here. Older transactions are in pebble.
type recent struct {
	mu      sync.Mutex
	max     int // bytes
	bytes   int
	txns    []txn // later than after, none missing; elements never change
	dropped int   // txns before the first, in the same array
	after   store.Revision
	newest  store.Revision
	changed chan struct{} // closed at the next change; nil while nobody waits

	followers []*follower // who are shown newest; the array never changes
}

func (r *recent) revision() store.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest
}

// add makes transactions visible, and returns who is to be told.
func (r *recent) add(txns []txn) []*follower {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range txns {
		r.bytes += t.bytes()
	}
	r.txns = append(r.txns, txns...)
	r.newest = txns[len(txns)-1].revision
	n := 0
	for ; r.bytes > r.max; n++ {
		r.bytes -= r.txns[n].bytes()
		r.after = r.txns[n].revision
	}
	// A watcher may hold a part of the array, so it is left alone and replaced in time.
	r.txns, r.dropped = r.txns[n:], r.dropped+n
	if r.dropped > 64 && r.dropped > len(r.txns) {
		r.txns, r.dropped = slices.Clone(r.txns), 0
	}
	r.wakeLocked()
	return r.followers
}

// reset makes at the newest revision, with nothing recent.
func (r *recent) reset(at store.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.txns, r.dropped, r.bytes = nil, 0, 0
	r.newest, r.after = at, at
	for _, f := range r.followers {
		f.end() // Watch's error says why
	}
	r.followers = nil
	r.wakeLocked()
}

func (r *recent) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeLocked()
}

func (r *recent) wakeLocked() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

func (t txn) bytes() int {
	n := 64
	for _, op := range t.ops {
		n += 96 + len(op.Key) + len(op.Value)
	}
	return n
}

// later returns the transactions later than after, or the revision up to which
// they are only in pebble, or else a channel to wait on.
func (r *recent) later(after store.Revision) (txns []txn, newest, older store.Revision, changed chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after < r.after {
		return nil, 0, r.after, nil
	}
	if after < r.newest {
		from := sort.Search(len(r.txns), func(i int) bool { return r.txns[i].revision > after })
		return slices.Clip(r.txns[from:]), r.newest, 0, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return nil, 0, 0, r.changed
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		cursor := after
		if after > s.recent.revision() {
			yield(store.Event{}, fmt.Errorf("watch %s after %d: %w", prefix, after, store.ErrFuture))
			return
		}
		for {
			txns, newest, err := s.wait(ctx, cursor)
			if err != nil {
				yield(store.Event{}, fmt.Errorf("watch %s after %d: %w", prefix, cursor, err))
				return
			}
			shown := cursor
			for _, t := range txns {
				any, more := t.show(prefix, yield)
				if !more {
					return
				}
				if any {
					shown = t.revision
				}
			}
			if cursor = newest; shown < newest && !yield(store.Event{Entry: store.Entry{Revision: newest}, Last: true}, nil) {
				return
			}
		}
	}
}

// show yields t's events under prefix, and tells whether there are any and more are wanted.
func (t txn) show(prefix string, yield func(store.Event, error) bool) (any, more bool) {
	last := -1
	for i, op := range t.ops {
		if strings.HasPrefix(op.Key, prefix) {
			last = i
		}
	}
	for i, op := range t.ops[:last+1] {
		if !strings.HasPrefix(op.Key, prefix) {
			continue
		}
		e := store.Entry{Key: op.Key, Value: op.Value, Revision: t.revision}
		if !yield(store.Event{Entry: e, Last: i == last}, nil) {
			return true, false
		}
	}
	return last >= 0, true
}

// wait returns transactions later than after as soon as there are some, and the
// revision that they are complete up to.
func (s *Store) wait(ctx context.Context, after store.Revision) ([]txn, store.Revision, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		select {
		case <-s.ending:
			return nil, 0, store.ErrClosed
		default:
		}
		if err := s.history.checkAfter(after); err != nil {
			return nil, 0, err
		}
		txns, newest, older, changed := s.recent.later(after)
		if older > 0 {
			return s.past(ctx, after, older)
		}
		if changed == nil {
			return txns, newest, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// past reads from pebble some transactions later than after, up to the revision until.
func (s *Store) past(ctx context.Context, after, until store.Revision) (txns []txn, upTo store.Revision, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return nil, 0, store.ErrClosed
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: revisionKey('r', after+1), UpperBound: revisionKey('r', until+1)})
	if err != nil {
		return nil, 0, readError("", err)
	}
	defer it.Close()
	// A Compact that comes later does not matter to the iterator, but to the values.
	view := s.db.NewSnapshot()
	defer view.Close()
	if err := s.history.checkAfter(after); err != nil {
		return nil, 0, err
	}
	bytes := 0
	for ok := it.First(); ok; ok = it.Next() {
		t, err := s.pastTxn(it, view)
		if err != nil {
			return nil, 0, err
		}
		txns, upTo = append(txns, t), t.revision
		if bytes += t.bytes(); bytes > 256<<10 || ctx.Err() != nil {
			return txns, upTo, nil
		}
	}
	return txns, until, readError("", it.Error())
}

func (s *Store) pastTxn(it *pebble.Iterator, view *pebble.Snapshot) (txn, error) {
	sealed, err := it.ValueAndErr()
	if err != nil {
		return txn{}, readError("", err)
	}
	keys, ok := unseal(it.Key(), sealed)
	t := txn{revision: store.Revision(binary.BigEndian.Uint64(it.Key()[1:]))}
	for ok && len(keys) > 0 {
		var name []byte
		if name, keys, ok = cutString(keys); !ok {
			break
		}
		key := appendVersionKey(nil, string(name), t.revision)
		value, closer, err := view.Get(key)
		if err != nil {
			return txn{}, readError(string(name), err)
		}
		opened, err := openVersion(key, value)
		closer.Close()
		if err != nil {
			return txn{}, err
		}
		t.ops = append(t.ops, store.Op{Key: string(name), Value: opened})
	}
	if !ok {
		return txn{}, fmt.Errorf("events of revision %d: %w", t.revision, store.ErrCorrupt)
	}
	return t, nil
}
