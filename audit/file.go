package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// LogOptions are where the log is and how long it stays.
type LogOptions struct {
	Path string // "-" is standard output
	Mode Mode
	// MaxSize is from how many bytes on a file is put aside and a new one begun; 0: never.
	MaxSize int64
	// MaxAge and MaxBackups are how long and how many files that were put aside stay; 0: for ever, all.
	MaxAge     time.Duration
	MaxBackups int

	Log *slog.Logger
	Now func() time.Time
}

const (
	// flushFrom is how much is gathered before it is written, and flushEvery how long: a crash loses no more.
	flushFrom  = 64 << 10
	chunk      = 16 << 10
	flushEvery = time.Second
	// held bounds what waits for a disk that does not take it.
	held = 8 << 20
)

var errFull = errors.New("the audit log's buffer is full")

// Log is the back end that writes lines of JSON into a file.
type Log struct {
	o       LogOptions
	dropped func(int)
	full    hourly
	wake    chan struct{}
	timer   *time.Timer // pokes wake

	out    sync.Mutex // above mu; who holds it writes
	f      *os.File
	size   int64
	synced time.Time
	dirty  bool // written since then
	torn   bool // the file ends within a line
	broken bool // the last write failed, and that was said

	mu     sync.Mutex
	chunks [][]byte // what is not written: whole lines
	waits  int      // bytes of all chunks
	spare  [][]byte // empty ones
}

// NewLog makes the back end; the file is opened, or made, with the first event.
func NewLog(o LogOptions) *Log {
	l := &Log{o: o, wake: make(chan struct{}, 1), dropped: func(int) {}}
	l.timer = time.AfterFunc(time.Hour, l.poke)
	l.timer.Stop()
	return l
}

func (l *Log) name() string { return "log" }
func (l *Log) mode() Mode   { return l.o.Mode }

func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Log) write(line []byte) error {
	l.mu.Lock()
	before := l.waits
	if before+len(line) >= held {
		l.mu.Unlock()
		l.dropped(1)
		if l.full.due() {
			l.o.Log.Error("the audit log's disk is too slow or full: events are lost", "object", l.o.Path)
		}
		return errFull
	}
	last := len(l.chunks) - 1
	if last < 0 || len(l.chunks[last])+len(line) >= chunk {
		l.chunks = append(l.chunks, l.fresh(len(line)+1))
		last++
	}
	l.chunks[last] = append(append(l.chunks[last], line...), '\n')
	l.waits += len(line) + 1
	after := l.waits
	l.mu.Unlock()
	if l.o.Mode != Batch {
		return l.flush()
	}
	switch {
	case before == 0:
		l.timer.Reset(flushEvery)
	case before < flushFrom && after >= flushFrom:
		l.poke()
	}
	return nil
}

func (l *Log) settled() error {
	l.mu.Lock()
	left := l.waits
	l.mu.Unlock()
	if left == 0 {
		return nil
	}
	return l.flush()
}

func (l *Log) run(ctx context.Context) error {
	defer l.timer.Stop()
	for {
		select {
		case <-l.wake:
			_ = l.flush() // it was said, and is tried again
		case <-ctx.Done():
			err := l.flush()
			l.out.Lock()
			defer l.out.Unlock()
			if l.f != nil && l.f != os.Stdout {
				err = errors.Join(err, l.f.Sync(), l.f.Close())
				l.f = nil
			}
			return err
		}
	}
}

// fresh is an empty chunk, for a line of n bytes at least.
func (l *Log) fresh(n int) []byte {
	if last := len(l.spare) - 1; last >= 0 && n <= chunk {
		c := l.spare[last]
		l.spare = l.spare[:last]
		return c
	}
	return make([]byte, 0, max(chunk, n))
}

// flush writes what is gathered. What cannot be written stays, before what comes.
func (l *Log) flush() error {
	l.out.Lock()
	defer l.out.Unlock()
	l.mu.Lock()
	chunks := l.chunks
	l.chunks = nil
	l.mu.Unlock()
	var err error
	written := 0
	for n, data := range chunks {
		var rest []byte
		rest, err = l.put(data)
		if written += len(data) - len(rest); err != nil {
			chunks[n] = rest
			chunks = chunks[n:]
			break
		}
	}
	l.mu.Lock()
	if l.waits -= written; err != nil {
		l.chunks = append(chunks, l.chunks...)
	} else {
		for _, c := range chunks {
			if cap(c) == chunk && len(l.spare) < flushFrom/chunk {
				l.spare = append(l.spare, c[:0])
			}
		}
	}
	l.mu.Unlock()
	now := l.o.Now()
	if err == nil && l.dirty && now.Sub(l.synced) >= flushEvery && l.f != os.Stdout {
		if err = l.f.Sync(); err == nil {
			l.synced, l.dirty = now, false
		}
	}
	if err != nil || l.dirty {
		l.timer.Reset(flushEvery)
	}
	if bad := err != nil; bad != l.broken {
		if l.broken = bad; bad {
			l.o.Log.Error("the audit log cannot be written; requests go on", "object", l.o.Path, "err", err)
		} else {
			l.o.Log.Info("the audit log is written again", "object", l.o.Path)
		}
	}
	return err
}

