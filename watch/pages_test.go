package watch_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
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
