// Package inotify waits for changes in one directory. Followed logs and static pods use it.
package inotify

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is one directory under watch. One goroutine may wait at a time.
type Watch struct {
	f    *os.File
	news chan struct{}
	done chan struct{}
}

// New begins to watch the directory.
func New(dir string) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE|unix.IN_CLOSE_WRITE); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	w := &Watch{f: os.NewFile(uintptr(fd), "inotify"), news: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		buf := make([]byte, 4096)
		for {
			if _, err := w.f.Read(buf); err != nil {
				return
			}
			select {
			case w.news <- struct{}{}:
			default:
			}
		}
	}()
	return w, nil
}

// Close ends the watch.
func (w *Watch) Close() {
	w.f.Close()
	<-w.done
}

// Wait returns after a change, or after most anyway. Errors: ctx's.
func (w *Watch) Wait(ctx context.Context, most time.Duration) error {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.news:
	case <-t.C:
	}
	return nil
}
