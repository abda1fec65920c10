package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

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
	revision, g, err := s.join(ops, t.Class)
	if g != nil {
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
// be with a write that a crash could still undo.
func (s *Store) join(ops []store.Op, class store.Class) (store.Revision, *group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return 0, nil, fmt.Errorf("commit: %w", store.ErrClosed)
	}
	if err := s.readOnly(); err != nil {
		return 0, nil, fmt.Errorf("commit: %w", err)
	}
	var seen *group
	writes := ops[:0:0]
	for _, op := range ops {
		var actual store.Revision
		if op.Expect != store.Any || op.Value == nil && !op.Check {
			var g *group
			var err error
			if actual, g, err = s.current(op.Key); err != nil {
				return 0, nil, fmt.Errorf("commit: %w", err)
			}
			if g != nil {
				seen = g
			}
		}
		switch {
		case op.Expect != store.Any && op.Expect != actual:
			return 0, seen, &store.Conflict{Key: op.Key, Expect: op.Expect, Actual: actual}
		case op.Check, op.Value == nil && actual == 0:
		default:
			writes = append(writes, op)
		}
	}
	if len(writes) == 0 {
		return 0, seen, nil
	}
	g := s.forming
	s.assigned++
	if s.assigned+reserveStep/2 > s.limit {
		s.limit = s.assigned + reserveStep
		g.add(recordReserve, s.limit, nil)
		g.durable = true
	}
	g.add(recordTxn, s.assigned, writes)
	g.txns = append(g.txns, txn{s.assigned, writes})
	g.durable = g.durable || class == store.Durable
	for _, op := range writes {
		s.pending[op.Key] = pendingKey{s.assigned, op.Value == nil, g}
	}
	s.work.Signal()
	return s.assigned, g, nil
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
	from := appendVersionKey(make([]byte, 0, len(key)+10), key, store.Revision(1<<62))
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: append(from[:len(key)+1:len(key)+1], 1)})
	if err != nil {
		return 0, nil, readError(key, err)
	}
	defer it.Close()
	if !it.First() {
		return 0, nil, readError(key, it.Error())
	}
	_, revision, ok := splitVersionKey(it.Key())
	if !ok {
		return 0, nil, fmt.Errorf("%s: %w", key, store.ErrCorrupt)
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, nil, readError(key, err)
	}
	if _, ok := unseal(it.Key(), value); !ok {
		return 0, nil, fmt.Errorf("%s: %w", key, store.ErrCorrupt)
	}
	if deleted(value) {
		return 0, nil, nil
	}
	return revision, nil, nil
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

// write is the writer: it takes the forming group to the disk, again and again.
func (s *Store) write() {
	defer s.parts.Done()
	defer close(s.publishing)
	for {
		s.mu.Lock()
		for len(s.forming.sizes) == 0 && !s.settle && !s.stopping {
			s.work.Wait()
		}
		var g *group // none: only settle
		if len(s.forming.sizes) > 0 {
			g, s.forming = s.forming, newGroup()
			s.inflight++
		}
		settle := s.settle
		s.settle = false
		s.mu.Unlock()

		if settle {
			s.rest()
		}
		if g != nil {
			s.carry(g)
		} else if !settle {
			return
		}
	}
}

// carry puts a group into the log.
func (s *Store) carry(g *group) {
	s.log.place(g.records, g.sizes)
	err := s.log.write(g.records)
	if err == nil && g.durable {
		err = s.log.sync()
	}
	if err != nil {
		s.fail(err)
		g.err = s.unknown()
	}
	if n := len(g.txns); n > 0 {
		s.logged = g.txns[n-1].revision
	}
	g.records, g.sizes = nil, nil
	s.publishing <- g
	if err != nil {
		return
	}
	s.restLater()
	if s.log.size > segmentBytes {
		if err := s.rotate(); err != nil {
			s.fail(err)
		}
	}
}

