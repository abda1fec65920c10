package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// worker takes keys for as long as the test runs, and notes when.
type worker struct {
	mu    sync.Mutex
	turns []time.Duration
	since time.Time
}

func (w *worker) times() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.turns)
}

func work(ctx context.Context, q *Queue, do func(key string) error) *worker {
	w := &worker{since: time.Now()}
	go func() {
		for key := range q.All(ctx) {
			w.mu.Lock()
			w.turns = append(w.turns, time.Since(w.since))
			w.mu.Unlock()
			q.Done(key, do(key))
		}
	}()
	return w
}

func TestQueue(t *testing.T) {
	const ms = time.Millisecond
	tests := map[string]struct {
		pace time.Duration
		feed func(q *Queue)
		do   func(turn int) error
		want []time.Duration // when the key's turns began, within the first second
	}{
		"a key that was added twice is worked on once": {feed: func(q *Queue) { q.Add("k"); q.Add("k") }, want: []time.Duration{0}},
		"added while worked on, it comes back after": {
			feed: func(q *Queue) { q.Add("k"); time.Sleep(ms); q.Add("k"); q.Add("k") },
			do:   func(int) error { time.Sleep(10 * ms); return nil }, want: []time.Duration{0, 10 * ms}},
		"failed, it comes back ever later": {
			feed: func(q *Queue) { q.Add("k") }, do: func(n int) error { return fault(n < 4) },
			want: []time.Duration{0, 5 * ms, 15 * ms, 35 * ms}},
		"success forgets the failures": {
			feed: func(q *Queue) { q.Add("k"); time.Sleep(100 * ms); q.Add("k") }, do: func(n int) error { return fault(n == 1 || n == 3) },
			want: []time.Duration{0, 5 * ms, 100 * ms, 105 * ms}},
		"of delays the shortest counts": {
			feed: func(q *Queue) { q.AddAfter("k", 50*ms); q.AddAfter("k", 20*ms); q.AddAfter("k", 30*ms) }, want: []time.Duration{20 * ms}},
		"with a pace, changes are looked at together": {pace: 20 * ms,
			feed: func(q *Queue) {
				for range 50 {
					q.Add("k")
					time.Sleep(ms)
				}
			}, want: []time.Duration{0, 20 * ms, 40 * ms, 60 * ms}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := NewQueue()
				q.Pace = tt.pace
				turn := 0
				w := work(t.Context(), q, func(string) error {
					if turn++; tt.do != nil {
						return tt.do(turn)
					}
					return nil
				})
				tt.feed(q)
				time.Sleep(time.Second)
				synctest.Wait()
				if got := w.times(); !slices.Equal(got, tt.want) {
					t.Errorf("turns at %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func fault(yes bool) error {
	if yes {
		return errors.New("no")
	}
	return nil
}

func TestQueueNeverSharesAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue()
		var mu sync.Mutex
		busy, twice, turns := map[string]bool{}, 0, 0
		for range 8 {
			work(t.Context(), q, func(key string) error {
				mu.Lock()
				if busy[key] {
					twice++
				}
				busy[key] = true
				turns++
				mu.Unlock()
				time.Sleep(3 * time.Millisecond)
				mu.Lock()
				busy[key] = false
				mu.Unlock()
				return nil
			})
		}
		for i := range 300 {
			q.Add(string(rune('a' + i%5)))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if twice > 0 || turns < 300/4 {
			t.Errorf("%d turns, %d of them while another worked on the key", turns, twice)
		}
	})
}
