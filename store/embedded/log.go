package embedded

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
)

// fillBytes is how far ahead of its records a segment is filled with zeros: a sync of what is written over them
// need not put a new length of the file on the disk too. Zeros are no record.
const fillBytes = 256 << 10

var zeros [fillBytes]byte

// log is the write-ahead log: numbered segment files in one folder. Only the
// writer goroutine (and Open and Close) touches it.
type log struct {
	fs      vfs.FS
	dir     string
	folder  vfs.File // to sync names
	file    vfs.File
	segment uint64
	size    int64 // of the current segment's records
	filled  int64 // of its file
	synced  int64 // how much of it is on the disk
	err     error // the first; nothing is written after it
}

func segmentName(n uint64) string { return fmt.Sprintf("%016d.log", n) }

// segments lists the numbers of the segments that are there, rising.
func (l *log) segments() ([]uint64, error) {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return nil, fmt.Errorf("list log: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		if n, err := strconv.ParseUint(strings.TrimSuffix(name, ".log"), 10, 64); err == nil && name == segmentName(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (l *log) read(segment uint64) ([]byte, error) {
	f, err := l.fs.Open(l.fs.PathJoin(l.dir, segmentName(segment)))
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return data, nil
}

// begin makes segment the current one, empty but for its first record, on the disk. It gets its name when that is there:
// a segment without is damaged.
func (l *log) begin(segment uint64, start segmentStart) error {
	if l.err != nil {
		return l.err
	}
	l.err = l.tryBegin(segment, start)
	return l.err
}

func (l *log) tryBegin(segment uint64, start segmentStart) error {
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return fmt.Errorf("close log: %w", err)
		}
		l.file = nil
	}
	unborn := l.fs.PathJoin(l.dir, "new")
	f, err := l.fs.Create(unborn, "lighter-log") // empty, whatever was there
	if err == nil {
		if err = f.Close(); err == nil {
			f, err = l.fs.OpenReadWrite(unborn, "lighter-log")
		}
	}
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	l.file, l.segment, l.size, l.synced, l.filled = f, segment, 0, 0, 0
	b := start.append(beginRecord(nil, recordBegin, start.base))
	endRecord(b, segment, 0, 0)
	if err := l.tryWrite(b); err != nil {
		return err
	}
	if err := l.trySync(); err != nil {
		return err
	}
	if err := l.fs.Rename(unborn, l.fs.PathJoin(l.dir, segmentName(segment))); err != nil {
		return fmt.Errorf("name log: %w", err)
	}
	if err := l.folder.Sync(); err != nil {
		return fmt.Errorf("sync log folder: %w", err)
	}
	return nil
}

// place completes the records in b, whose sizes are given, for the place where write will put them.
func (l *log) place(b []byte, sizes []int) {
	offset := l.size
	for _, n := range sizes {
		endRecord(b[:n], l.segment, offset, l.synced)
		b, offset = b[n:], offset+int64(n)
	}
}

// write hands whole, placed records to the operating system.
func (l *log) write(b []byte) error {
	if l.err == nil {
		l.err = l.tryWrite(b)
	}
	return l.err
}

func (l *log) tryWrite(b []byte) error {
	n, err := l.file.WriteAt(b, l.size)
	l.size += int64(n)
	if err == nil && l.size > l.filled {
		l.filled = l.size
		if l.size > int64(len(b)) { // not yet with the first record: many a segment gets no other
			n, err = l.file.WriteAt(zeros[:], l.size)
			l.filled += int64(n)
		}
	}
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// sync puts on the disk what was written. After an error nothing is known of
// what the disk has, so it is never tried again.
func (l *log) sync() error {
	if l.err == nil && l.synced < l.size {
		l.err = l.trySync()
	}
	return l.err
}

func (l *log) trySync() error {
	if err := l.file.SyncData(); err != nil {
		return fmt.Errorf("sync log: %w", err)
	}
	l.synced = l.size
	return nil
}

// note writes a record without payload.
func (l *log) note(kind byte, revision store.Revision) error {
	b := beginRecord(nil, kind, revision)
	l.place(b, []int{len(b)})
	return l.write(b)
}

func (l *log) remove(segment uint64) error {
	if err := l.fs.Remove(l.fs.PathJoin(l.dir, segmentName(segment))); err != nil {
		return fmt.Errorf("remove log: %w", err)
	}
	return nil
}

func (l *log) close() error {
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	if l.folder != nil {
		if e := l.folder.Close(); err == nil {
			err = e
		}
	}
	return err
}
