package embedded

import (
	"context"
	"fmt"

	"github.com/lighter-k8s/lighter/store"
)

// group is the transactions that go to the disk together.
type group struct {
	records []byte // of the log, without their places
	sizes   []int
	txns    []txn
	durable bool          // somebody waits for the disk
	done    chan struct{} // closed when visible, or err is set
	err     error

	// finished, when not 0, makes this no group but the message that all
	// groups before are in segments up to this one, which ended.
	finished uint64
}

type txn struct {
	revision store.Revision
	ops      []store.Op // the writes only
}

// pendingKey is what a transaction that is not visible yet does to a key.
type pendingKey struct {
	revision store.Revision
	deleted  bool
	group    *group
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	ops, err := t.Plan()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	revision, g, leads, err := s.join(ops, t.Class)
	if g != nil {
		if leads {
			s.lead(g)
		}
		if e := s.await(ctx, g); e != nil {
			return 0, fmt.Errorf("commit: %w", e)
		}
	}
	if err == nil && revision == 0 { // nothing was written
		revision = s.recent.revision()
	}
	return revision, err
}

// join checks ops and adds them to the forming group. It returns the group to
// wait for before the answer may be given: for a conflict too, because it may
// be with a write that a crash could still undo. Who leads must carry the group.
func (s *Store) join(ops []store.Op, class store.Class) (at store.Revision, in *group, leads bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return 0, nil, false, fmt.Errorf("commit: %w", store.ErrClosed)
	}
	if err := s.readOnly(); err != nil {
		return 0, nil, false, fmt.Errorf("commit: %w", err)
	}
	var seen *group
	writes := ops[:0:0]
	for _, op := range ops {
		var actual store.Revision
		if op.Expect != store.Any || op.Value == nil && !op.Check {
			var g *group
			var err error
			if actual, g, err = s.current(op.Key); err != nil {
				return 0, nil, false, fmt.Errorf("commit: %w", err)
			}
			if g != nil {
				seen = g
			}
		}
		switch {
		case op.Expect != store.Any && op.Expect != actual:
			return 0, seen, false, &store.Conflict{Key: op.Key, Expect: op.Expect, Actual: actual}
		case op.Check, op.Value == nil && actual == 0:
		default:
			writes = append(writes, op)
		}
	}
	if len(writes) == 0 {
		return 0, seen, false, nil
	}
	leads = s.leads()
	g := s.forming
	s.assigned++
	if s.assigned+s.reserve/2 > s.limit {
		s.limit = s.assigned + s.reserve
		g.add(recordReserve, s.limit, nil)
		g.durable = true
	}
	g.add(recordTxn, s.assigned, writes)
	g.txns = append(g.txns, txn{s.assigned, writes})
	g.durable = g.durable || class == store.Durable
	for _, op := range writes {
		s.pending[op.Key] = pendingKey{s.assigned, op.Value == nil, g}
	}
	if !leads {
		s.wake()
		return s.assigned, g, false, nil
	}
	s.parts.Add(1)
	s.carrying = true
	return s.assigned, s.take(), true, nil
}

func (g *group) add(kind byte, revision store.Revision, ops []store.Op) {
	start := len(g.records)
	g.records = beginRecord(g.records, kind, revision)
	if ops != nil {
		g.records = appendOps(g.records, ops)
	}
	g.sizes = append(g.sizes, len(g.records)-start)
}

// current is the key's newest revision, visible or not; 0: it is not there.
// The group is the one that makes it visible.
func (s *Store) current(key string) (store.Revision, *group, error) {
	if p, ok := s.pending[key]; ok {
		if p.deleted {
			return 0, p.group, nil
		}
		return p.revision, p.group, nil
	}
	head, there := s.heads[key]
	if there && head == 0 {
		return 0, nil, fmt.Errorf("%s: %w", key, store.ErrCorrupt)
	}
	return head, nil, nil
}

// await returns when g is visible.
func (s *Store) await(ctx context.Context, g *group) error {
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
	case <-s.failed:
	}
	select {
	case <-g.done:
		return g.err
	default:
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("outcome unknown: %w", err)
	}
	return s.unknown()
}

// unknown is the answer to those whose write was under way when the disk failed.
func (s *Store) unknown() error {
	return fmt.Errorf("outcome unknown: %w", *s.failure.Load())
}
