package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
)

// Open opens the store in the folder dir, and makes it if it is not there. What
// was acknowledged is there again; a file that was damaged is an ErrCorrupt.
// The folder is locked until Close.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{
		dir: dir, fs: o.FS, logger: o.Logger,
		ending: make(chan struct{}), failed: make(chan struct{}),
		forming: newGroup(), pending: map[string]pendingKey{},
		publishing: make(chan *group, 4),
		recent:     recent{max: o.RecentBytes},
		segment:    cmp.Or(o.segment, defaultSegment),
		reserve:    cmp.Or(o.reserve, defaultReserve),
	}
	s.work.L, s.idle.L = &s.mu, &s.mu
	s.stuck = make(chan struct{})
	s.stick = sync.OnceFunc(func() { close(s.stuck) })
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.recent.max == 0 {
		s.recent.max = defaultRecentBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if err := s.open(o.CacheBytes); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.parts.Add(2)
	go s.write()
	go s.publish()
	return s, nil
}

func (s *Store) open(cacheBytes int64) error {
	s.log = log{fs: s.fs, dir: s.fs.PathJoin(s.dir, "log")}
	if err := s.fs.MkdirAll(s.log.dir, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{s.fs.PathDir(s.dir), s.dir} {
		if err := s.syncFolder(dir); err != nil {
			return err
		}
	}
	db, err := s.openPebble(cacheBytes)
	if err != nil {
		return err
	}
	s.db = db
	s.opened.Store(true)
	if err = s.syncFolder(s.dir); err == nil {
		s.log.folder, err = s.fs.OpenDir(s.log.dir)
	}
	if err == nil {
		err = s.recover()
	}
	if err == nil {
		err = s.readHeads()
	}
	if err == nil {
		return nil
	}
	close(s.ending)
	return errors.Join(err, s.log.close(), s.closePebble())
}

// openPebble opens pebble. On a disk that refuses writes pebble would try for
// ever; then this returns, and the trying goes on, once a second, on its own.
func (s *Store) openPebble(cacheBytes int64) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		db, err := pebble.Open(s.fs.PathJoin(s.dir, "pebble"), s.pebbleOptions(cacheBytes))
		done <- result{db, err}
	}()
	select {
	case r := <-done:
		if damaged(r.err) {
			r.err = fmt.Errorf("%w: %w", store.ErrCorrupt, r.err)
		}
		return r.db, r.err
	case <-s.failed:
		go func() {
			if r := <-done; r.err == nil {
				r.db.Close()
			}
		}()
		return nil, s.readOnly()
	}
}

// damaged tells whether pebble cannot be opened because of what its files say or lack, as opposed to what the operating
// system says; of the latter, that the folder is locked is text alone.
func damaged(err error) bool {
	if err == nil || strings.Contains(err.Error(), "lock held") {
		return false
	}
	var errno syscall.Errno
	return pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) || !errors.As(err, &errno) && !errors.Is(err, store.ErrReadOnly)
}