// put writes whole lines, into a new file where one is full, and returns those that it did not.
func (l *Log) put(data []byte) (rest []byte, err error) {
	for len(data) > 0 {
		if l.f == nil {
			if err := l.open(); err != nil {
				return data, err
			}
		}
		part := data
		if room := l.o.MaxSize - l.size; l.o.MaxSize > 0 && int64(len(data)) > room {
			part = data[:bytes.LastIndexByte(data[:max(0, room)], '\n')+1]
			if len(part) == 0 && l.size > 0 {
				if err := l.rotate(); err != nil {
					return data, err
				}
				continue
			}
			if len(part) == 0 { // a line longer than a file
				part = data[:bytes.IndexByte(data, '\n')+1]
			}
		}
		if l.torn {
			if _, err := l.f.Write([]byte{'\n'}); err != nil {
				return data, l.fail(err)
			}
			l.torn = false
			l.size++
		}
		n, err := l.f.Write(part)
		if err != nil {
			if n > 0 && l.f.Truncate(l.size) != nil { // the lines that are whole would otherwise be there twice
				whole := bytes.LastIndexByte(part[:n], '\n') + 1
				data, l.torn = data[whole:], whole < n
				l.size += int64(n)
			}
			return data, l.fail(err)
		}
		l.size += int64(n)
		l.dirty = true
		data = data[n:]
	}
	return nil, nil
}

// fail lets go of a file that cannot be written: it may be another one, or on another disk, by the next time.
func (l *Log) fail(err error) error {
	if l.f != os.Stdout {
		err = errors.Join(err, l.f.Close())
	}
	l.f = nil
	return err
}

func (l *Log) open() error {
	if l.o.Path == "-" {
		l.f = os.Stdout
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.o.Path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.o.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size, l.torn = f, info.Size(), false
	if l.size > 0 && info.Mode().IsRegular() { // a crash may have cut the last line off
		var last [1]byte
		if _, err := f.ReadAt(last[:], l.size-1); err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(err, f.Close())
		}
		l.torn = last[0] != '\n'
	}
	return l.prune()
}

// aside is the form of the time in the name of a file that was put aside: audit-2026-01-02T15-04-05.000.log.
const aside = "2006-01-02T15-04-05.000"

func (l *Log) rotate() error {
	if err := errors.Join(l.f.Sync(), l.f.Close()); err != nil {
		l.f = nil
		return err
	}
	l.f = nil
	ext := filepath.Ext(l.o.Path)
	for at := l.o.Now().UTC(); ; at = at.Add(time.Millisecond) {
		name := strings.TrimSuffix(l.o.Path, ext) + "-" + at.Format(aside) + ext
		if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
			if err := os.Rename(l.o.Path, name); err != nil {
				return err
			}
			return l.open()
		} else if err != nil {
			return err
		}
	}
}

// prune removes the files that were put aside and are too old or too many.
func (l *Log) prune() error {
	if l.o.MaxAge <= 0 && l.o.MaxBackups <= 0 {
		return nil
	}
	dir, ext := filepath.Dir(l.o.Path), filepath.Ext(l.o.Path)
	prefix := strings.TrimSuffix(filepath.Base(l.o.Path), ext) + "-"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("old audit logs: %w", err)
	}
	type backup struct {
		name string
		at   time.Time
	}
	var backups []backup
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), prefix)
		if middle, ok2 := strings.CutSuffix(middle, ext); ok && ok2 && e.Type().IsRegular() {
			if at, err := time.Parse(aside, middle); err == nil {
				backups = append(backups, backup{e.Name(), at})
			}
		}
	}
	slices.SortFunc(backups, func(a, b backup) int { return b.at.Compare(a.at) }) // newest first
	for n, b := range backups {
		if l.o.MaxBackups > 0 && n >= l.o.MaxBackups || l.o.MaxAge > 0 && l.o.Now().Sub(b.at) > l.o.MaxAge {
			if err := os.Remove(filepath.Join(dir, b.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("old audit logs: %w", err)
			}
		}
	}
	return nil
}
