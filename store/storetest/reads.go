package storetest

import (
	"fmt"
	"testing"

	"github.com/lighter-k8s/lighter/store"
)

func lists(t *testing.T, r *rig) {
	var at store.Revision
	want := map[string]store.Entry{}
	for _, key := range []string{"/p/b", "/p/a", "/p", "/p/a/x", "/p0", "/p/a0", "/o/z", "/p/é", "/p/\xff\xff", "/p\xff", "/q"} {
		at = r.commit(put(key, "value of "+key))
		want[key] = store.Entry{Key: key, Value: []byte("value of " + key), Revision: at}
	}
	tests := map[string]struct {
		prefix string
		page   store.Page
		keys   []string
	}{
		"everything":             {"", store.Page{}, []string{"/o/z", "/p", "/p/a", "/p/a/x", "/p/a0", "/p/b", "/p/é", "/p/\xff\xff", "/p0", "/p\xff", "/q"}},
		"a prefix":               {"/p/", store.Page{}, []string{"/p/a", "/p/a/x", "/p/a0", "/p/b", "/p/é", "/p/\xff\xff"}},
		"a prefix that is a key": {"/p/a", store.Page{}, []string{"/p/a", "/p/a/x", "/p/a0"}},
		"a prefix of high bytes": {"/p/\xff", store.Page{}, []string{"/p/\xff\xff"}},
		"a prefix of nothing":    {"/r", store.Page{}, nil},
		"a limit":                {"/p/", store.Page{Limit: 2}, []string{"/p/a", "/p/a/x"}},
		"a limit of one":         {"/p/", store.Page{Limit: 1}, []string{"/p/a"}},
		"after a key":            {"/p/", store.Page{After: "/p/a"}, []string{"/p/a/x", "/p/a0", "/p/b", "/p/é", "/p/\xff\xff"}},
		"after what is no key":   {"/p/", store.Page{After: "/p/aa"}, []string{"/p/b", "/p/é", "/p/\xff\xff"}},
		"after, and a limit":     {"/p/", store.Page{After: "/p/a/x", Limit: 2}, []string{"/p/a0", "/p/b"}},
		"after all of it":        {"/p/", store.Page{After: "/p/\xff\xff"}, nil},
		"after, beyond":          {"/p/", store.Page{After: "/z"}, nil},
		"after, before it":       {"/p/", store.Page{After: "/a", Limit: 1}, []string{"/p/a"}},
	}
	for name, tt := range tests {
		entries, shown := r.list(tt.prefix, tt.page)
		var expected []store.Entry
		for _, key := range tt.keys {
			expected = append(expected, want[key])
		}
		r.same(name, entries, expected)
		r.same(name+": revision", shown, at)
	}
}

func pages(t *testing.T, r *rig) {
	const n = 1203 // more than engines fetch at once
	for i := 0; i < n; i += 100 {
		var ops []store.Op
		for j := i; j < min(n, i+100); j++ {
			ops = append(ops, put(fmt.Sprintf("/page/%04d", j), fmt.Sprint(j)))
		}
		r.commit(ops...)
	}
	whole, at := r.list("/page/", store.Page{})
	if len(whole) != n {
		t.Fatalf("the list has %d entries, want %d", len(whole), n)
	}
	var all []store.Entry
	for after := ""; ; {
		page, shown := r.list("/page/", store.Page{At: at, After: after, Limit: 500})
		r.same("revision of a page", shown, at)
		all = append(all, page...)
		// What happens in between does not show.
		r.commit(put(fmt.Sprintf("/page/%04d+", len(all)+1), "new"), del(fmt.Sprintf("/page/%04d", len(all)+2)), put("/page/1100", "changed"))
		if len(page) < 500 {
			break
		}
		after = page[len(page)-1].Key
	}
	r.same("pages", all, whole)
}

func future(t *testing.T, r *rig) {
	at := r.commit(put("/a", "1"))
	r.same("get", r.get("/a", at+1), store.ErrFuture.Error())
	_, _, err := r.List(r.ctx, "/", store.Page{At: at + 1})
	r.is("list", err, store.ErrFuture)
	for _, err := range r.Watch(r.ctx, "/", at+1) {
		r.is("watch", err, store.ErrFuture)
	}
	r.is("compact", r.Compact(r.ctx, at+1), store.ErrFuture)
}

// story writes a small history and returns the state after each step.
func story(r *rig) (states map[store.Revision][]store.Entry, revisions []store.Revision) {
	states = map[store.Revision][]store.Entry{}
	for _, ops := range [][]store.Op{
		{put("/a", "1")}, {put("/b", "1")}, {put("/a", "2"), put("/c", "1")}, {del("/b")}, {put("/a", "3")},
		{del("/a"), del("/c")}, {put("/a", "4"), put("/b", "2")}, {put("/b", "3")}, {put("/d", "1")}, {del("/d")},
	} {
		at := r.commit(ops...)
		entries, shown := r.list("/", store.Page{})
		r.same("revision of the list", shown, at)
		states[at], revisions = entries, append(revisions, at)
	}
	return states, revisions
}

// checkStates reads every revision from first on, in every way.
func checkStates(r *rig, states map[store.Revision][]store.Entry, revisions []store.Revision, first store.Revision) {
	r.t.Helper()
	for _, at := range revisions {
		if at < first {
			_, _, err := r.List(r.ctx, "/", store.Page{At: at})
			r.is(fmt.Sprintf("list at %d, compacted before %d", at, first), err, store.ErrCompacted)
			r.same("get of it", r.get("/a", at), store.ErrCompacted.Error())
			continue
		}
		entries, shown := r.list("/", store.Page{At: at})
		r.same(fmt.Sprintf("list at %d, compacted before %d", at, first), entries, states[at])
		r.same("its revision", shown, at)
		for _, key := range []string{"/a", "/b", "/c", "/d"} {
			want := ""
			for _, e := range states[at] {
				if e.Key == key {
					want = show(e)
				}
			}
			r.same(fmt.Sprintf("get %s at %d, compacted before %d", key, at, first), r.get(key, at), want)
		}
	}
}

func oldReads(t *testing.T, r *rig) {
	states, revisions := story(r)
	checkStates(r, states, revisions, revisions[0])
}

func compaction(t *testing.T, r *rig) {
	states, revisions := story(r)
	for _, before := range revisions {
		if err := r.Compact(r.ctx, before); err != nil {
			t.Fatalf("compact before %d: %v", before, err)
		}
		checkStates(r, states, revisions, before)
	}
	again, more := story(r)
	checkStates(r, again, more, more[0])
}

func compactErrors(t *testing.T, r *rig) {
	_, revisions := story(r)
	if err := r.Compact(r.ctx, revisions[3]); err != nil {
		t.Fatal(err)
	}
	r.is("what is done", r.Compact(r.ctx, revisions[3]), store.ErrCompacted)
	r.is("the past", r.Compact(r.ctx, revisions[1]), store.ErrCompacted)
	r.is("the future", r.Compact(r.ctx, revisions[len(revisions)-1]+1), store.ErrFuture)
	if err := r.Compact(r.ctx, revisions[len(revisions)-1]); err != nil {
		t.Errorf("all: %v", err)
	}
}