// rotate begins a segment and lets the ones before go when pebble has what they hold.
func (s *Store) rotate() error {
	ended := s.log.segment
	if err := s.log.sync(); err != nil {
		return err
	}
	s.mu.Lock()
	limit := s.limit + reserveStep // the reserve records that still wait say less
	s.limit = limit
	s.mu.Unlock()
	start := segmentStart{previous: s.log.size, end: s.logged, base: s.logged, limit: limit}
	if err := s.log.begin(ended+1, start); err != nil {
		return err
	}
	s.publishing <- &group{finished: ended}
	return nil
}

// restLater arms the timer that ends in rest; there is at most one, and none when nothing is written.
func (s *Store) restLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settling {
		return
	}
	s.settling = true
	time.AfterFunc(settleDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.settling, s.settle = false, true
		s.work.Signal()
	})
}

// rest syncs what nobody waited for, and lets the log say how much of it is on the disk.
func (s *Store) rest() {
	if s.readOnly() != nil {
		return
	}
	err := s.log.sync()
	if err == nil {
		err = s.log.note(recordSealed, 0)
	}
	if err != nil {
		s.fail(err)
	}
}

// publish is the publisher: it moves groups to pebble and shows them.
func (s *Store) publish() {
	defer s.parts.Done()
	for g := range s.publishing {
		if g.finished != 0 {
			s.flush(g.finished)
			continue
		}
		if g.err == nil && s.readOnly() != nil {
			g.err = s.unknown()
		}
		if g.err == nil && len(g.txns) > 0 {
			if err := s.apply(g.txns); err != nil {
				s.fail(err)
				g.err = s.unknown()
			} else {
				s.recent.add(g.txns)
			}
		}
		s.mu.Lock()
		if g.err == nil {
			for _, t := range g.txns {
				for _, op := range t.ops {
					if s.pending[op.Key].revision == t.revision {
						delete(s.pending, op.Key)
					}
				}
			}
		}
		s.inflight--
		s.idle.Broadcast()
		s.mu.Unlock()
		close(g.done)
	}
}

// apply writes transactions to pebble, into memory first; the log still has them.
func (s *Store) apply(txns []txn) error {
	b := s.db.NewBatch()
	defer b.Close()
	var key, value []byte
	for _, t := range txns {
		keys := make([]byte, 4, 128)
		for _, op := range t.ops {
			key = appendVersionKey(key[:0], op.Key, t.revision)
			value = appendVersion(value[:0], key, op.Value)
			if err := b.Set(key, value, nil); err != nil {
				return fmt.Errorf("apply %s: %w", op.Key, err)
			}
			keys = appendString(keys, op.Key)
		}
		at := revisionKey('r', t.revision)
		seal(at, keys)
		if err := b.Set(at, keys, nil); err != nil {
			return fmt.Errorf("apply %d: %w", t.revision, err)
		}
	}
	if err := b.Set(markApplied, putRevision(txns[len(txns)-1].revision), nil); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return nil
}

// appendVersion appends the sealed form of a value; nil: deleted.
func appendVersion(b, key, value []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, 0)
	if value == nil {
		b = append(b, kindDelete)
	} else {
		b = append(append(b, kindPut), value...)
	}
	seal(key, b)
	return b
}

// flush asks pebble to put on the disk all that was applied and then removes
// the segments up to finished.
func (s *Store) flush(finished uint64) {
	if s.readOnly() != nil {
		return
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		s.fail(fmt.Errorf("flush: %w", err))
		return
	}
	s.parts.Go(func() {
		select {
		case <-flushed:
			if s.readOnly() != nil {
				return // the flush may be less than it seems
			}
			if err := s.forget(finished); err != nil {
				s.logger.Error("old log stays", "err", err)
			}
		case <-s.failed:
		case <-s.ending:
		}
	})
}

// forget removes the segments up to finished.
func (s *Store) forget(finished uint64) error {
	numbers, err := s.log.segments()
	for _, n := range numbers {
		if n <= finished {
			err = errors.Join(err, s.log.remove(n))
		}
	}
	return err
}
