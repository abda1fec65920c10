// Package forms lies between the API and a store's engine, above its encryption, and keeps the few resources that upstream does not keep
// as protobuf of their newest version in upstream's form: above it every value is as everywhere else, below it a cluster's etcd is as
// upstream left it, and as it goes on with it. role says which resources, and how they change.
package forms

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/lighter-k8s/lighter/store"
)

// Form is how the values of a resource are kept.
type Form struct {
	Prefix string // of its keys
	// In gives a value from what is kept, in either form; Out what is kept of a value.
	In, Out func([]byte) ([]byte, error)
}

// Store is a store.Store whose engine keeps such values in their own form.
type Store struct {
	store.Store
	forms []Form
	write bool
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Pusher = (*Store)(nil)
)

// New reads those forms from an engine, which Close closes, and with write leaves values in them.
func New(engine store.Store, write bool, forms ...Form) *Store {
	return &Store{engine, forms, write}
}

func (s *Store) form(key string) *Form {
	for i := range s.forms {
		if strings.HasPrefix(key, s.forms[i].Prefix) {
			return &s.forms[i]
		}
	}
	return nil
}

// in gives an entry its value, in its place.
func (s *Store) in(e *store.Entry) {
	if e.Value == nil || e.Err != nil {
		return
	}
	f := s.form(e.Key)
	if f == nil {
		return
	}
	value, err := f.In(e.Value)
	if err != nil {
		e.Err = fmt.Errorf("%s: %w: %w", e.Key, store.ErrUnreadable, err)
		return
	}
	e.Value = value
}

// Commit implements store.Store. What has no such form is not written.
func (s *Store) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	if !s.write {
		return s.Store.Commit(ctx, t)
	}
	own := false
	for i, op := range t.Ops {
		if op.Value == nil || op.Check {
			continue
		}
		f := s.form(op.Key)
		if f == nil {
			continue
		}
		if !own {
			t.Ops, own = slices.Clone(t.Ops), true
		}
		value, err := f.Out(op.Value)
		if err != nil {
			return 0, fmt.Errorf("commit %s: %w", op.Key, err)
		}
		t.Ops[i].Value = value
	}
	return s.Store.Commit(ctx, t)
}

// Get implements store.Store; further errors: ErrUnreadable.
func (s *Store) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	e, err := s.Store.Get(ctx, key, at)
	if err != nil || e.Revision == 0 {
		return e, err
	}
	if s.in(&e); e.Err != nil {
		return store.Entry{}, fmt.Errorf("get: %w", e.Err)
	}
	return e, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	entries, at, err := s.Store.List(ctx, prefix, p)
	for i := range entries {
		s.in(&entries[i])
	}
	return entries, at, err
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		for e, err := range s.Store.Watch(ctx, prefix, after) {
			s.in(&e.Entry)
			if !yield(e, err) {
				return
			}
		}
	}
}

// Push implements store.Pusher above any engine.
func (s *Store) Push(ctx context.Context, prefix string, after store.Revision, take func([]store.Event) bool) error {
	return store.Follow(ctx, s.Store, prefix, after, func(events []store.Event) bool {
		for n := range events {
			s.in(&events[n].Entry)
		}
		return take(events)
	})
}
