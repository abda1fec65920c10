package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/store"
)

const (
	// maxRaise is by how much Restore raises etcd's revision with writes; for
	// more, etcd has a command of its own.
	maxRaise     = 1_000_000
	raisers      = 64        // writers that do it
	restoreBytes = 512 << 10 // of a transaction of Restore
)

// Backup implements store.Store. Writers do not wait; a compaction in the
// middle of it ends it with ErrCompacted.
func (s *Store) Backup(ctx context.Context, w io.Writer) (store.Revision, error) {
	at, err := s.Revision(ctx)
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	b, err := store.NewBackupWriter(w, at)
	if err != nil {
		return 0, err
	}
	if _, err := s.pages(ctx, "", store.Page{At: at}, b.Write); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	return at, b.Close()
}

// Restore implements store.Store. Etcd gives revisions, so raising them takes a
// write for each, of a key that is deleted again.
func (s *Store) Restore(ctx context.Context, r io.Reader, atLeast store.Revision) (store.Revision, error) {
	b, err := store.NewBackupReader(r)
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	there, _, err := s.List(ctx, "", store.Page{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if len(there) > 0 {
		return 0, fmt.Errorf("restore: %w", store.ErrNotEmpty)
	}
	if err := s.raise(ctx, max(b.Revision(), atLeast)); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if err := s.fill(ctx, b); err != nil {
		_, undo := s.client.Delete(ctx, s.prefix+"\x00", clientv3.WithRange(rangeEnd(s.prefix)))
		return 0, fmt.Errorf("restore: %w", errors.Join(err, undo))
	}
	newest, err := s.Revision(ctx)
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if err := s.Compact(ctx, newest); err != nil && !errors.Is(err, store.ErrCompacted) {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return newest, nil
}

// Raise makes the revision at least to, and forgets what came before: clients begin anew with a list.
func (s *Store) Raise(ctx context.Context, to store.Revision) error {
	if err := s.raise(ctx, to); err != nil {
		return fmt.Errorf("raise the revision to %d: %w", to, err)
	}
	newest, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	return s.Compact(ctx, newest)
}

func rangeEnd(prefix string) string {
	if prefix == "" {
		return "\x00"
	}
	return clientv3.GetPrefixRangeEnd(prefix)
}

// raise writes until etcd's revision is at least to.
func (s *Store) raise(ctx context.Context, to store.Revision) error {
	newest, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	if to-newest > maxRaise {
		return fmt.Errorf("etcd is at revision %d and must be above %d: start it from a snapshot restored with etcdutl --bump-revision %d --mark-compacted", newest, to, to-newest)
	}
	key := s.prefix + "/lighter/raising-the-revision"
	group, raising := errgroup.WithContext(ctx)
	for i := range raisers {
		group.Go(func() error {
			for n := newest + store.Revision(i); n < to; n += raisers {
				if _, err := s.client.Put(raising, key, ""); err != nil {
					return s.explain(raising, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || newest >= to {
		return err
	}
	if _, err := s.client.Delete(ctx, key); err != nil {
		return s.explain(ctx, err)
	}
	return nil
}

// fill puts what the backup has, in transactions that all expect nothing there.
func (s *Store) fill(ctx context.Context, b *store.BackupReader) error {
	var ops []store.Op
	size := 0
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := s.Commit(ctx, store.Txn{Ops: ops})
		ops, size = nil, 0
		return err
	}
	for {
		e, err := b.Next()
		if err == io.EOF {
			return flush()
		}
		if err != nil {
			return err
		}
		if n := len(e.Key) + len(e.Value); len(ops) == MaxOps || size+n > restoreBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		ops = append(ops, store.Op{Key: e.Key, Value: e.Value})
		size += len(e.Key) + len(e.Value)
	}
}
