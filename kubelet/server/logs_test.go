package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func entry(n int, text string) string {
	return time.Date(2026, 11, 1, 12, 0, n, 0, time.UTC).Format(time.RFC3339Nano) + " " + text + "\n"
}

func TestCopyLog(t *testing.T) {
	log := entry(0, "stdout F one") + entry(1, "stderr F two") + entry(2, "stdout P thr") + entry(3, "stdout F ee") + "broken\n" + entry(4, "stdout F ")
	n := func(i int64) *int64 { return &i }
	tests := map[string]struct {
		o         LogOptions
		out, errs string
	}{
		"all":             {LogOptions{}, "one\nthree\n\n", "two\n"},
		"one stream":      {LogOptions{Streams: "Stderr"}, "", "two\n"},
		"the last lines":  {LogOptions{Tail: n(2)}, "\n", ""},
		"none":            {LogOptions{Tail: n(0)}, "", ""},
		"more than there": {LogOptions{Tail: n(100)}, "one\nthree\n\n", "two\n"},
		"with times":      {LogOptions{Timestamps: true}, "2026-11-01T12:00:00Z one\n2026-11-01T12:00:02Z three\n2026-11-01T12:00:04Z \n", "2026-11-01T12:00:01Z two\n"},
		"since":           {LogOptions{Since: time.Date(2026, 11, 1, 12, 0, 2, 0, time.UTC)}, "three\n\n", ""},
		"a few bytes":     {LogOptions{LimitBytes: n(5)}, "one\n", "t"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "0.log")
			if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if err := CopyLog(t.Context(), path, tt.o, nil, &out, &errs); err != nil || out.String() != tt.out || errs.String() != tt.errs {
				t.Errorf("got %q, %q, %v", out.String(), errs.String(), err)
			}
		})
	}
}

// lines counts whole lines and tells of each.
type lines struct {
	mu   sync.Mutex
	b    strings.Builder
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.b.Write(p)
	l.mu.Unlock()
	l.more <- struct{}{}
	return len(p), nil
}

func TestFollowAcrossRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, text)
		f.Close()
	}
	write(entry(0, "stdout F 0"))
	out := &lines{more: make(chan struct{}, 100)}
	over, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- CopyLog(context.Background(), path, LogOptions{Follow: true}, func() bool {
			select {
			case <-over:
				return true
			default:
				return false
			}
		}, out, out)
	}()
	<-out.more
	for i := 1; i < 10; i++ {
		if i%3 == 0 {
			write(entry(i, "stdout F last before rotation"))
			if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
				t.Fatal(err)
			}
			<-out.more
		}
		write(entry(i, fmt.Sprint("stdout F ", i)))
		<-out.more
	}
	write(entry(10, "stdout F end"))
	close(over)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r := "last before rotation\n"
	if got, want := out.b.String(), "0\n1\n2\n"+r+"3\n4\n5\n"+r+"6\n7\n8\n"+r+"9\nend\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAttributes(t *testing.T) {
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/exec/ns/p/c", "create proxy"}, {"POST", "/exec/ns/p/c", "create proxy"}, {"GET", "/attach/ns/p/c", "create proxy"}, {"GET", "/portForward/ns/p", "create proxy"},
		{"GET", "/containerLogs/ns/p/c", "get proxy"}, {"GET", "/stats/summary", "get stats"}, {"GET", "/metrics/resource", "get metrics"}, {"GET", "/metricsx", "get proxy"},
		{"GET", "/pods", "get pods or get proxy"}, {"GET", "/healthz", "get healthz or get proxy"}, {"DELETE", "/x", "delete proxy"},
	} {
		var got []string
		for _, a := range attributes("n1", httptest.NewRequest(tt.method, tt.path, nil)) {
			got = append(got, a.Verb+" "+a.Subresource)
		}
		if s := strings.Join(got, " or "); s != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.path, s, tt.want)
		}
	}
}
