package storetest

import (
	"context"
	"fmt"
	"sync"
	count "sync/atomic" // a test here is called atomic
	"testing"

	"github.com/lighter-k8s/lighter/store"
)

// follower collects what store.Follow gives until the sentinel, and looks at how it is given.
type follower struct {
	t      *testing.T
	busy   count.Bool
	upTo   store.Revision // by events and marks
	events []store.Event
}

func (f *follower) take(batch []store.Event) bool {
	if !f.busy.CompareAndSwap(false, true) {
		f.t.Error("two are given at once")
	}
	defer f.busy.Store(false)
	if batch[0].Revision <= f.upTo {
		f.t.Errorf("revision %d is given after %d", batch[0].Revision, f.upTo)
	}
	f.upTo = batch[0].Revision
	for n, e := range batch {
		if e.Revision != f.upTo || e.Last != (n == len(batch)-1) {
			f.t.Errorf("event %d of %d at %d is of revision %d, last: %v", n, len(batch), f.upTo, e.Revision, e.Last)
		}
		if e.Key == sentinel {
			return false
		}
		if e.Key != "" {
			f.events = append(f.events, e)
		}
	}
	return true
}

// follows has followers begin before, in the middle of and after what writers do.
func follows(t *testing.T, r *rig) {
	const writers, each = 4, 50
	start := r.newest()
	var writing, following sync.WaitGroup
	var some count.Int64
	middle := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				txn := store.Txn{Class: store.Class(i % 2), Ops: []store.Op{put(fmt.Sprintf("/s/%d", (w+i)%6), fmt.Sprint(w, " ", i))}}
				switch i % 5 {
				case 1:
					txn.Ops = append(txn.Ops, put("/s/9", "x"), put("/t", "x"))
				case 2:
					txn.Ops = []store.Op{put("/t", "x")}
				case 3:
					txn.Ops[0].Value = nil
				}
				if _, err := r.Commit(r.ctx, txn); err != nil {
					t.Errorf("commit: %v", err)
				}
				if some.Add(1) == writers*each/2 {
					close(middle)
				}
			}
		})
	}
	var got []*follower
	follow := func(after store.Revision) {
		f := &follower{t: t, upTo: after}
		got = append(got, f)
		following.Go(func() {
			if err := store.Follow(r.ctx, r.Store, "", after, f.take); err != nil {
				t.Errorf("follow after %d: %v", after, err)
			}
		})
		following.Go(func() {
			under := &follower{t: t, upTo: after}
			if err := store.Follow(r.ctx, r.Store, "/s/", after, func(batch []store.Event) bool {
				if !under.take(batch) {
					return false
				}
				return len(under.events) < 20
			}); err != nil {
				t.Errorf("follow /s/ after %d: %v", after, err)
			}
			var want []store.Event
			for e, err := range watched(r.ctx, r, "/s/", after) {
				if want = append(want, e); err != nil || len(want) == len(under.events) {
					break
				}
			}
			r.same("events under a prefix", under.events, want)
		})
	}
	follow(start)
	<-middle
	follow(start)
	follow(r.newest())
	writing.Wait()
	for n := range 25 { // those who came late have something too
		r.commit(put("/s/late", fmt.Sprint(n)))
	}
	follow(start)
	r.commit(put(sentinel, "x"))
	following.Wait()
	all := r.watch("", start, sentinel)
	for _, f := range got {
		want := all[:len(all)-1]
		for len(want) > len(f.events) {
			want = want[1:]
		}
		r.same("events", f.events, want)
	}
	r.same("events of who followed from the start", len(got[0].events), len(all)-1)
}

// followLeaves: a follower that wants no more, or whose context ended, is called no more, and stops nobody.
func followLeaves(t *testing.T, r *rig) {
	start := r.newest()
	one := r.commit(put("/a", "1"))
	r.commit(put("/a", "2"))
	var got []store.Event
	err := store.Follow(r.ctx, r.Store, "/a", start, func(batch []store.Event) bool {
		got = append(got, batch...)
		return false
	})
	r.same("the first only", got, []store.Event{event("/a", "1", one, true)})
	r.same("its end", err, nil)

	for _, wants := range []bool{true, false} {
		ctx, cancel := context.WithCancel(r.ctx)
		var seen, left count.Bool
		ended := make(chan error)
		go func() {
			err := store.Follow(ctx, r.Store, "/a", r.newest(), func([]store.Event) bool {
				if left.Load() {
					t.Error("is given something after it left")
				}
				seen.Store(true)
				return wants
			})
			left.Store(true)
			ended <- err
		}()
		for n := 0; !seen.Load(); n++ { // until it follows
			r.commit(put("/a", fmt.Sprint(n)))
		}
		if wants {
			cancel()
		}
		err := <-ended
		if wants {
			r.is("the end", err, context.Canceled)
		} else {
			r.same("the end", err, nil)
		}
		for n := range 5 {
			r.commit(put("/a", fmt.Sprint(n)))
		}
		cancel()
	}
}

func followErrors(t *testing.T, r *rig) {
	start := r.newest()
	r.commit(put("/a", "1"))
	r.commit(put("/a", "2"))
	at := r.commit(put("/a", "3"))
	never := func(batch []store.Event) bool {
		t.Errorf("%v is given", batch)
		return false
	}
	r.is("follow the future", store.Follow(r.ctx, r.Store, "/a", at+10, never), store.ErrFuture)
	if err := r.Compact(r.ctx, at); err != nil {
		t.Fatal(err)
	}
	r.is("follow what is compacted", store.Follow(r.ctx, r.Store, "/a", start, never), store.ErrCompacted)
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	r.is("follow with a context that ended", store.Follow(ctx, r.Store, "/a", start, never), context.Canceled)
}
