package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Shelf is where backups lie: a Folder or a Bucket.
type Shelf interface {
	// Put keeps a file, whole or not at all, and durably.
	Put(ctx context.Context, name string, from *os.File) error
	// Get opens a backup.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List gives what is there, without order.
	List(ctx context.Context) ([]Stored, error)
	Remove(ctx context.Context, name string) error
	// Where is a backup's full name.
	Where(name string) string
}

// Stored is a backup on a shelf.
type Stored struct {
	Name string
	Size int64
	Time time.Time
}

// Folder is a shelf on disk; it is made when something is put there.
type Folder string

// Put implements Shelf. A file that lies in the folder already is renamed, others are copied.
func (f Folder) Put(_ context.Context, name string, from *os.File) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	path := from.Name()
	if filepath.Dir(path) != filepath.Clean(string(f)) {
		to, err := os.CreateTemp(string(f), unfinished)
		if err != nil {
			return err
		}
		path = to.Name()
		defer os.Remove(path) // once it is renamed, nothing
		_, err = from.Seek(0, io.SeekStart)
		if err == nil {
			_, err = io.Copy(to, from)
		}
		if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
			return err
		}
	}
	if err := os.Rename(path, filepath.Join(string(f), name)); err != nil {
		return err
	}
	d, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get implements Shelf.
func (f Folder) Get(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), name))
}

// List implements Shelf.
func (f Folder) List(context.Context) ([]Stored, error) {
	entries, err := os.ReadDir(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var out []Stored
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), Suffix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it was removed meanwhile
		}
		out = append(out, Stored{e.Name(), info.Size(), info.ModTime()})
	}
	return out, err
}

// Remove implements Shelf.
func (f Folder) Remove(_ context.Context, name string) error {
	return os.Remove(filepath.Join(string(f), name))
}

// Where implements Shelf.
func (f Folder) Where(name string) string { return filepath.Join(string(f), name) }

// Keep has produce write a backup and puts it on a shelf, checked: what was written is read back and must be whole. name gives
// its name when its revision is known; scratch is a folder for it meanwhile.
func Keep(ctx context.Context, s Shelf, scratch string, name func(Summary) string, produce func(io.Writer) error) (where string, info Info, err error) {
	if f, ok := s.(Folder); ok {
		scratch = string(f)
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return "", info, err
	}
	sweep(scratch)
	file, err := os.CreateTemp(scratch, unfinished) // with mode 0600
	if err != nil {
		return "", info, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		os.Remove(file.Name()) // where it was renamed, nothing
	}()
	if err := errors.Join(produce(file), file.Sync()); err != nil {
		return "", info, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", info, err
	}
	if info, err = Verify(file); err != nil {
		return "", info, fmt.Errorf("read back: %w", err)
	}
	n := name(info.Summary)
	if err := s.Put(ctx, n, file); err != nil {
		return "", info, err
	}
	if _, ok := s.(Folder); !ok {
		r, err := s.Get(ctx, n)
		if err != nil {
			return "", info, fmt.Errorf("read back: %w", err)
		}
		_, err = Verify(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return "", info, fmt.Errorf("read back: %w", err)
		}
	}
	return s.Where(n), info, nil
}

// unfinished is how backups are called that are being written.
const unfinished = ".backup-*"

// sweep removes what a crash left unfinished, a day ago or earlier.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, unfinished)) // the pattern is right
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(path) // the next time, then
		}
	}
}
