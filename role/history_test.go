package role

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A time is answered with the revision that was the newest then, also after a restart.
func TestTimeline(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		line := &timeline{path: filepath.Join(dir, "timeline.json")}
		ctx, stop := context.WithCancel(t.Context())
		began := time.Now()
		done := make(chan error)
		go func() {
			done <- line.run(ctx, func() uint64 { return uint64(time.Since(began)/(10*time.Second)) * 100 }) // a hundred writes each ten seconds
		}()
		time.Sleep(65*time.Second + time.Millisecond)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		again := &timeline{path: line.path}
		again.load()
		for _, l := range []*timeline{line, again} {
			for text, want := range map[string]uint64{"0s": 600, "4s": 600, "6s": 500, "50s": 100, "1234": 1234} {
				if got, err := l.moment(text); err != nil || got != want {
					t.Errorf("%s: %d, %v, want %d", text, got, err, want)
				}
			}
			for _, text := range []string{"60s", "5m", "soon"} {
				if got, err := l.moment(text); err == nil {
					t.Errorf("%s: %d", text, got)
				}
			}
			if _, err := l.moment("5m"); !strings.Contains(err.Error(), "lighter backup list") {
				t.Error(err)
			}
		}
		line.add(sample{time.Now(), 7}) // another store
		if got, err := line.moment("0s"); err != nil || got != 7 {
			t.Errorf("%d, %v", got, err)
		}
	})
}

func TestDiff(t *testing.T) {
	got := diff("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nD\ne\nf\ng\n")
	if want := "  b\n  c\n- d\n+ D\n  e\n  f\n+ g"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if diff("a\n", "a\n") != "" || diff("", "x\n") != "+ x" {
		t.Error("no difference, or all of it")
	}
}
