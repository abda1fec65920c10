package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lighter-k8s/lighter/store"
)

func readBack(t *testing.T, r *rig) {
	if got := r.get("/a", 0); got != "" {
		t.Errorf("a key that was never written: %s", got)
	}
	before := r.newest()
	for i, class := range []store.Class{store.Durable, store.Relaxed, store.Durable} {
		key, value := fmt.Sprint("/a/", i), fmt.Sprint("value ", i)
		at, err := r.Commit(r.ctx, store.Txn{Ops: []store.Op{put(key, value)}, Class: class})
		if err != nil {
			t.Fatal(err)
		}
		if at <= before {
			t.Errorf("revision %d does not follow %d", at, before)
		}
		before = at
		r.same("get", r.get(key, 0), fmt.Sprintf("%s@%d", value, at))
		r.same("get at its revision", r.get(key, at), fmt.Sprintf("%s@%d", value, at))
		r.same("newest revision", r.newest(), at)
	}
	at := r.commit(store.Op{Key: "/empty", Value: []byte{}})
	r.same("an empty value is a value", r.get("/empty", 0), fmt.Sprintf("@%d", at))
	entries, _ := r.list("/empty", store.Page{})
	if len(entries) != 1 || entries[0].Value == nil {
		t.Errorf("an empty value, listed: %+v", entries)
	}
	binary := "\x00\x01\xff\x00"
	at = r.commit(put("/ä\xff\x01", binary))
	r.same("odd bytes", r.get("/ä\xff\x01", 0), fmt.Sprintf("%s@%d", binary, at))
}

func conflicts(t *testing.T, r *rig) {
	is := r.commit(put("/is", "x"))
	r.commit(put("/was", "x"))
	r.commit(del("/was"))
	tests := map[string]struct {
		key    string
		expect store.Revision
		actual store.Revision // -1: no conflict
	}{
		"not there, as expected":             {"/no", 0, -1},
		"not there, whatever":                {"/no", store.Any, -1},
		"not there, but expected":            {"/no", is, 0},
		"deleted, as expected":               {"/was", 0, -1},
		"deleted, but expected":              {"/was", is, 0},
		"there, as expected":                 {"/is", is, -1},
		"there, whatever":                    {"/is", store.Any, -1},
		"there, but expected not":            {"/is", 0, is},
		"there, but expected at another one": {"/is", is + 1, is},
		"there, but expected at an older":    {"/is", is - 1, is},
	}
	for name, tt := range tests {
		for kind, op := range map[string]store.Op{
			"check":  {Key: tt.key, Expect: tt.expect, Check: true},
			"put":    {Key: tt.key, Expect: tt.expect, Value: []byte("y")},
			"delete": {Key: tt.key, Expect: tt.expect},
		} {
			if tt.actual < 0 && kind != "check" {
				continue // would change what the others find; atomic has it
			}
			_, err := r.Commit(r.ctx, store.Txn{Ops: []store.Op{op}})
			var c *store.Conflict
			switch {
			case tt.actual < 0 && err != nil:
				t.Errorf("%s, %s: %v", name, kind, err)
			case tt.actual >= 0 && (!errors.As(err, &c) || !errors.Is(err, store.ErrConflict)):
				t.Errorf("%s, %s: got %v, want a conflict", name, kind, err)
			case tt.actual >= 0 && *c != store.Conflict{Key: tt.key, Expect: tt.expect, Actual: tt.actual}:
				t.Errorf("%s, %s: got %+v", name, kind, *c)
			}
		}
	}
}

func atomic(t *testing.T, r *rig) {
	a := r.commit(put("/a", "1"))
	before := r.newest()
	_, err := r.Commit(r.ctx, store.Txn{Ops: []store.Op{
		put("/z", "1"), {Key: "/c", Value: []byte("1"), Expect: a}, {Key: "/b", Value: []byte("1"), Expect: a}, put("/a", "2"),
	}})
	var c *store.Conflict
	if !errors.As(err, &c) || c.Key != "/b" {
		t.Errorf("got %v, want a conflict at the first key, /b", err)
	}
	r.same("nothing happened", r.newest(), before)
	entries, _ := r.list("/", store.Page{})
	r.same("nothing happened", entries, []store.Entry{{Key: "/a", Value: []byte("1"), Revision: a}})

	d := r.commit(put("/d", "1"))
	at := r.commit(
		store.Op{Key: "/a", Value: []byte("3"), Expect: a},
		store.Op{Key: "/b", Value: []byte("3")},
		store.Op{Key: "/d", Expect: d},
		store.Op{Key: "/c", Check: true},
	)
	entries, _ = r.list("/", store.Page{})
	r.same("all happened at one revision", entries, []store.Entry{
		{Key: "/a", Value: []byte("3"), Revision: at}, {Key: "/b", Value: []byte("3"), Revision: at},
	})
}

