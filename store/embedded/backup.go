package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lighter-k8s/lighter/store"
)

// restoreChunk is how many bytes Restore gives to pebble at once.
const restoreChunk = 1 << 20

// Backup implements store.Store. Writers do not wait for it; Close does, shortly.
func (s *Store) Backup(ctx context.Context, w io.Writer) (store.Revision, error) {
	var shown store.Revision
	err := s.read(ctx, 0, []byte{'k'}, []byte{'l'}, func(it *pebble.Iterator, at store.Revision) error {
		shown = at
		b, err := store.NewBackupWriter(w, at)
		if err != nil {
			return err
		}
		err = scan(ctx, it, at, func(e store.Entry) (bool, error) {
			select {
			case <-s.ending:
				return false, store.ErrClosed
			default:
				return true, b.Write(e)
			}
		})
		if err != nil {
			return err
		}
		return b.Close()
	})
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	return shown, nil
}

// Restore implements store.Store. All entries get one revision, and the store
// goes on from the next. Commits wait until it ends; a crash in the middle leaves the store empty.
func (s *Store) Restore(ctx context.Context, r io.Reader, atLeast store.Revision) (store.Revision, error) {
	b, err := store.NewBackupReader(r)
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.carrying || s.inflight > 0 || len(s.forming.sizes) > 0 {
		s.idle.Wait()
	}
	if s.stopping {
		return 0, fmt.Errorf("restore: %w", store.ErrClosed)
	}
	if err := s.readOnly(); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	entries, _, err := s.List(ctx, "", store.Page{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if len(entries) > 0 {
		return 0, fmt.Errorf("restore: %w", store.ErrNotEmpty)
	}
	revision := max(s.assigned, b.Revision(), atLeast) + 1
	if err := s.restore(ctx, b, revision); err != nil {
		return 0, fmt.Errorf("restore: %w", errors.Join(err, s.wipe()))
	}
	if err := s.goOnFrom(revision + 1); err != nil {
		s.fail(err)
		return 0, fmt.Errorf("restore: %w", err)
	}
	return revision + 1, nil
}

// restore fills pebble with entries that nobody sees yet.
func (s *Store) restore(ctx context.Context, r *store.BackupReader, revision store.Revision) error {
	s.history.mu.Lock()
	s.history.compacted = s.assigned // what is wiped is history only
	s.history.mu.Unlock()
	if err := s.db.Set(markCompacted, putRevision(s.assigned), pebble.NoSync); err != nil {
		return err
	}
	if err := s.wipe(); err != nil {
		return err
	}
	if err := s.db.Set(markRestoring, putRevision(revision), pebble.NoSync); err != nil {
		return err
	}
	var key, value []byte
	b := s.db.NewBatch()
	defer func() { b.Close() }()
	for {
		e, err := r.Next()
		if err == io.EOF {
			return b.Commit(pebble.NoSync)
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		key = appendVersionKey(key[:0], e.Key, revision)
		value = appendVersion(value[:0], key, e.Value)
		if err := b.Set(key, value, nil); err != nil {
			return err
		}
		key = currentKey(key[:0], e.Key)
		value = appendCurrent(value[:0], key, revision)
		if err := b.Set(key, value, nil); err != nil {
			return err
		}
		if b.Len() > restoreChunk {
			if err := b.Commit(pebble.NoSync); err != nil {
				return err
			}
			b.Close()
			b = s.db.NewBatch()
		}
	}
}

// goOnFrom makes durable and visible what restore did; newest is the store's revision then.
func (s *Store) goOnFrom(newest store.Revision) error {
	b := s.db.NewBatch()
	defer b.Close()
	err := errors.Join(
		b.Set(markApplied, putRevision(newest), nil),
		b.Set(markCompacted, putRevision(newest), nil),
		b.Delete(markRestoring, nil),
		b.DeleteRange([]byte{'g'}, []byte{'h'}, nil),
		b.Commit(pebble.NoSync),
	)
	if err != nil {
		return err
	}
	if err := s.flushNow(); err != nil {
		return err
	}
	ended := s.log.segment
	if err := s.log.sync(); err != nil {
		return err
	}
	limit := newest + s.reserve
	if err := s.log.begin(ended+1, segmentStart{previous: s.log.size, end: newest, base: newest, limit: limit}); err != nil {
		return err
	}
	s.assigned, s.logged, s.limit = newest, newest, limit
	if err := s.readHeads(); err != nil {
		return err
	}
	s.history.mu.Lock()
	s.history.compacted, s.history.gaps = newest, nil
	s.history.mu.Unlock()
	s.recent.reset(newest)
	return s.forget(ended)
}

// wipe removes all entries and their history.
func (s *Store) wipe() error {
	b := s.db.NewBatch()
	defer b.Close()
	return errors.Join(
		b.DeleteRange([]byte{'i'}, []byte{'j'}, nil),
		b.DeleteRange([]byte{'k'}, []byte{'l'}, nil),
		b.DeleteRange([]byte{'r'}, []byte{'s'}, nil),
		b.Delete(markRestoring, nil),
		b.Commit(pebble.NoSync),
	)
}
