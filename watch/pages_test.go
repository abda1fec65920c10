package watch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// TestPagesAsOfARevision: memory shows a resource as of an older revision while nothing of it has changed since, and says
// when it cannot.
func TestPagesAsOfARevision(t *testing.T) {
	r := start(t)
	for n := range 5 {
		r.put("n", fmt.Sprint("p", n), pod("n", fmt.Sprint("p", n), "", "a"))
	}
	at := r.state.Revision()
	page := func(after string) string {
		items, left, ok := r.state.ListPageAt(core.Pod, watch.Filter{}, watch.Page{After: after, Limit: 2}, at)
		if !ok {
			return "no"
		}
		text := fmt.Sprint(left)
		for _, i := range items {
			text += " " + i.Name
		}
		return text
	}
	check := func(what, after, want string) {
		t.Helper()
		if got := page(after); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("the first page", "", "3 p0 p1")
	if _, err := r.store.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.ConfigMap, "n", "c"), Value: []byte(`{"kind":"ConfigMap","apiVersion":"v1"}`), Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.state.Now(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("another resource has changed", "n/p1", "1 p2 p3")
	if _, _, ok := r.state.ListPageAt(core.Pod, watch.Filter{}, watch.Page{}, r.state.Revision()+1); ok {
		t.Error("a revision that is not there yet was shown")
	}
	r.put("n", "p4", nil)
	check("a pod has gone", "n/p1", "no")
	at = r.state.Revision()
	check("as of its end", "n/p1", "0 p2 p3")
}

// TestRest: events go with time where nobody writes any more, and the newest objects stay.
func TestRest(t *testing.T) {
	now := time.Now()
	r := startOn(t, memory.New(), func() time.Time { return now })
	first := r.put("n", "p", pod("n", "p", "", "a"))
	r.put("n", "p", pod("n", "p", "", "b"))
	r.state.Rest()
	if w, err := r.state.Watch(t.Context(), core.Pod, watch.Filter{}, first); err != nil {
		t.Errorf("a watch from a moment ago: %v", err)
	} else {
		w.Close()
	}
	now = now.Add(time.Hour)
	r.state.Rest()
	if err := r.store.Compact(t.Context(), store.Revision(r.state.Revision())); err != nil { // else the store still has them
		t.Fatal(err)
	}
	if _, err := r.state.Watch(t.Context(), core.Pod, watch.Filter{}, first); !errors.Is(err, watch.ErrExpired) {
		t.Errorf("a watch from an hour ago: %v, want that it is too old", err)
	}
	if i := r.state.Get(core.Pod, "n", "p"); i == nil || i.Name != "p" {
		t.Errorf("the pod is %v", i)
	}
}
