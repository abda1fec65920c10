package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"
)

const (
	sampleEvery = time.Second
	sampleKept  = 1000 // of seconds in which something changed: more than the store's history
	sampleSaved = time.Minute
)

// sample says which revision was the newest from a time on.
type sample struct {
	At  time.Time `json:"at"`
	Rev uint64    `json:"rev"`
}

// timeline maps times to revisions, so that people may say "as of five minutes ago". It is kept beside the store, to survive
// a restart; a crash loses the last minute of it, and an older sample answers then.
type timeline struct {
	path string

	mu      sync.Mutex
	samples []sample // by time
}

func openTimeline(dataDir string) *timeline {
	t := &timeline{path: filepath.Join(dataDir, "server", "timeline.json")}
	t.load()
	return t
}

func (t *timeline) load() {
	if data, err := os.ReadFile(t.path); err == nil {
		_ = json.Unmarshal(data, &t.samples) // a help for people, not a truth: what is unreadable begins anew
	}
}

// run takes samples until ctx ends.
func (t *timeline) run(ctx context.Context, revision func() uint64) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	saved := time.Now()
	t.add(sample{time.Now(), revision()})
	for {
		select {
		case <-ctx.Done():
			t.save()
			return nil
		case now := <-tick.C:
			if t.add(sample{now, revision()}); now.Sub(saved) >= sampleSaved {
				saved = now
				t.save()
			}
		}
	}
}

func (t *timeline) add(s sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch n := len(t.samples); {
	case s.Rev == 0 || n > 0 && s.Rev == t.samples[n-1].Rev:
		return
	case n > 0 && s.Rev < t.samples[n-1].Rev:
		t.samples = nil // another store
	}
	if t.samples = append(t.samples, s); len(t.samples) > sampleKept {
		t.samples = slices.Clone(t.samples[len(t.samples)-sampleKept:])
	}
}

// save writes the samples, without waiting for the disk: see timeline.
func (t *timeline) save() {
	t.mu.Lock()
	data, err := json.Marshal(t.samples)
	t.mu.Unlock()
	if err != nil {
		return
	}
	if os.WriteFile(t.path+".new", data, 0o600) == nil {
		_ = os.Rename(t.path+".new", t.path)
	}
}

// at is the newest revision that is known to have been there at a time.
func (t *timeline) at(when time.Time) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := sort.Search(len(t.samples), func(i int) bool { return t.samples[i].At.After(when) })
	switch {
	case n > 0:
		return t.samples[n-1].Rev, nil
	case len(t.samples) == 0:
		return 0, errors.New("no history is known yet; restore from a backup: see 'lighter backup list'")
	}
	return 0, fmt.Errorf("history is known since %s; restore from a backup: see 'lighter backup list'", t.samples[0].At.Local().Format(time.DateTime))
}

// moment reads when somebody means: "5m" ago, a time, or a revision.
func (t *timeline) moment(text string) (uint64, error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
		return n, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return t.at(time.Now().Add(-d.Abs()))
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "15:04:05", "15:04"} {
		when, err := time.ParseInLocation(layout, text, time.Local)
		if err != nil {
			continue
		}
		if when.Year() == 0 { // of today
			now := time.Now()
			when = time.Date(now.Year(), now.Month(), now.Day(), when.Hour(), when.Minute(), when.Second(), 0, time.Local)
		}
		return t.at(when)
	}
	return 0, fmt.Errorf("%q: want how long ago, such as 5m, a time such as %s, or a revision", text, time.DateTime)
}
