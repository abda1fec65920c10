package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// files shows a folder: each file with how many lines it has.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s:%d", e.Name(), bytes.Count(data, []byte{'\n'})))
	}
	return strings.Join(out, " ")
}

func TestRotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "audit")
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	l := NewLog(LogOptions{Path: filepath.Join(dir, "audit.log"), Mode: Blocking, MaxSize: 100, MaxBackups: 2, MaxAge: time.Hour, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	write := func(n int) {
		t.Helper()
		for range n {
			if err := l.write(bytes.Repeat([]byte{'x'}, 39)); err != nil { // two make 80 bytes
				t.Fatal(err)
			}
		}
	}
	want := func(when, s string) {
		t.Helper()
		if got := files(t, dir); got != s {
			t.Errorf("%s: got %s, want %s", when, got, s)
		}
	}
	write(2)
	want("a file that is not full", "audit.log:2")
	write(1)
	want("a file that is full is put aside", "audit-2026-11-26T12-00-00.000.log:2 audit.log:1")
	write(2)
	want("another one in the same millisecond", "audit-2026-11-26T12-00-00.000.log:2 audit-2026-11-26T12-00-00.001.log:2 audit.log:1")
	now = now.Add(time.Minute)
	if err := l.write(bytes.Repeat([]byte{'y'}, 500)); err != nil {
		t.Fatal(err)
	}
	want("a line longer than a file has one; the oldest goes", "audit-2026-11-26T12-00-00.001.log:2 audit-2026-11-26T12-01-00.000.log:1 audit.log:1")
	for _, name := range []string{"audit-notes.log", "another-2026-11-26T12-00-00.000.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(2 * time.Hour)
	write(1)
	want("those that are too old go, others' files stay", "another-2026-11-26T12-00-00.000.log:0 audit-2026-11-26T14-01-00.000.log:1 audit-notes.log:0 audit.log:1")
	for _, name := range []string{"", "audit.log"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q can be read by others: %v", name, info.Mode())
		}
	}
}

// TestTorn: a line that a crash cut off does not spoil the next one.
func TestTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("{\"a\":1}\n{\"b\""), 0o600); err != nil {
		t.Fatal(err)
	}
	l := NewLog(LogOptions{Path: path, Mode: Blocking, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	for _, s := range []string{"{}", "[]"} {
		if err := l.write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if data, _ := os.ReadFile(path); string(data) != "{\"a\":1}\n{\"b\"\n{}\n[]\n" {
		t.Errorf("%q", data)
	}
}

// TestWithinASecond: what was written more than a second ago is in the file, and all is at the end.
func TestWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		l := NewLog(LogOptions{Path: path, Mode: Batch, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.run(ctx) }()
		lines := func() int {
			synctest.Wait()
			data, _ := os.ReadFile(path)
			return bytes.Count(data, []byte{'\n'})
		}
		for round := range 3 {
			if err := l.write([]byte("{}")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(flushEvery - 1)
			if got := lines(); got != round {
				t.Errorf("just before a second: %d lines, want %d", got, round)
			}
			time.Sleep(1)
			if got := lines(); got != round+1 {
				t.Errorf("after a second: %d lines, want %d", got, round+1)
			}
		}
		for range flushFrom / 1000 {
			_ = l.write(bytes.Repeat([]byte{'x'}, 1023))
		}
		if got := lines(); got < 50 {
			t.Errorf("much at once is not written at once: %d lines", got)
		}
		end()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := lines(); got != 3+flushFrom/1000 {
			t.Errorf("at the end: %d lines", got)
		}
	})
}

// said collects what is logged.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), text)
}

// TestFull: a full disk (the kernel's own, /dev/full) stops nobody, is said once, loses nothing that fits the buffer, and in the
// strict mode refuses. When there is room again, what waited comes first.
func TestFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	for _, mode := range Modes {
		t.Run(string(mode), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			if err := os.Symlink("/dev/full", path); err != nil {
				t.Fatal(err)
			}
			var log said
			var dropped int
			l := NewLog(LogOptions{Path: path, Mode: mode, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now})
			trail := New(everything(Metadata), time.Now, l, nil)
			trail.policy.OmitStages = []Stage{RequestReceived}
			l.dropped = func(n int) { dropped += n }
			request := func(agent string) error {
				a := ask(t, "joe: create pods in shop")
				e := &Event{ID: NewID(), UserAgent: agent}
				if err := trail.Begin(e, &a); err != nil {
					return err
				}
				_ = e.Reached(ResponseComplete, 201)
				if mode == Batch {
					_ = l.flush()
				}
				return nil
			}
			if err := request("first"); err != nil {
				t.Errorf("the first request, of which nobody knew: %v", err)
			}
			for range 3 {
				if err := request("next"); (err != nil) != (mode == BlockingStrict) {
					t.Errorf("a request with a full disk: %v", err)
				}
			}
			if n := log.count("cannot be written"); n != 1 {
				t.Errorf("said %d times", n)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := request("last"); err != nil {
				t.Errorf("a request with room again: %v", err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var agents []string
			for line := range strings.Lines(string(data)) {
				_, rest, _ := strings.Cut(line, `"userAgent":"`)
				agent, _, _ := strings.Cut(rest, `"`)
				agents = append(agents, agent)
			}
			want := []string{"first", "next", "next", "next", "last"}
			if mode == BlockingStrict {
				want = []string{"first", "last"}
			}
			if !slices.Equal(agents, want) || dropped != 0 || log.count("written again") != 1 {
				t.Errorf("got %v, %d dropped: %s", agents, dropped, &log.text)
			}
		})
	}
}

// TestBounded: a disk that takes nothing costs no more memory than is said.
func TestBounded(t *testing.T) {
	l := NewLog(LogOptions{Path: filepath.Join(t.TempDir(), "audit.log"), Mode: Batch, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	dropped := 0
	l.dropped = func(n int) { dropped += n }
	line := bytes.Repeat([]byte{'x'}, 1023)
	const lines = 2 * held / 1024
	for range lines {
		_ = l.write(line)
	}
	kept := 0
	for _, c := range l.chunks {
		kept += cap(c)
	}
	if dropped < lines/2 || dropped > lines/2+1 || kept > held+held/8 {
		t.Errorf("%d of %d dropped, %d bytes kept", dropped, lines, kept)
	}
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	if l.waits != 0 || l.write(line) != nil {
		t.Errorf("%d bytes wait after all is written", l.waits)
	}
}
