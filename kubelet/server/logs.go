package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lighter-k8s/lighter/kubelet/inotify"
)

// LogOptions choose what of a log is wanted. Nil pointers mean without limit.
type LogOptions struct {
	Follow, Timestamps, Previous bool
	Tail, LimitBytes             *int64
	Since                        time.Time // zero: from the beginning
	Streams                      string    // "Stdout", "Stderr" or "" for both
}

// idle is how often a followed log is looked at when the kernel does not tell of a change.
const idle = time.Second

// CopyLog copies a container's log in CRI format to out and errs. With Follow it goes on, across rotation,
// until ended says that the container will write no more (and all is copied) or ctx ends.
func CopyLog(ctx context.Context, path string, o LogOptions, ended func() bool, out, errs io.Writer) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if o.Tail != nil {
		at, err := tail(f, *o.Tail)
		if err != nil {
			return err
		}
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	c := &copier{o: o, out: out, errs: errs, left: -1}
	if o.LimitBytes != nil {
		c.left = *o.LimitBytes
	}
	if !o.Follow {
		return c.all(f)
	}
	watch, err := inotify.New(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	defer watch.Close()
	for {
		over := ended == nil || ended()
		if err := c.all(f); err != nil {
			return err
		}
		if c.left == 0 {
			return nil
		}
		if rotated(f, path) { // all that went into the old file has been copied, or will be now
			if err := c.all(f); err != nil {
				return err
			}
			next, err := open(path)
			if err == nil {
				f.Close()
				f = next
				c.rest = nil
				continue
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if over {
			return nil
		}
		flush(out)
		flush(errs)
		if err := watch.Wait(ctx, idle); err != nil {
			return nil // the reader has gone
		}
	}
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
}

// rotated tells whether path is another file now.
func rotated(f *os.File, path string) bool {
	a, err := f.Stat()
	b, err2 := os.Stat(path)
	return err == nil && (err2 != nil || !os.SameFile(a, b))
}

func flush(w io.Writer) {
	if f, ok := w.(interface{ Flush() }); ok {
		f.Flush()
	}
}

// copier writes the wanted part of log lines.
type copier struct {
	o         LogOptions
	out, errs io.Writer
	left      int64  // bytes still allowed, or -1
	rest      []byte // a line without its end yet
	within    bool   // the last entry was a part of a line
}

// all copies what is there up to the end of the file.
func (c *copier) all(f io.Reader) error {
	r := bufio.NewReaderSize(f, 32<<10)
	for c.left != 0 {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull || err == io.EOF {
			c.rest = append(c.rest, line...)
			if err == io.EOF {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		if len(c.rest) > 0 {
			line = append(c.rest, line...)
			c.rest = nil
		}
		if err := c.line(line); err != nil {
			return err
		}
	}
	return nil
}

// line copies one entry: "<RFC3339Nano> <stdout|stderr> <F|P>[:...] <text>\n". One that is malformed is skipped.
func (c *copier) line(b []byte) error {
	stamp, rest, ok := bytes.Cut(b, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tags, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !ok3 {
		return nil
	}
	if !c.o.Since.IsZero() {
		if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil && at.Before(c.o.Since) {
			return nil
		}
	}
	partial := tags[0] == 'P'
	if partial {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	w := c.out
	if string(stream) == "stderr" {
		w = c.errs
	}
	if c.o.Streams != "" && !strings.EqualFold(c.o.Streams, string(stream)) || w == nil {
		return nil
	}
	var line []byte
	if c.o.Timestamps && !c.within {
		line = append(append(line, stamp...), ' ')
	}
	c.within = partial
	line = append(line, text...)
	if c.left >= 0 {
		line = line[:min(int64(len(line)), c.left)]
		c.left -= int64(len(line))
	}
	_, err := w.Write(line)
	return err
}

// tail finds where the last n lines of f begin. Parts of one line count as the lines they are stored as.
func tail(f *os.File, n int64) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return end, err
	}
	const block = 32 << 10
	buf := make([]byte, block)
	count := int64(0)
	for at := end; at > 0; {
		size := min(at, block)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil && err != io.EOF {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 {
				continue
			}
			if count++; count == n {
				return at + i + 1, nil
			}
		}
	}
	return 0, nil
}
