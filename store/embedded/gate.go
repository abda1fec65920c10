package embedded

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
)

// gate is the file system that pebble sees. Once the disk has refused a write
// nothing more is created, renamed or removed: reads go on from what is there.
type gate struct {
	vfs.FS
	s *Store
}

// Create makes pebble, which tries again at once and for ever, try once a second.
func (g gate) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if g.s.readOnly() != nil {
		select {
		case <-g.s.ending:
		case <-time.After(time.Second):
		}
		return nil, store.ErrReadOnly
	}
	f, err := g.FS.Create(name, category)
	if err != nil {
		return nil, g.s.refused(err)
	}
	f = written{f, g.s}
	if strings.HasPrefix(g.PathBase(name), "MANIFEST-") {
		// Pebble leaves it to the file system's order that the manifest's name
		// is on the disk before the marker's that points to it.
		if err := g.s.syncFolder(g.PathDir(name)); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (g gate) Remove(name string) error {
	if err := g.s.readOnly(); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

func (g gate) Rename(from, to string) error {
	if err := g.s.readOnly(); err != nil {
		return err
	}
	return g.FS.Rename(from, to)
}

func (g gate) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return folder{f, g.s}, nil
}

func (g gate) Unwrap() vfs.FS { return g.FS }

// written is a file that pebble makes: what the disk says is kept, because pebble hands some of it on as text alone.
type written struct {
	vfs.File
	s *Store
}

func (f written) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.s.refused(err)
}

func (f written) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	return n, f.s.refused(err)
}

func (f written) Sync() error     { return f.s.refused(f.File.Sync()) }
func (f written) SyncData() error { return f.s.refused(f.File.SyncData()) }

func (f written) SyncTo(length int64) (full bool, err error) {
	full, err = f.File.SyncTo(length)
	return full, f.s.refused(err)
}

// refused remembers the disk's first own error.
func (s *Store) refused(err error) error {
	if err != nil {
		s.refusal.CompareAndSwap(nil, &err)
	}
	return err
}

// folder is a folder that pebble syncs. Pebble would panic if that fails; here
// it ends writing, before anything that builds on the sync is removed.
type folder struct {
	vfs.File
	s *Store
}

func (f folder) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.s.fail(fmt.Errorf("sync folder: %w", err))
	}
	return nil
}

// scheduler lets pebble compact between the end of Open and the first refusal
// of the disk. The usual one also looks for work ten times a second, for ever;
// this one does when a flush or compaction ends.
type scheduler struct {
	*pebble.ConcurrencyLimitScheduler
	s *Store
}

func (c scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.s.opened.Load() || c.s.readOnly() != nil {
		return false, nil
	}
	return c.ConcurrencyLimitScheduler.TrySchedule()
}

// quiet is pebble's logger: errors only.
type quiet struct{ s *Store }

func (q quiet) Infof(string, ...any) {}

func (q quiet) Errorf(format string, args ...any) {
	q.s.logger.Error("pebble", "err", fmt.Sprintf(format, args...))
}

// Fatalf does not return. When the manifest cannot be written it ends the
// goroutine of pebble's that tried: its locks are released as it ends, reads go
// on, and nothing is flushed any more. All else that calls it is a bug.
func (q quiet) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	err := errors.New("pebble: " + text)
	if cause := q.s.refusal.Load(); cause != nil {
		err = fmt.Errorf("%w (%w)", err, *cause)
	}
	q.s.fail(err)
	if strings.HasPrefix(text, "MANIFEST") {
		q.s.stick()
		runtime.Goexit()
	}
	panic("pebble: " + text)
}
