// Package embedded is the store's engine for one server: a write-ahead log of
// its own and, below it, pebble, in one folder. Who waits for the disk shares
// one sync (group commit): Commit checks the expectations, gives the revision
// and adds the transaction to the group that forms; the writer puts a group
// into the log while the next one forms; the publisher moves it to pebble and
// makes it visible. A Commit that finds nothing under way does all of that itself:
// on an idle store no goroutine waits for another. Nothing is visible before it is
// as durable as it was asked to be.
//
//	commit.go   Commit      pipeline.go  writer, publisher      lead.go  Commits that do all themselves
//	watch.go    recent events, Watch     push.go  followers, who are told by who shows
//	log.go      segments    record.go  their bytes        recover.go  Open
//	read.go     Get, List   layout.go  pebble's keys      compact.go, backup.go
//	gate.go     what pebble may do when the disk refuses
//
// After an unclean end the revisions go on above a durable high-water mark
// (reserved in steps), so that none which was shown before a power cut, and
// lost in it, is used again; reads and watches from a lost one get ErrCompacted.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
)

const (
	defaultCacheBytes  = 6 << 20
	defaultRecentBytes = 4 << 20
	defaultSegment     = 4 << 20                // about how long a segment of the log gets, and pebble's memtable
	defaultReserve     = 8192                   // revisions reserved at once
	settleDelay        = 700 * time.Millisecond // after a write, until what is left is synced
)

// Options for Open; the zero value is what a server uses.
type Options struct {
	FS          vfs.FS       // nil: the operating system's
	Logger      *slog.Logger // nil: none
	CacheBytes  int64        // of pebble's blocks; 0: 6 MiB
	RecentBytes int          // of the events that Watch has without reading the disk; 0: 4 MiB

	// Tests make these small; 0: the defaults.
	segment int64          // bytes of a segment of the log and of pebble's memtable
	reserve store.Revision // revisions reserved at once
}

// Store implements store.Store.
type Store struct {
	dir    string
	fs     vfs.FS
	logger *slog.Logger
	db     *pebble.DB

	// A new segment of the log begins when one is longer, and the old one goes when pebble has flushed what it holds.
	segment int64
	reserve store.Revision // revisions reserved at once

	// life is held for reading while pebble is read, for writing by Close.
	life   sync.RWMutex
	closed bool
	ending chan struct{} // closed when Close begins

	failed  chan struct{} // closed when the disk has refused a write
	opened  atomic.Bool   // pebble may compact
	stuck   chan struct{} // closed when pebble will not end any more
	stick   func()        // closes stuck, once
	failure atomic.Pointer[error]
	refusal atomic.Pointer[error] // the disk's own first error, of pebble's files

	mu       sync.Mutex // guards what is below; never held while the disk is written, but by Restore
	work     sync.Cond  // the writer waits until nobody carries and something is due, or for stopping
	idle     sync.Cond  // Restore waits until nothing is under way
	forming  *group
	spare    []byte // what the records of a group before were in
	carrying bool   // somebody has the log: the writer, or a leader (a Commit that found nothing under way)
	inflight int    // groups that were taken and are not shown
	assigned store.Revision
	limit    store.Revision            // assigned stays below it, or reserves more
	heads    map[string]store.Revision // of the keys that are there and visible, their newest; 0: it cannot be read
	pending  map[string]pendingKey     // what groups that are not visible yet do to keys
	settle   bool                      // sync and seal the log although nobody waits
	settling bool                      // a timer will set settle
	stopping bool

	log        log            // of who carries
	logged     store.Revision // the newest in log; of who carries
	publishing chan *group
	parts      sync.WaitGroup // writer, publisher, leaders and those who wait for a flush

	showing    sync.Mutex   // held by who shows a group: in the order of the log
	key, value []byte       // apply puts together in them
	flushing   atomic.Int32 // flushes of pebble's that are under way

	history history
	recent  recent

	compacting sync.Mutex // one Compact at a time
}

var _ store.Store = (*Store)(nil)

// history says which revisions can be read.
type history struct {
	mu        sync.Mutex
	compacted store.Revision
	gaps      []gap // by rising revision
}

