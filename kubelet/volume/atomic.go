package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names that the writer uses in a volume. Users see <name> -> ..data/<name>, ..data -> a dated
// directory: one rename of ..data changes all files at once.
const (
	dataLink = "..data"
	dataTemp = "..data_tmp"
)

// write makes the files the content of dir, all at once, unless they are already. group, if any, may read them.
func write(dir string, files map[string]file, group *int64, now time.Time) error {
	for path := range files {
		if err := safe(path); err != nil {
			return err
		}
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != "" && (strings.Contains(old, "/") || !strings.HasPrefix(old, "..2")) {
		return fmt.Errorf("volume has a strange %s: %q", dataLink, old)
	}
	if old == "" || !same(filepath.Join(dir, old), files, group) {
		next, err := os.MkdirTemp(dir, now.UTC().Format("..2006_01_02_15_04_05."))
		if err != nil {
			return err
		}
		if err := fill(next, files, group); err != nil {
			return errors.Join(err, os.RemoveAll(next))
		}
		if err := link(dir, dataTemp, filepath.Base(next)); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, dataTemp), filepath.Join(dir, dataLink)); err != nil {
			return err
		}
		if old != "" {
			if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
				return err
			}
		}
	}
	if err := names(dir, files); err != nil {
		return err
	}
	return own(dir, 0o755, true, group)
}

// fill writes the files below dir, which is new.
func fill(dir string, files map[string]file, group *int64) error {
	if err := own(dir, 0o755, true, group); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		at := dir
		parts := strings.Split(path, "/")
		for _, p := range parts[:len(parts)-1] {
			at = filepath.Join(at, p)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := own(at, 0o755, true, group); err != nil {
				return err
			}
		}
		f, full := files[path], filepath.Join(dir, path)
		if err := os.WriteFile(full, f.data, 0o600); err != nil {
			return err
		}
		if f.uid != nil {
			if err := os.Chown(full, int(*f.uid), -1); err != nil {
				return err
			}
		}
		if err := own(full, fs.FileMode(f.mode), false, group); err != nil {
			return err
		}
	}
	return nil
}

// own sets the mode whatever the umask, and lets the group read.
func own(path string, mode fs.FileMode, dir bool, group *int64) error {
	if group != nil {
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return err
		}
		if mode |= 0o440; dir {
			mode |= 0o110 | fs.ModeSetgid
		}
	}
	return os.Chmod(path, mode)
}

// names makes the visible names point into ..data and removes those that have nothing there any more.
func names(dir string, files map[string]file) error {
	want := map[string]bool{}
	for path := range files {
		top, _, _ := strings.Cut(path, "/")
		want[top] = true
	}
	for name := range want {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && to == dataLink+"/"+name {
			continue
		}
		if err := link(dir, name, dataLink+"/"+name); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !want[e.Name()] && !strings.HasPrefix(e.Name(), "..") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func link(dir, name, to string) error {
	full := filepath.Join(dir, name)
	if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(to, full)
}

// same tells whether dir holds exactly the files.
func same(dir string, files map[string]file, group *int64) bool {
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		n++
		rel, _ := filepath.Rel(dir, path)
		f, ok := files[rel]
		if !ok {
			return fs.ErrNotExist
		}
		want := fs.FileMode(f.mode)
		if group != nil {
			want |= 0o440
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !bytes.Equal(data, f.data) || info.Mode().Perm() != want.Perm() {
			return fs.ErrInvalid
		}
		return nil
	})
	return err == nil && n == len(files)
}
