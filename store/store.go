// Package store is where every write gets a revision. It holds the contract
// between the registry and watch rooms, which call it, and the engines below
// it (embedded, etcd, memory), which implement it; storetest is the suite that
// every engine passes. Keys and values are opaque here.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
)

// Revision numbers the writes of a cluster: one per committed transaction,
// rising over the whole life of the store, never used twice. 0 is before the
// first write.
type Revision int64

// Any, as the expectation of an Op, accepts whatever is at its key.
const Any Revision = -1

// Errors that engines return, wrapped or as they are.
var (
	// ErrConflict: a key that the transaction expects is not at that revision.
	// The concrete error is a *Conflict.
	ErrConflict = errors.New("key is not at the expected revision")
	// ErrCompacted: the revision asked for is no longer kept.
	ErrCompacted = errors.New("revision is compacted")
	// ErrFuture: the revision asked for has not happened yet.
	ErrFuture = errors.New("revision is in the future")
	// ErrCorrupt: a value does not match its checksum; the text names the key.
	ErrCorrupt = errors.New("stored value is corrupt")
	// ErrUnreadable: a value is there and cannot be decrypted; the text names the key and says why.
	ErrUnreadable = errors.New("stored value cannot be read")
	// ErrReadOnly: the disk refused a write; writes end here until a restart.
	ErrReadOnly = errors.New("store takes no writes")
	// ErrNotEmpty: Restore was asked of a store that has content.
	ErrNotEmpty = errors.New("store is not empty")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrInvalid: a transaction that no store can take, such as one that has a
	// key twice; the text says what.
	ErrInvalid = errors.New("invalid transaction")
)

// Conflict names the first key, in key order, whose expectation failed.
type Conflict struct {
	Key    string
	Expect Revision // what the transaction expected
	Actual Revision // what is there; 0: nothing
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("%s: %v: expected %d, is at %d", c.Key, ErrConflict, c.Expect, c.Actual)
}

func (c *Conflict) Unwrap() error { return ErrConflict }

// Entry is one key at one revision. Callers share Value and must not write to it.
type Entry struct {
	Key      string   // "/registry/[<group>/]<resource>/[<namespace>/]<name>"
	Value    []byte   // as committed; nil in an Event means deleted
	Revision Revision // of the write that made this entry
	// Err, in what List and Watch give, says that the value is there and cannot be decrypted
	// (an ErrUnreadable); Value is then as it is stored, and nothing to serve.
	Err error
}

// Event is one change of one key.
type Event struct {
	Entry
	// Last is set on the last event of its revision, so that a reader which
	// stops after it can resume from Revision without a gap.
	Last bool
}

// Class says how durable a transaction must be before it is acknowledged.
type Class uint8

const (
	// Durable: on the disk (fsync) before Commit returns. The default.
	Durable Class = iota
	// Relaxed: handed to the operating system before Commit returns, on the disk within a
	// second. A kill of the process loses none; a power cut may lose that second.
	Relaxed
)

// Op is one put or delete within a transaction.
type Op struct {
	Key    string
	Value  []byte   // nil deletes the key
	Expect Revision // the key's present revision; 0: must not exist; Any: whatever
	// Life is how long a put is good for; 0: for good. An engine may delete the key by itself after that, not before; who
	// writes such keys deletes them in time, too.
	Life time.Duration
	// Check makes the Op only an expectation: nothing is written.
	Check bool
}

// Txn is a set of writes that happen together, at one revision, or not at all.
// A key stands in it at most once, is not empty and has no NUL byte.
type Txn struct {
	Ops   []Op
	Class Class
}

// Plan returns t's Ops in key order, or an ErrInvalid. Engines call it.
func (t Txn) Plan() ([]Op, error) {
	ops := t.Ops
	byKey := func(a, b Op) int { return strings.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(ops, byKey) {
		ops = slices.Clone(ops)
		slices.SortFunc(ops, byKey)
	}
	for i, op := range ops {
		switch {
		case op.Key == "":
			return nil, fmt.Errorf("%w: an empty key", ErrInvalid)
		case strings.IndexByte(op.Key, 0) >= 0:
			return nil, fmt.Errorf("%w: %q has a NUL byte", ErrInvalid, op.Key)
		case i > 0 && op.Key == ops[i-1].Key:
			return nil, fmt.Errorf("%w: %s is there twice", ErrInvalid, op.Key)
		}
	}
	return ops, nil
}

// Page bounds a List.
type Page struct {
	At    Revision // 0: the newest
	After string   // keys greater than this only
	Limit int      // at most so many entries; 0: all
}

// Store is implemented by store/embedded, store/etcd and store/memory;
// store/storetest holds the tests that each must pass. All methods are safe
// for concurrent use.
type Store interface {
	// Get returns the entry at the key as of revision at (0: newest). A key that is
	// not there gives an Entry with Revision 0 and no error. Errors: ErrCompacted, ErrFuture, ErrCorrupt.
	Get(ctx context.Context, key string, at Revision) (Entry, error)

	// List returns the entries under prefix, by key, and the revision they show:
	// p.At, or the newest acknowledged one. Errors: ErrCompacted, ErrFuture, ErrCorrupt.
	List(ctx context.Context, prefix string, p Page) (entries []Entry, at Revision, err error)

	// Commit applies all of t's puts and deletes at one new revision, if every
	// Op's expectation holds; else none. When it returns without error the
	// writes are durable as t.Class says and visible. A delete of a key that is
	// not there, with Expect Any or 0, is no write; a transaction without any write
	// returns the newest revision. Errors: ErrConflict, ErrReadOnly, ErrInvalid,
	// ErrClosed. Any other error leaves the outcome unknown.
	Commit(ctx context.Context, t Txn) (Revision, error)

	// Watch yields every event under prefix later than after, in revision order
	// and in key order within one, and ends with ctx or with one error.
	// An Event without a key is a mark: all up to its revision was shown, and the newest
	// of it were no writes under prefix. Whoever called Revision gets there by events or marks.
	// Events not yet acknowledged are not shown. Errors: ErrCompacted when an
	// event later than after is forgotten (after+1 < the compacted revision),
	// ErrFuture when after is not yet acknowledged, ctx's error, ErrClosed.
	Watch(ctx context.Context, prefix string, after Revision) iter.Seq2[Event, error]

	// Revision returns the newest acknowledged revision, confirmed by the store
	// and not by a copy of it: a linearizable read point.
	Revision(ctx context.Context) (Revision, error)

	// Compact lets the store forget what was overwritten or deleted before the
	// revision; Get and List at it or later still answer, and Watch from the
	// event before it. Errors: ErrCompacted when that is done already, ErrFuture.
	Compact(ctx context.Context, before Revision) error

	// Backup writes a consistent copy of all entries as of the returned revision,
	// in the format of BackupWriter, the same for every engine.
	Backup(ctx context.Context, w io.Writer) (Revision, error)

	// Restore fills an empty store from what Backup wrote, by whichever engine.
	// Its revisions start above the backup's, atLeast and its own, and what was
	// before them is compacted; the newest is returned. Errors: ErrNotEmpty, ErrCorrupt.
	Restore(ctx context.Context, r io.Reader, atLeast Revision) (Revision, error)

	// Close ends the store; all that was acknowledged is on the disk.
	Close() error
}
