package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// write is the writer: it takes the forming group to the disk, again and again, but for what a leader takes.
func (s *Store) write() {
	defer s.parts.Done()
	defer close(s.publishing)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.carrying || !s.due() {
			if !s.carrying && s.stopping {
				return
			}
			s.work.Wait()
		}
		rotate, settle := s.full(), s.settle
		s.settle = false
		var g *group // none: only to rotate or settle
		if len(s.forming.sizes) > 0 {
			g = s.take()
		}
		s.carrying = true
		s.mu.Unlock()

		if rotate {
			if err := s.rotate(); err != nil {
				s.fail(err)
			}
		}
		if settle {
			s.rest()
		}
		var records []byte
		if g != nil {
			records = s.carry(g)
			s.publishing <- g
		}

		s.mu.Lock()
		s.leave(g, records)
	}
}

// spareMost is the largest buffer that is kept for the next group but one.
const spareMost = 256 << 10

// carry puts a group into the log, and gives back what its records were in.
func (s *Store) carry(g *group) []byte {
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
	records := g.records
	g.records, g.sizes = nil, nil
	return records
}

// rotate begins a segment and lets the ones before go when pebble has what they hold.
func (s *Store) rotate() error {
	ended := s.log.segment
	if err := s.log.sync(); err != nil {
		return err
	}
	s.mu.Lock()
	limit := s.limit + s.reserve // the reserve records that still wait say less
	s.limit = limit
	s.mu.Unlock()
	start := segmentStart{previous: s.log.size, end: s.logged, base: s.logged, limit: limit}
	if err := s.log.begin(ended+1, start); err != nil {
		return err
	}
	s.publishing <- &group{finished: ended}
	return nil
}

// restLater arms the timer that ends in rest; there is at most one, and none when nothing is written. s.mu must be held.
func (s *Store) restLater() {
	if s.settling {
		return
	}
	s.settling = true
	time.AfterFunc(settleDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.settling, s.settle = false, true
		s.wake()
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

// publish is the publisher: it shows the groups that the writer carried.
func (s *Store) publish() {
	defer s.parts.Done()
	for g := range s.publishing {
		s.showing.Lock()
		if g.finished != 0 {
			s.flush(g.finished)
		} else {
			s.show(g)
		}
		s.showing.Unlock()
	}
}

// show moves a group that the log has to pebble and makes it visible. s.showing must be held.
func (s *Store) show(g *group) {
	if g.err == nil && s.readOnly() != nil {
		g.err = s.unknown()
	}
	if g.err == nil && len(g.txns) > 0 {
		if err := s.apply(g.txns); err != nil {
			s.fail(err)
			g.err = s.unknown()
		} else {
			for _, f := range s.recent.add(g.txns) {
				f.push(g.txns)
			}
		}
	}
	s.mu.Lock()
	if g.err == nil {
		for _, t := range g.txns {
			for _, op := range t.ops {
				if s.pending[op.Key].revision == t.revision {
					delete(s.pending, op.Key)
				}
				if op.Value == nil {
					delete(s.heads, op.Key)
				} else {
					s.heads[op.Key] = t.revision
				}
			}
		}
	}
	s.inflight--
	s.idle.Broadcast()
	s.mu.Unlock()
	close(g.done)
}

// apply writes transactions to pebble, into memory first; the log still has them.
func (s *Store) apply(txns []txn) error {
	b := s.db.NewBatch()
	defer b.Close()
	key, value := s.key, s.value
	for _, t := range txns {
		keys := make([]byte, 4, 128)
		for _, op := range t.ops {
			key = appendVersionKey(key[:0], op.Key, t.revision)
			value = appendVersion(value[:0], key, op.Value)
			if err := b.Set(key, value, nil); err != nil {
				return fmt.Errorf("apply %s: %w", op.Key, err)
			}
			key = currentKey(key[:0], op.Key)
			var err error
			if op.Value == nil {
				err = b.Delete(key, nil)
			} else {
				value = appendCurrent(value[:0], key, t.revision)
				err = b.Set(key, value, nil)
			}
			if err != nil {
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
	if s.key = key; cap(value) <= spareMost {
		s.value = value
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
