package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/store"
)

const sentinel = "/z/end"

func watchOrder(t *testing.T, r *rig) {
	start := r.newest()
	one := r.commit(put("/w/b", "1"), put("/w/a", "1"), put("/x", "1"))
	two := r.commit(put("/w/a", "2"))
	three := r.commit(del("/w/a"), del("/w/none"))
	end := r.commit(put(sentinel, "x"))
	r.same("all events", r.watch("", start, sentinel), []store.Event{
		event("/w/a", "1", one, false), event("/w/b", "1", one, false), event("/x", "1", one, true),
		event("/w/a", "2", two, true), event("/w/a", "", three, true), event(sentinel, "x", end, true),
	})
	at := r.commit(put("/w/a", "3"), put("/y", "1"))
	last := r.commit(put("/w/z", "x"))
	r.same("events under a prefix", r.watch("/w/", start, "/w/z"), []store.Event{
		event("/w/a", "1", one, false), event("/w/b", "1", one, true), event("/w/a", "2", two, true),
		event("/w/a", "", three, true), event("/w/a", "3", at, true), event("/w/z", "x", last, true),
	})
}

func watchLast(t *testing.T, r *rig) {
	start := r.newest()
	at := r.commit(put("/a/1", "x"), put("/a/2", "x"), put("/b/1", "x"))
	end := r.commit(put("/a/3", "x"), put("/b/end", "x"))
	r.same("the prefix's last, not the transaction's", r.watch("/a/", start, "/a/3"), []store.Event{
		event("/a/1", "x", at, false), event("/a/2", "x", at, true), event("/a/3", "x", end, true),
	})
	r.same("the other prefix", r.watch("/b/", start, "/b/end"), []store.Event{
		event("/b/1", "x", at, true), event("/b/end", "x", end, true),
	})
}

// watchLeaves: a reader leaves just when its context ends, and is given nothing more, no error either.
func watchLeaves(t *testing.T, r *rig) {
	start := r.newest()
	r.commit(put("/a", "1"))
	r.commit(put("/a", "2"))
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	for range r.Watch(ctx, "/a", start) {
		cancel()
		time.Sleep(10 * time.Millisecond) // for whoever minds
		break
	}
}

func watchResume(t *testing.T, r *rig) {
	start := r.newest()
	story(r)
	r.commit(put(sentinel, "x"))
	all := r.watch("/", start, sentinel)
	for i, e := range all {
		if e.Last && i+1 < len(all) {
			r.same(fmt.Sprintf("events after %d", e.Revision), r.watch("/", e.Revision, sentinel), all[i+1:])
		}
	}
}

func watchCompacted(t *testing.T, r *rig) {
	start := r.newest()
	_, revisions := story(r)
	r.commit(put(sentinel, "x"))
	all := r.watch("/", start, sentinel)
	for _, i := range []int{2, 5, 6, 9} { // 5 is a delete
		before := revisions[i]
		if err := r.Compact(r.ctx, before); err != nil {
			t.Fatal(err)
		}
		for _, after := range revisions[i-2 : i+1] {
			if after+1 < before {
				n := 0
				for _, err := range watched(r.ctx, r, "/", after) {
					n++
					r.is(fmt.Sprintf("watch after %d, compacted before %d", after, before), err, store.ErrCompacted)
				}
				r.same("yields", n, 1)
				continue
			}
			var want []store.Event
			for _, e := range all {
				if e.Revision > after {
					want = append(want, e)
				}
			}
			r.same(fmt.Sprintf("watch after %d, compacted before %d", after, before), r.watch("/", after, sentinel), want)
		}
	}
}

func watchWaits(t *testing.T, r *rig) {
	at := r.newest()
	seen := make(chan store.Event)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for e, err := range watched(ctx, r, "/a", at) {
			if err != nil {
				return
			}
			seen <- e
		}
	})
	for i := range 5 {
		r.commit(put("/b", "1"))
		at := r.commit(put("/a", fmt.Sprint(i)))
		r.same("event", <-seen, event("/a", fmt.Sprint(i), at, true))
	}
	cancel()
	watcher.Wait()
}

func watchEnds(t *testing.T, r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	at := r.commit(put("/a", "1"))
	var got []error
	for _, err := range watched(ctx, r, "/a", at-1) {
		got = append(got, err)
		cancel()
	}
	if len(got) != 2 || got[0] != nil {
		t.Fatalf("got %v, want an event and an error", got)
	}
	r.is("the end", got[1], context.Canceled)
	for range watched(r.ctx, r, "/a", at-1) {
		break // a reader may leave
	}
}

// watchSlow reads while writers write, and compares with what they wrote.
func watchSlow(t *testing.T, r *rig) {
	const writers, each = 4, 60
	start := r.newest()
	var mu sync.Mutex
	want := map[store.Revision]string{}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				key := fmt.Sprintf("/s/%d", (w+i)%6)
				at, err := r.Commit(r.ctx, store.Txn{Ops: []store.Op{put(key, fmt.Sprint(w, " ", i))}, Class: store.Class(i % 2)})
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				mu.Lock()
				want[at] = fmt.Sprintf("%s=%d %d", key, w, i)
				mu.Unlock()
			}
		})
	}
	var watchers sync.WaitGroup
	for range 3 {
		watchers.Go(func() {
			got := map[store.Revision]string{}
			newest := start
			for e, err := range watched(r.ctx, r, "/s/", start) {
				if err != nil {
					t.Errorf("watch: %v", err)
					return
				}
				if e.Revision <= newest {
					t.Errorf("revision %d comes after %d", e.Revision, newest)
				}
				newest = e.Revision
				if got[e.Revision] = fmt.Sprintf("%s=%s", e.Key, e.Value); len(got) == writers*each {
					break
				}
				// What a watch has shown, every read shows.
				if now, err := r.Get(r.ctx, e.Key, 0); err != nil || now.Revision < e.Revision {
					t.Errorf("read %d (%v) after the event of %d", now.Revision, err, e.Revision)
				}
			}
			group.Wait() // all are acknowledged
			mu.Lock()
			defer mu.Unlock()
			r.same("events", got, want)
		})
	}
	group.Wait()
	watchers.Wait()
}

// watchMarks: who watches under a prefix where nothing happens is told how far that is true.
func watchMarks(t *testing.T, r *rig) {
	start := r.newest()
	one := r.commit(put("/a", "1"))
	at := r.commit(put("/b", "1"))
	r.newest() // etcd says so to those alone who ask
	got := []store.Event{}
	for e, err := range r.Watch(r.ctx, "/a", start) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); e.Revision >= at {
			break
		}
	}
	r.same("an event and a mark", got, []store.Event{event("/a", "1", one, true), event("", "", at, true)})
}
