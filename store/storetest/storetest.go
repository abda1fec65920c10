// Package storetest is the suite that every engine of package store passes:
// each sentence of the contract is a test here. Engines call Run, and those
// that outlive a restart RunDurable, from their own tests.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lighter-k8s/lighter/store"
)

// Run checks an engine. open returns an empty store, which the suite closes;
// its revisions need not start at 0, but nobody else may write to it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := map[string]func(*testing.T, *rig){
		"a commit is read back":                                 readBack,
		"an expectation that fails is a conflict":               conflicts,
		"a transaction happens wholly or not at all":            atomic,
		"a transaction without a write has the newest revision": noWrite,
		"an impossible transaction is refused":                  invalid,
		"a deleted key is gone, its past is not":                deletes,
		"a list is by key, under its prefix, after its key":     lists,
		"the pages of a list are one list":                      pages,
		"the future is refused":                                 future,
		"an old read sees the old state":                        oldReads,
		"compaction forgets what was before and nothing else":   compaction,
		"compaction refuses the past and the future":            compactErrors,
		"a watch shows every event once and in order":           watchOrder,
		"a watch resumes after any event":                       watchResume,
		"a reader leaves as its context ends":                   watchLeaves,
		"a watch of what is compacted ends":                     watchCompacted,
		"a watch marks the last event of a revision":            watchLast,
		"a watch waits for what happens":                        watchWaits,
		"a watch ends with its context":                         watchEnds,
		"a watcher that is slow misses nothing":                 watchSlow,
		"a watch says how far nothing happened":                 watchMarks,
		"a follower is given what a watch shows":                follows,
		"a follower is given nothing after it left":             followLeaves,
		"a follower is told why it is given no more":            followErrors,
		"counters that all increment are exact":                 counters,
		"each key is linearizable":                              linearizable,
		"random operations give what memory gives":              metamorphic,
		"a backup is restored by every engine":                  backups,
		"a damaged backup is refused":                           damagedBackup,
		"a context that ended ends a call":                      contexts,
		"a closed store says so":                                closes,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, newRig(t, open)) })
	}
}

// RunDurable checks that an engine is the same after a restart. open opens the
// store in dir, which is empty the first time.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	t.Run("random operations with restarts give what memory gives", func(t *testing.T) {
		dir := t.TempDir()
		metamorphicRestarts(t, func() store.Store { return open(t, dir) })
	})
	t.Run("a restored backup survives a restart", func(t *testing.T) {
		dir := t.TempDir()
		restoreRestarts(t, func() store.Store { return open(t, dir) })
	})
}

// Seed returns the seed of a random test, from LIGHTER_SEED if that is set, and prints it.
func Seed(t testing.TB) *rand.Rand { return rand.New(rand.NewPCG(SeedNumber(t), 0)) }

// SeedNumber is the seed itself.
func SeedNumber(t testing.TB) uint64 {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LIGHTER_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	return seed
}

// rig is a store in a test, with what makes the tests short.
type rig struct {
	store.Store
	t    *testing.T
	ctx  context.Context
	open func(t *testing.T) store.Store
}

func newRig(t *testing.T, open func(t *testing.T) store.Store) *rig {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s := open(t)
	t.Cleanup(func() {
		cancel()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &rig{s, t, ctx, open}
}

func put(key, value string) store.Op {
	return store.Op{Key: key, Value: []byte(value), Expect: store.Any}
}

func del(key string) store.Op { return store.Op{Key: key, Expect: store.Any} }

// commit commits, and fails the test when that does not work.
func (r *rig) commit(ops ...store.Op) store.Revision {
	r.t.Helper()
	at, err := r.Commit(r.ctx, store.Txn{Ops: ops})
	if err != nil {
		r.t.Fatalf("commit: %v", err)
	}
	return at
}

func (r *rig) newest() store.Revision {
	r.t.Helper()
	at, err := r.Revision(r.ctx)
	if err != nil {
		r.t.Fatalf("revision: %v", err)
	}
	return at
}

// get returns "value@revision", "" for a key that is not there, or the error's words.
func (r *rig) get(key string, at store.Revision) string {
	r.t.Helper()
	e, err := r.Get(r.ctx, key, at)
	if err != nil {
		return Words(err)
	}
	if e.Key != key {
		r.t.Errorf("get %s returned the entry of %q", key, e.Key)
	}
	return show(e)
}

func show(e store.Entry) string {
	if e.Revision == 0 {
		if e.Value != nil {
			return "a value without a revision"
		}
		return ""
	}
	if e.Value == nil {
		return fmt.Sprintf("no value@%d", e.Revision)
	}
	return fmt.Sprintf("%s@%d", e.Value, e.Revision)
}

// Words is the contract's name of an error.
func Words(err error) string {
	for _, e := range []error{
		store.ErrConflict, store.ErrCompacted, store.ErrFuture, store.ErrCorrupt, store.ErrReadOnly,
		store.ErrNotEmpty, store.ErrClosed, store.ErrInvalid, context.Canceled,
	} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return fmt.Sprint(err)
}

func (r *rig) list(prefix string, p store.Page) ([]store.Entry, store.Revision) {
	r.t.Helper()
	entries, at, err := r.List(r.ctx, prefix, p)
	if err != nil {
		r.t.Fatalf("list %s: %v", prefix, err)
	}
	return entries, at
}

// watch collects the events under prefix later than after, until the sentinel.
func (r *rig) watch(prefix string, after store.Revision, sentinel string) []store.Event {
	r.t.Helper()
	var events []store.Event
	for e, err := range watched(r.ctx, r, prefix, after) {
		if err != nil {
			r.t.Fatalf("watch %s after %d: %v, with %d events", prefix, after, err, len(events))
		}
		events = append(events, e)
		if e.Key == sentinel {
			return events
		}
	}
	r.t.Fatal("watch ended without an error")
	return nil
}

func (r *rig) same(what string, got, want any) {
	r.t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		r.t.Errorf("%s: (-want +got)\n%s", what, d)
	}
}

func (r *rig) is(what string, err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// event is one as Watch shows it.
func event(key, value string, at store.Revision, last bool) store.Event {
	e := store.Event{Entry: store.Entry{Key: key, Revision: at}, Last: last}
	if value != "" {
		e.Value = []byte(value)
	}
	return e
}

func backup(t testing.TB, s store.Store) ([]byte, store.Revision) {
	t.Helper()
	var b bytes.Buffer
	at, err := s.Backup(context.Background(), &b)
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	return b.Bytes(), at
}

// watched is a store's Watch without marks, which tell of writes beside those of the test.
func watched(ctx context.Context, s watcher, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		for e, err := range s.Watch(ctx, prefix, after) {
			if (err != nil || e.Key != "") && !yield(e, err) {
				return
			}
		}
	}
}

type watcher interface {
	Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error]
}
