package encrypt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/store"
)

const (
	rewritePage    = 500
	rewriteWriters = 8
)

// Rewrite writes again, with the first provider, every value that another one wrote, until none is left; values that
// cannot be read stay. It may be ended at any time and begun anew. It returns how many it wrote; each is a write of the same object.
func (s *Store) Rewrite(ctx context.Context) (written int, err error) {
	for {
		var n, lost atomic.Int64
		for _, prefix := range s.Keys().prefixes() {
			if err := s.rewrite(ctx, prefix, &n, &lost); err != nil {
				return written + int(n.Load()), fmt.Errorf("rewrite: %w", err)
			}
		}
		written += int(n.Load())
		if lost.Load() == 0 { // else somebody wrote them meanwhile: look again
			return written, nil
		}
	}
}

func (s *Store) rewrite(ctx context.Context, prefix string, written, lost *atomic.Int64) error {
	for after := ""; ; {
		entries, _, err := s.Store.List(ctx, prefix, store.Page{After: after, Limit: rewritePage})
		if err != nil || len(entries) == 0 {
			return err
		}
		after = entries[len(entries)-1].Key
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(rewriteWriters)
		for _, e := range entries {
			value, stale, err := s.Keys().Open(ctx, e.Key, e.Value)
			if err != nil || !stale {
				continue // what cannot be read is Count's to tell
			}
			g.Go(func() error {
				_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: e.Key, Value: value, Expect: e.Revision}}})
				switch {
				case errors.Is(err, store.ErrConflict):
					lost.Add(1)
					return nil
				case err == nil:
					written.Add(1)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
}

// Touch writes a value again as it is, so that those who could not read it before see it. Errors: ErrUnreadable, ErrConflict.
func (s *Store) Touch(ctx context.Context, key string) error {
	e, err := s.Get(ctx, key, 0)
	if err != nil || e.Revision == 0 {
		return err
	}
	_, err = s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: e.Value, Expect: e.Revision}}})
	return err
}

// Count is what is stored.
type Count struct {
	By         map[string]int // by what wrote it: "aesgcm:v1:key1", or "identity" for plain text
	Stale      int            // what Rewrite would write again
	Unreadable []string       // keys, at most a hundred
}

// Count looks at every value of the resources that the configuration names. Plain text of other resources is not counted.
func (s *Store) Count(ctx context.Context) (Count, error) {
	c := Count{By: map[string]int{}}
	for _, prefix := range s.Keys().prefixes() {
		for after := ""; ; {
			entries, _, err := s.Store.List(ctx, prefix, store.Page{After: after, Limit: rewritePage})
			if err != nil {
				return c, fmt.Errorf("count: %w", err)
			}
			if len(entries) == 0 {
				break
			}
			after = entries[len(entries)-1].Key
			for _, e := range entries {
				by := Provenance(e.Value)
				if by == identity && s.Keys().chain(e.Key) == nil {
					continue
				}
				c.By[by]++
				_, stale, err := s.Keys().Open(ctx, e.Key, e.Value)
				if stale {
					c.Stale++
				}
				if err != nil && len(c.Unreadable) < 100 {
					c.Unreadable = append(c.Unreadable, e.Key)
				}
			}
		}
	}
	return c, nil
}
