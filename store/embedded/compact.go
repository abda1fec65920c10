package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lighter-k8s/lighter/store"
)

// compactChunk is how many revisions Compact deals with at once.
const compactChunk = 1000

// Compact implements store.Store. Its work is in proportion to the changes that
// it forgets, not to the content. When ctx ends it, the next one goes on.
func (s *Store) Compact(ctx context.Context, before store.Revision) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	if err := s.startCompact(ctx, before); err != nil {
		return fmt.Errorf("compact before %d: %w", before, err)
	}
	for more := true; more; {
		var err error
		if more, err = s.compactSome(ctx, before); err != nil {
			return fmt.Errorf("compact before %d: %w", before, err)
		}
	}
	return nil
}

// startCompact says that history ends at before, in the log and in pebble, before anything is deleted.
func (s *Store) startCompact(ctx context.Context, before store.Revision) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	switch compacted := s.history.first(); {
	case before <= compacted:
		return store.ErrCompacted
	case before > s.recent.revision():
		return store.ErrFuture
	}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return store.ErrClosed
	}
	g := s.forming
	g.add(recordCompact, before, nil)
	s.wake()
	s.mu.Unlock()
	if err := s.await(ctx, g); err != nil {
		return err
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(ctx); err != nil {
		return err
	}
	return s.setCompacted(before)
}

// setCompacted writes the mark. Pebble keeps a beginning of its batches in a
// crash, so never what Compact deletes without it.
func (s *Store) setCompacted(before store.Revision) error {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(markCompacted, putRevision(before), nil); err != nil {
		return err
	}
	gaps := s.history.gaps[:0:0]
	for _, g := range s.history.gaps {
		if g.to > before {
			gaps = append(gaps, g)
		} else if err := b.Delete(revisionKey('g', g.from), nil); err != nil {
			return err
		}
	}
	s.history.compacted, s.history.gaps = before, gaps
	return b.Commit(pebble.NoSync)
}

// compactSome forgets what the oldest revisions that are kept made superfluous.
func (s *Store) compactSome(ctx context.Context, before store.Revision) (more bool, err error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(ctx); err != nil {
		return false, err
	}
	b := s.db.NewBatch()
	defer b.Close()
	keys, last, err := s.changedKeys(before)
	if err != nil {
		return false, err
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'k'}, UpperBound: []byte{'l'}})
	if err != nil {
		return false, readError("", err)
	}
	defer it.Close()
	for key := range keys {
		if err := forgetVersions(it, b, key, before); err != nil {
			return false, err
		}
	}
	end := min(last+1, before)
	if last == 0 {
		end = before
	}
	if err := b.DeleteRange(revisionKey('r', 0), revisionKey('r', end), nil); err != nil {
		return false, err
	}
	return end < before, b.Commit(pebble.NoSync)
}

// changedKeys are those of the first revisions that are kept, not later than before.
func (s *Store) changedKeys(before store.Revision) (keys map[string]bool, last store.Revision, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: revisionKey('r', 0), UpperBound: revisionKey('r', before+1)})
	if err != nil {
		return nil, 0, readError("", err)
	}
	defer it.Close()
	keys = map[string]bool{}
	n := 0
	for ok := it.First(); ok && n < compactChunk; ok = it.Next() {
		sealed, err := it.ValueAndErr()
		if err != nil {
			return nil, 0, readError("", err)
		}
		last = store.Revision(binary.BigEndian.Uint64(it.Key()[1:]))
		rest, ok := unseal(it.Key(), sealed)
		for ok && len(rest) > 0 {
			var key []byte
			if key, rest, ok = cutString(rest); ok {
				keys[string(key)] = true
			}
		}
		if !ok {
			return nil, 0, fmt.Errorf("events of revision %d: %w", last, store.ErrCorrupt)
		}
		n++
	}
	if n < compactChunk {
		last = before
	}
	return keys, last, readError("", it.Error())
}

// forgetVersions deletes the versions of key that no read at before or later,
// and no watch of the events from before on, can ask for.
func forgetVersions(it *pebble.Iterator, b *pebble.Batch, key string, before store.Revision) error {
	name := []byte(key)
	newest := true
	for ok := it.SeekGE(appendVersionKey(nil, key, before)); ok; ok = it.Next() {
		k, revision, valid := splitVersionKey(it.Key())
		if !valid || !bytes.Equal(k, name) {
			break
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(key, err)
		}
		keep := newest && (!deleted(value) || revision == before)
		newest = false
		if !keep {
			if err := b.Delete(it.Key(), nil); err != nil {
				return err
			}
		}
	}
	return readError(key, it.Error())
}

// writable is for those who write to pebble beside the log.
func (s *Store) writable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.ending:
		return store.ErrClosed
	default:
		return s.readOnly()
	}
}