func (s *Store) syncFolder(dir string) error {
	f, err := s.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// replay is what the log says, read from its first segment to its last.
type replay struct {
	s       *Store
	applied store.Revision // pebble has everything up to here
	newest  store.Revision
	limit   store.Revision // no greater revision was shown
	last    uint64         // number of the last segment; 0: none
	length  int64          // of the last segment, as far as it counts
	read    int64          // bytes of all
}

// recover brings pebble up to the log and begins a new segment.
func (s *Store) recover() error {
	if err := s.readMarks(); err != nil {
		return err
	}
	r := replay{s: s}
	var err error
	if r.applied, err = s.mark(markApplied); err != nil {
		return err
	}
	r.newest = r.applied
	numbers, err := s.log.segments()
	if err != nil {
		return err
	}
	if len(numbers) == 0 && r.applied > 0 {
		return fmt.Errorf("%w: the log is missing", store.ErrCorrupt)
	}
	for i, n := range numbers {
		end := int64(-1)
		if i+1 < len(numbers) {
			if numbers[i+1] != n+1 {
				return fmt.Errorf("%w: log segment %d is missing", store.ErrCorrupt, n+1)
			}
			next, err := s.segmentStart(n + 1)
			if err != nil {
				return err
			}
			end = next.previous
		}
		if err := r.segment(n, i == 0, end); err != nil {
			return err
		}
	}
	base := max(r.newest, r.limit)
	if base > r.newest {
		if err := r.gap(r.newest, base); err != nil {
			return err
		}
		s.logger.Info("store was not closed in order", "rev", int64(r.newest), "next", int64(base+1))
	}
	s.assigned, s.logged, s.limit = base, base, base+s.reserve
	s.recent.reset(base)
	start := segmentStart{previous: r.length, end: r.newest, base: base, limit: s.limit}
	if err := s.log.begin(r.last+1, start); err != nil {
		return err
	}
	// Pebble has all that the log says, when it has this.
	if err := s.db.Set(markApplied, putRevision(base), pebble.NoSync); err != nil {
		return err
	}
	// Not one restart after the other: each would read more.
	if len(numbers) > 16 || r.read > s.segment {
		if err := s.flushNow(); err != nil {
			return err
		}
		return s.forget(r.last)
	}
	return s.readOnly()
}

// flushNow puts on the disk all that was applied.
func (s *Store) flushNow() error {
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	select {
	case <-flushed:
	case <-s.failed:
	}
	return s.readOnly()
}

func (s *Store) segmentStart(n uint64) (segmentStart, error) {
	data, err := s.log.read(n)
	if err != nil {
		return segmentStart{}, err
	}
	rec, _, ok := readRecord(data, n, 0)
	start, valid := readSegmentStart(rec.payload)
	if !ok || !valid || rec.kind != recordBegin {
		return segmentStart{}, fmt.Errorf("%w: the first record of log segment %d", store.ErrCorrupt, n)
	}
	return start, nil
}

// segment reads one; end is how much of it counts, -1 for the last, where a torn tail does not.
func (r *replay) segment(n uint64, first bool, end int64) error {
	data, err := r.s.log.read(n)
	if err != nil {
		return err
	}
	if end > int64(len(data)) {
		return fmt.Errorf("%w: log segment %d is too short", store.ErrCorrupt, n)
	}
	if rec, _, ok := readRecord(data, n, 0); !ok || rec.kind != recordBegin {
		return fmt.Errorf("%w: the first record of log segment %d", store.ErrCorrupt, n)
	}
	open := end < 0
	if open {
		end = int64(len(data))
	}
	var txns []txn
	offset := int64(0)
	for offset < end {
		rec, size, ok := readRecord(data, n, offset)
		if !ok || offset+size > end {
			if !open || !torn(data, n, offset) {
				return fmt.Errorf("%w: log segment %d at byte %d", store.ErrCorrupt, n, offset)
			}
			break
		}
		t, err := r.record(n, first, rec)
		if err != nil {
			return err
		}
		if t.revision > r.applied {
			txns = append(txns, t)
		}
		offset += size
	}
	r.last, r.length, r.read = n, offset, r.read+offset
	for chunk := range slices.Chunk(txns, 256) {
		if err := r.s.apply(chunk); err != nil {
			return err
		}
	}
	return nil
}

// record deals with one record; the transaction in it, if any, is returned.
func (r *replay) record(segment uint64, first bool, rec record) (txn, error) {
	switch rec.kind {
	case recordBegin:
		start, ok := readSegmentStart(rec.payload)
		if !ok || first && start.end > r.applied || start.base < start.end {
			return txn{}, fmt.Errorf("%w: log segment %d does not follow what is stored", store.ErrCorrupt, segment)
		}
		r.limit = start.limit
		if start.base > start.end {
			if err := r.gap(start.end, start.base); err != nil {
				return txn{}, err
			}
		}
		r.newest = max(r.newest, start.base)
	case recordReserve:
		r.limit = max(r.limit, rec.revision)
	case recordCompact:
		if rec.revision > r.s.history.compacted {
			return txn{}, r.s.setCompacted(rec.revision)
		}
	case recordTxn:
		ops, ok := readOps(rec.payload)
		if !ok {
			return txn{}, fmt.Errorf("%w: log record of revision %d", store.ErrCorrupt, rec.revision)
		}
		r.newest = max(r.newest, rec.revision)
		return txn{rec.revision, ops}, nil
	}
	return txn{}, nil
}

// gap remembers that the revisions in between are lost.
func (r *replay) gap(from, to store.Revision) error {
	h := &r.s.history
	if to <= h.compacted || slices.Contains(h.gaps, gap{from, to}) {
		return nil
	}
	h.gaps = append(h.gaps, gap{from, to})
	return r.s.db.Set(revisionKey('g', from), putRevision(to), pebble.NoSync)
}

// readMarks reads what pebble knows beside the entries.
func (s *Store) readMarks() error {
	if restoring, err := s.mark(markRestoring); err != nil {
		return err
	} else if restoring > 0 {
		if err := s.wipe(); err != nil {
			return err
		}
	}
	var err error
	if s.history.compacted, err = s.mark(markCompacted); err != nil {
		return err
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'g'}, UpperBound: []byte{'h'}})
	if err != nil {
		return readError("", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return readError("", err)
		}
		s.history.gaps = append(s.history.gaps, gap{getRevision(it.Key()[1:]), getRevision(value)})
	}
	return readError("", it.Error())
}

// readHeads reads which keys are there and at which revision each is: Commit asks for them all the time.
func (s *Store) readHeads() error {
	s.heads = map[string]store.Revision{}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'i'}, UpperBound: []byte{'j'}})
	if err != nil {
		return readError("", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(string(it.Key()[1:]), err)
		}
		body, ok := unseal(it.Key(), value)
		if !ok || len(body) != 8 {
			body = nil // a Commit of this key says so
			s.logger.Error("corrupt revision of a key", "object", string(it.Key()[1:]))
		}
		s.heads[string(it.Key()[1:])] = getRevision(body)
	}
	return readError("", it.Error())
}

// mark reads a mark; 0: it is not there.
func (s *Store) mark(name []byte) (store.Revision, error) {
	value, closer, err := s.db.Get(name)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, readError("", err)
	}
	defer closer.Close()
	return getRevision(value), nil
}