func noWrite(t *testing.T, r *rig) {
	a := r.commit(put("/a", "1"))
	for name, ops := range map[string][]store.Op{
		"no ops":                          nil,
		"a check":                         {{Key: "/a", Expect: a, Check: true}},
		"a check of a key that is not":    {{Key: "/b", Check: true}},
		"a delete of a key that is not":   {del("/b")},
		"an expected one":                 {{Key: "/b", Expect: 0}},
		"several deletes of what is not":  {del("/b"), del("/c"), {Key: "/a", Expect: store.Any, Check: true}},
		"a check with a value to be lost": {{Key: "/a", Value: []byte("2"), Expect: a, Check: true}},
	} {
		if got := r.commit(ops...); got != a {
			t.Errorf("%s: got revision %d, want %d", name, got, a)
		}
	}
	r.same("nothing was written", r.get("/a", 0), fmt.Sprintf("1@%d", a))
	r.same("nothing was written", r.newest(), a)
}

func invalid(t *testing.T, r *rig) {
	before := r.newest()
	for name, ops := range map[string][]store.Op{
		"a key twice":          {put("/a", "1"), put("/b", "1"), put("/a", "2")},
		"a key twice, checked": {{Key: "/a", Check: true}, put("/a", "2")},
		"an empty key":         {put("", "1")},
		"a NUL byte":           {put("/a\x00b", "1")},
	} {
		_, err := r.Commit(r.ctx, store.Txn{Ops: ops})
		r.is(name, err, store.ErrInvalid)
	}
	r.same("nothing was written", r.newest(), before)
}

func deletes(t *testing.T, r *rig) {
	first := r.commit(put("/a", "1"))
	gone := r.commit(del("/a"))
	if gone <= first {
		t.Errorf("the delete has revision %d, after %d", gone, first)
	}
	again := r.commit(store.Op{Key: "/a", Value: []byte("2")})
	r.same("before", r.get("/a", first), fmt.Sprintf("1@%d", first))
	r.same("in between", r.get("/a", gone), "")
	r.same("after", r.get("/a", 0), fmt.Sprintf("2@%d", again))
	last := r.commit(store.Op{Key: "/a", Expect: again})
	r.same("deleted as expected", r.get("/a", last), "")
	entries, at := r.list("/a", store.Page{})
	r.same("list of it", entries, []store.Entry(nil))
	r.same("revision of the list", at, last)
}

func contexts(t *testing.T, r *rig) {
	at := r.commit(put("/a", "1"))
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	_, err := r.Get(ctx, "/a", 0)
	r.is("get", err, context.Canceled)
	_, _, err = r.List(ctx, "/", store.Page{})
	r.is("list", err, context.Canceled)
	_, err = r.Commit(ctx, store.Txn{Ops: []store.Op{put("/b", "1")}})
	r.is("commit", err, context.Canceled)
	_, err = r.Revision(ctx)
	r.is("revision", err, context.Canceled)
	r.is("compact", r.Compact(ctx, at), context.Canceled)
	r.same("nothing changed", r.newest(), at)
}

func closes(t *testing.T, r *rig) {
	s := r.open(t)
	at, err := s.Commit(r.ctx, store.Txn{Ops: []store.Op{put("/closes", "1")}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	watching := make(chan bool, 1)
	go func() {
		for _, err := range watched(r.ctx, s, "/closes", at-1) {
			if err != nil {
				ended <- err
				return
			}
			watching <- true
		}
		ended <- nil
	}()
	<-watching
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	r.is("watch", <-ended, store.ErrClosed)
	_, err = s.Get(r.ctx, "/closes", 0)
	r.is("get", err, store.ErrClosed)
	_, _, err = s.List(r.ctx, "/", store.Page{})
	r.is("list", err, store.ErrClosed)
	_, err = s.Commit(r.ctx, store.Txn{Ops: []store.Op{put("/closes", "2")}})
	r.is("commit", err, store.ErrClosed)
	_, err = s.Revision(r.ctx)
	r.is("revision", err, store.ErrClosed)
	r.is("compact", s.Compact(r.ctx, at), store.ErrClosed)
	for _, err := range watched(r.ctx, s, "/", at) {
		r.is("a new watch", err, store.ErrClosed)
	}
}
