package watch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// follow reads a watcher until nothing is missing up to a revision.
func follow(t testing.TB, w *watch.Watcher, f *watch.Filter, until uint64) (out []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen := uint64(0)
	for seen < until {
		events, upTo, err := w.Take(nil)
		for _, e := range events {
			if e.Revision <= seen {
				t.Errorf("an event at %d, after all up to %d was shown", e.Revision, seen)
			}
			if kind, item := e.For(f); item != nil {
				out = append(out, fmt.Sprintf("%s %s/%s@%d", kind, item.Namespace, item.Name, item.Revision))
			}
		}
		if err != nil {
			return out, err
		}
		if upTo < seen {
			t.Errorf("complete up to %d, after %d", upTo, seen)
		}
		if seen = upTo; seen >= until {
			break
		}
		select {
		case <-w.Wake():
		case <-ctx.Done():
			return out, fmt.Errorf("nothing after %d, up to %d", seen, until)
		}
	}
	return out, nil
}

// TestPast: a server that has just begun remembers nothing; a watch goes on from any revision that the store has, through
// what happens meanwhile, without a gap and without a repeat.
func TestPast(t *testing.T) {
	random := seeded(t, 3)
	old := start(t)
	s := &story{world: map[string]*corev1.Pod{}}
	for len(s.log) < 300 {
		s.next(old, random)
	}
	r := startOn(t, old.store, time.Now)
	for range 150 {
		from := s.log[random.IntN(len(s.log))].at
		f := storyFilters[random.IntN(len(storyFilters))]
		w, err := r.state.Watch(t.Context(), core.Pod, f, from)
		if err != nil {
			t.Fatal(err)
		}
		if w.Begin() != from {
			t.Errorf("it begins after %d, want %d", w.Begin(), from)
		}
		for !s.next(r, random) {
		}
		got, err := follow(t, w, &f, s.end())
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if want := s.after(f, from); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("from %d filter %+v:\n got %v\nwant %v", from, f, got, want)
		}
	}
	if err := old.state.Wait(t.Context(), s.end()); err != nil { // or it is what is told that the past is gone
		t.Fatal(err)
	}
	if err := r.store.Compact(t.Context(), store.Revision(s.end())); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.log[:50] {
		if _, err := r.state.Watch(t.Context(), core.Pod, watch.Filter{}, e.at); !errors.Is(err, watch.ErrExpired) {
			t.Fatalf("from %d, which is compacted: %v", e.at, err)
		}
	}
}

// TestPastOfAnother: nothing happened to what is watched, and a lot to other resources; the watch gets there all the same.
func TestPastOfAnother(t *testing.T) {
	old := start(t)
	from := old.put("a", "p", pod("a", "p", "n1", "x"))
	for n := range 50 {
		value, err := api.EncodeStored(core.ConfigMap, &corev1.ConfigMap{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.ConfigMap, "a", fmt.Sprint("c", n)), Value: value}}}); err != nil {
			t.Fatal(err)
		}
	}
	r := startOn(t, old.store, time.Now)
	f := watch.Filter{Namespace: "a", Name: "p"}
	w, err := r.state.Watch(t.Context(), core.Pod, f, from)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, err := follow(t, w, &f, from+50); err != nil || got != nil {
		t.Errorf("got %v (%v)", got, err)
	}
	at := r.put("a", "p", nil)
	if got, err := follow(t, w, &f, at); err != nil || fmt.Sprint(got) != fmt.Sprintf("[DELETED a/p@%d]", at) {
		t.Errorf("got %v (%v)", got, err)
	}
}

// TestPastSlowly: a reader is so slow that memory's log, to which the store's history had brought it, is gone when it
// comes: history again, and all of it once. What is compacted before it was read ends the watch.
func TestPastSlowly(t *testing.T) {
	old := start(t)
	big := strings.Repeat("x", 200<<10)
	n := 0
	write := func(r *rig, times int) (last uint64) {
		for range times {
			p := pod("a", fmt.Sprint("p", n%5), "", "x")
			p.Annotations = map[string]string{"big": big}
			last = r.put("a", p.Name, p)
			n++
		}
		return last
	}
	from := write(old, 1)
	write(old, 10)
	r := startOn(t, old.store, time.Now)
	f := watch.Filter{}
	w, err := r.state.Watch(t.Context(), core.Pod, f, from)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	got, err := follow(t, w, &f, from+1)
	if err != nil {
		t.Fatal(err)
	}
	last := write(r, 100) // 20 MB
	more, err := follow(t, w, &f, last)
	if err != nil {
		t.Fatal(err)
	}
	if got = append(got, more...); len(got) != int(last-from) {
		t.Errorf("%d events between %d and %d: %v", len(got), from, last, got)
	}

	late, err := r.state.Watch(t.Context(), core.Pod, f, from)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := old.state.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Compact(t.Context(), store.Revision(last)); err != nil {
		t.Fatal(err)
	}
	if got, err := follow(t, late, &f, last); !errors.Is(err, watch.ErrExpired) || len(got) > 3 {
		t.Errorf("compacted while it read: %d events, %v", len(got), err)
	}
}

// TestPastEnds: a watcher is closed, or its request ends, at any time.
func TestPastEnds(t *testing.T) {
	old := start(t)
	from := old.put("a", "p", pod("a", "p", "", "x"))
	for range 500 {
		old.put("a", "p", pod("a", "p", "", strings.Repeat("x", 60)))
	}
	r := startOn(t, old.store, time.Now)
	var group sync.WaitGroup
	for n := range 40 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, err := r.state.Watch(ctx, core.Pod, watch.Filter{}, from)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			for range n / 2 {
				if _, _, err := w.Take(nil); err != nil {
					t.Error(err)
				}
			}
			if cancel(); n%3 == 0 { // one whose reader does not know yet
				if _, _, err := w.Take(nil); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// TestPastInBytes: many readers who take nothing more hold little of a long history.
func TestPastInBytes(t *testing.T) {
	const readers = 200
	db := memory.New()
	old := startOn(t, db, time.Now)
	from := old.put("a", "p", pod("a", "p", "", "x"))
	p := pod("a", "p", "", "x")
	p.Annotations = map[string]string{"big": strings.Repeat("x", 10<<10)}
	for range 2000 { // 20 MB
		old.put("a", "p", p)
	}
	r := startOn(t, db, time.Now)
	before := held()
	for range readers {
		w, err := r.state.Watch(t.Context(), core.Pod, watch.Filter{}, from)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, _, err := w.Take(nil); err != nil {
			t.Fatal(err)
		}
		<-w.Wake()
	}
	each := (held() - before) / readers
	t.Logf("%d bytes each", each)
	if each > 150<<10 {
		t.Errorf("a reader who takes nothing holds %d bytes of the past", each)
	}
}
