package embedded

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lighter-k8s/lighter/store"
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	e := store.Entry{Key: key}
	lower := append(append(make([]byte, 0, len(key)+10), 'k'), key...)
	lower = append(lower, 0)
	err := s.read(ctx, at, lower, append(lower[:len(lower)-1:len(lower)-1], 1), func(it *pebble.Iterator, at store.Revision) error {
		if !it.SeekGE(appendVersionKey(nil, key, at)) {
			return readError(key, it.Error())
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(key, err)
		}
		if e.Value, err = openVersion(it.Key(), value); err == nil && e.Value != nil {
			_, e.Revision, _ = splitVersionKey(it.Key())
		}
		return err
	})
	if err != nil {
		return store.Entry{}, fmt.Errorf("get: %w", err)
	}
	return e, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	var entries []store.Entry
	var shown store.Revision
	lower, upper := listBounds(prefix, p.After)
	err := s.read(ctx, p.At, lower, upper, func(it *pebble.Iterator, at store.Revision) error {
		entries, shown = entries[:0], at
		return scan(ctx, it, at, func(e store.Entry) (bool, error) {
			entries = append(entries, e)
			return p.Limit == 0 || len(entries) < p.Limit, nil
		})
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	return entries, shown, nil
}

// listBounds are pebble's bounds for the keys under prefix and greater than after.
func listBounds(prefix, after string) (lower, upper []byte) {
	lower = append([]byte{'k'}, prefix...)
	upper = prefixEnd(lower)
	if after >= prefix && after != "" {
		lower = append(append([]byte{'k'}, after...), 1)
	}
	if bytes.Compare(lower, upper) > 0 {
		lower = upper
	}
	return lower, upper
}

// read runs f on an iterator that surely still has everything of revision at (0: the newest).
func (s *Store) read(ctx context.Context, at store.Revision, lower, upper []byte, f func(*pebble.Iterator, store.Revision) error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.closed {
			return store.ErrClosed
		}
		newest := s.recent.revision()
		want := at
		if at == 0 {
			want = newest
		} else if at > newest {
			return store.ErrFuture
		}
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return readError("", err)
		}
		// Only now: what is compacted later is still in the iterator.
		if err := s.history.check(want); err != nil {
			it.Close()
			if at == 0 {
				continue // so many writes and a Compact, since newest was read
			}
			return err
		}
		err = f(it, want)
		if e := it.Close(); err == nil && e != nil {
			err = readError("", e)
		}
		return err
	}
}

// scan calls yield with the entries at revision at, by key, until it returns false.
func scan(ctx context.Context, it *pebble.Iterator, at store.Revision, yield func(store.Entry) (bool, error)) error {
	var done []byte // the key that was dealt with
	near := 0
	for ok, n := it.First(), 0; ok; n++ {
		if n%1024 == 1023 && ctx.Err() != nil {
			return ctx.Err()
		}
		key, revision, valid := splitVersionKey(it.Key())
		if !valid {
			return fmt.Errorf("%q: %w", it.Key(), store.ErrCorrupt)
		}
		switch {
		case done != nil && bytes.Equal(key, done):
			// An older version. A long history is jumped over.
			if near++; near > 8 {
				ok = it.SeekGE(append(append([]byte{'k'}, key...), 1))
				continue
			}
		case revision <= at:
			done, near = append(done[:0], key...), 0
			value, err := it.ValueAndErr()
			if err != nil {
				return readError(string(key), err)
			}
			e := store.Entry{Key: string(key), Revision: revision}
			if e.Value, err = openVersion(it.Key(), value); err != nil {
				return err
			}
			if e.Value != nil {
				if more, err := yield(e); !more || err != nil {
					return err
				}
			}
		}
		ok = it.Next()
	}
	return readError("", it.Error())
}

// readError names the key and says ErrCorrupt where pebble found corruption.
func readError(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case pebble.IsCorruptionError(err):
		text, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Errorf("%s: %w: %s", key, store.ErrCorrupt, text)
	}
	return fmt.Errorf("read %s: %w", key, err)
}