// gap is a range of revisions, exclusive, that were lost in a crash.
type gap struct{ from, to store.Revision }

// check returns ErrCompacted for what is gone.
func (h *history) check(at store.Revision) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at < h.compacted || h.lost(at) {
		return store.ErrCompacted
	}
	return nil
}

// checkAfter is check for a watch that resumes after a revision.
func (h *history) checkAfter(after store.Revision) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if after+1 < h.compacted || h.lost(after) {
		return store.ErrCompacted
	}
	return nil
}

// first is the first revision that can be read, unless it is in a gap.
func (h *history) first() store.Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.compacted
}

func (h *history) lost(at store.Revision) bool {
	for _, g := range h.gaps {
		if g.from < at && at < g.to {
			return true
		}
	}
	return false
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (store.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	select {
	case <-s.ending:
		return 0, store.ErrClosed
	default:
		return s.recent.revision(), nil
	}
}

// Close implements store.Store. Watches end with ErrClosed. When the disk has
// refused a write the folder may stay locked until the process ends.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return nil
	}
	s.stopping = true
	close(s.ending)
	s.work.Signal()
	s.mu.Unlock()
	s.recent.wake()
	if !s.drained() {
		return s.readOnly()
	}
	s.life.Lock()
	defer s.life.Unlock()
	s.closed = true
	// A segment with no revisions reserved says that all before was in order. It
	// is a file of its own, so that damage of one does not hide in the other.
	newest := s.recent.revision()
	err := s.log.sync()
	if err == nil {
		err = s.log.begin(s.log.segment+1, segmentStart{previous: s.log.size, end: newest, base: newest, limit: newest})
	}
	return errors.Join(s.readOnly(), err, s.log.close(), s.closePebble())
}

// drained waits for the writer and the publisher. When the disk has refused a
// write, the publisher may be in pebble and wait for ever for a flush: then not for long.
func (s *Store) drained() bool {
	ended := make(chan struct{})
	go func() {
		s.parts.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-s.failed:
	}
	select {
	case <-ended:
		return true
	case <-time.After(3 * time.Second):
		return false
	}
}

// closePebble closes pebble, unless the disk made that impossible.
func (s *Store) closePebble() error {
	closed := make(chan error, 1)
	go func() { closed <- s.db.Close() }()
	select {
	case err := <-closed:
		return err
	case <-s.stuck:
		return nil
	}
}

// fail ends all writing.
func (s *Store) fail(err error) {
	if !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	close(s.failed)
	s.logger.Error("store takes no more writes until a restart", "err", err)
}

func (s *Store) readOnly() error {
	if err := s.failure.Load(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrReadOnly, *err)
	}
	return nil
}

// pebbleOptions are small: the process that holds this also holds a cluster.
func (s *Store) pebbleOptions(cacheBytes int64) *pebble.Options {
	o := &pebble.Options{
		FS:                          gate{FS: s.fs, s: s},
		DisableWAL:                  true, // package log has it
		CacheSize:                   cacheBytes,
		MemTableSize:                uint64(s.segment),
		MemTableStopWritesThreshold: 4,
		L0StopWritesThreshold:       1000, // nothing compacts while Open fills the memtables
		MaxOpenFiles:                128,
		MaxManifestFileSize:         4 << 20,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		Logger:                      quiet{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fail(fmt.Errorf("pebble: %w", err)) },
			FlushBegin:      func(pebble.FlushInfo) { s.flushing.Add(1) },
			FlushEnd:        func(pebble.FlushInfo) { s.flushing.Add(-1) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.logger.Error("corrupt file", "object", info.Path, "err", info.Details)
			},
		},
	}
	// Most of what is written is overwritten or forgotten before it gets far: it is compressed at the bottom only.
	for i := range len(o.Levels) - 1 {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	o.Levels[len(o.Levels)-1].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	o.L0CompactionThreshold = 16
	o.Experimental.FileCacheShards = 1
	o.Experimental.CompactionScheduler = scheduler{pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest(), s}
	return o
}
