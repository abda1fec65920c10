package controller

import (
	"context"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/lighter-k8s/lighter/client"
)

// Delays before a failed key comes back: doubling from firstDelay up to maxDelay.
const (
	firstDelay = 5 * time.Millisecond
	maxDelay   = 30 * time.Second
)

// Queue is a set of keys that wait for work. A key that is added while it is being
// worked on comes back once that is done. Safe for concurrent use.
type Queue struct {
	// Pace is the least time between two turns of one key, so that a stream of changes is looked at together;
	// the first change after a rest is not delayed. Set before use; default none.
	Pace time.Duration

	mu      sync.Mutex
	order   []string
	waiting map[string]time.Time // since when
	working map[string]time.Time // since when; zero: done, and kept back by Pace
	again   map[string]bool      // added while working
	fails   map[string]int
	timers  map[string]*timer
	wake    chan struct{} // closed and replaced when a key arrives
	tally   *tally        // nil: nobody counts
}

type timer struct {
	at time.Time
	t  *time.Timer
}

// NewQueue makes an empty queue.
func NewQueue() *Queue {
	return &Queue{waiting: map[string]time.Time{}, working: map[string]time.Time{}, again: map[string]bool{},
		fails: map[string]int{}, timers: map[string]*timer{}, wake: make(chan struct{})}
}

// Add puts the key in, unless it is already waiting.
func (q *Queue) Add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(key)
}

func (q *Queue) add(key string) {
	if _, waits := q.waiting[key]; waits {
		return
	}
	if q.tally != nil {
		q.tally.adds.Add(1)
	}
	switch _, working := q.working[key]; {
	case working:
		q.again[key] = true
	default:
		q.waiting[key] = time.Now()
		q.order = append(q.order, key)
		close(q.wake)
		q.wake = make(chan struct{})
	}
}

// AddAfter puts the key in after a delay; of several, the earliest counts.
func (q *Queue) AddAfter(key string, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addAfter(key, d)
}

func (q *Queue) addAfter(key string, d time.Duration) {
	at := time.Now().Add(d)
	if old := q.timers[key]; old != nil {
		if !at.Before(old.at) {
			return
		}
		old.t.Stop()
	}
	tm := &timer{at: at}
	tm.t = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.timers[key] == tm {
			delete(q.timers, key)
			q.add(key)
		}
	})
	q.timers[key] = tm
}

// Done ends the work on a key. With an error it comes back after a growing delay.
func (q *Queue) Done(key string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if began := q.working[key]; q.tally != nil && !began.IsZero() {
		q.tally.worked.observe(time.Since(began))
	}
	q.working[key] = time.Time{}
	if err == nil {
		delete(q.fails, key)
	} else {
		n := q.fails[key]
		q.fails[key] = n + 1
		if q.tally != nil {
			q.tally.retries.Add(1)
		}
		q.addAfter(key, min(maxDelay, firstDelay<<min(n, 20)))
	}
	if q.Pace == 0 {
		q.release(key)
		return
	}
	time.AfterFunc(q.Pace, func() { // until then it counts as being worked on
		q.mu.Lock()
		defer q.mu.Unlock()
		q.release(key)
	})
}

// release lets a key be worked on again, at once if it was added meanwhile.
func (q *Queue) release(key string) {
	again := q.again[key]
	delete(q.working, key)
	delete(q.again, key)
	if again {
		q.add(key)
	}
}

// All yields keys as they come, until ctx ends. Each must be given back with Done.
func (q *Queue) All(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		for ctx.Err() == nil {
			q.mu.Lock()
			if len(q.order) == 0 {
				wake := q.wake
				q.mu.Unlock()
				select {
				case <-wake:
				case <-ctx.Done():
				}
				continue
			}
			key := q.order[0]
			q.order = q.order[1:]
			now := time.Now()
			if q.tally != nil {
				q.tally.queued.observe(now.Sub(q.waiting[key]))
			}
			delete(q.waiting, key)
			q.working[key] = now
			q.mu.Unlock()
			if !yield(key) {
				return
			}
		}
	}
}

// Key is how the controllers name an object: "namespace/name", or "name".
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// KeyOf is Key of an object.
func KeyOf(o client.Object) string { return Key(o.GetNamespace(), o.GetName()) }

// SplitKey is the reverse of Key.
func SplitKey(key string) (namespace, name string) {
	if i := strings.IndexByte(key, '/'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}

// Feed adds the keys that keys gives for every change of the view, until ctx ends. keys is handed the
// older and the newer state, either of which may be nil (T's zero).
func Feed[T client.Object](ctx context.Context, q *Queue, v client.TypedView[T], keys func(old, new T) []string) {
	v.Subscribe(ctx, func(old, new T) {
		for _, key := range keys(old, new) {
			q.Add(key)
		}
	})
}

// FeedSelf adds each changed object's own key.
func FeedSelf[T client.Object](ctx context.Context, q *Queue, v client.TypedView[T]) {
	v.View.Subscribe(ctx, func(c client.Change) { q.Add(KeyOf(c.Object())) })
}

// FeedOwner adds the key of the controlling owner, of the given kind, of each changed object.
func FeedOwner[T client.Object](ctx context.Context, q *Queue, v client.TypedView[T], kind string) {
	v.View.Subscribe(ctx, func(c client.Change) {
		for _, o := range []client.Object{c.Old, c.New} {
			if o == nil {
				continue
			}
			for _, ref := range o.GetOwnerReferences() {
				if ref.Controller != nil && *ref.Controller && ref.Kind == kind {
					q.Add(Key(o.GetNamespace(), ref.Name))
				}
			}
		}
	})
}
