package watch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/fields"

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

// TestCounts: what lists look at is counted, whether an index finds it or they walk, and what they give.
func TestCounts(t *testing.T) {
	r := start(t)
	for n := range 100 {
		r.put(fmt.Sprint("n", n%2), fmt.Sprint("p", n), pod(fmt.Sprint("n", n%2), fmt.Sprint("p", n), fmt.Sprint("m", n%20), "a"))
	}
	list := func(f watch.Filter, p watch.Page) { r.state.ListPage(core.Pod, f, p) }
	for _, tt := range []struct {
		what           string
		list           func()
		walked, listed uint64
	}{
		{"all", func() { list(watch.Filter{}, watch.Page{}) }, 100, 100},
		{"a namespace", func() { list(watch.Filter{Namespace: "n1"}, watch.Page{}) }, 50, 50},
		{"a page, which looks whether there is a next one", func() { list(watch.Filter{}, watch.Page{Limit: 10}) }, 11, 10},
		{"one by name", func() { list(watch.Filter{Namespace: "n1", Name: "p1"}, watch.Page{}) }, 1, 1},
		{"none by name", func() { list(watch.Filter{Namespace: "n1", Name: "p0"}, watch.Page{}) }, 0, 0},
		{"by an index", func() {
			list(watch.Filter{Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", "m7"))}, watch.Page{})
		}, 5, 5},
		{"by a field without one", func() {
			list(watch.Filter{Info: core.Pod, Fields: watch.FieldTerms(fields.OneTermEqualSelector("status.phase", "Running"))}, watch.Page{})
		}, 100, 0},
		{"the first one, and then a list", func() {
			if first, more := r.state.First(core.Pod, watch.Filter{}); first == nil || more != 99 {
				t.Errorf("first %v and %d more", first, more)
			}
			list(watch.Filter{Namespace: "n1", Name: "p1"}, watch.Page{})
		}, 1, 1},
		{"as of a revision", func() { r.state.ListPageAt(core.Pod, watch.Filter{}, watch.Page{}, r.state.Revision()) }, 100, 100},
	} {
		of := func() watch.Count {
			for _, c := range r.state.Counts() {
				if c.Info == core.Pod {
					return c
				}
			}
			t.Fatal("pods are not counted")
			return watch.Count{}
		}
		was := of()
		tt.list()
		if now := of(); now.Lists != was.Lists+1 || now.Walked-was.Walked != tt.walked || now.Listed-was.Listed != tt.listed || now.Objects != 100 {
			t.Errorf("%s: %+v after %+v", tt.what, now, was)
		}
	}
}
