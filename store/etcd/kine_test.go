package etcd_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
)

// Kine speaks etcd's protocol over SQL databases and has transactions of one key only.
func TestKine(t *testing.T) {
	endpoint := os.Getenv("LIGHTER_TEST_KINE")
	if endpoint == "" {
		t.Skip("LIGHTER_TEST_KINE does not name the endpoint of an empty kine: it is not tested")
	}
	s := connect(t, etcd.Config{Endpoints: []string{endpoint}})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	commit := func(ops ...store.Op) store.Revision {
		t.Helper()
		at, err := s.Commit(ctx, store.Txn{Ops: ops})
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	conflict := func(actual store.Revision, ops ...store.Op) {
		t.Helper()
		_, err := s.Commit(ctx, store.Txn{Ops: ops})
		var c *store.Conflict
		if !errors.As(err, &c) || c.Actual != actual {
			t.Errorf("got %v, want a conflict with %d", err, actual)
		}
	}
	value := []byte("x")
	begin, err := s.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ns := commit(store.Op{Key: "/registry/namespaces/a", Value: value})
	if ns <= begin {
		t.Errorf("a write at %d after %d", ns, begin)
	}
	conflict(ns, store.Op{Key: "/registry/namespaces/a", Value: value})
	inside := store.Op{Key: "/registry/namespaces/a", Expect: ns, Check: true}
	pod := commit(inside, store.Op{Key: "/registry/pods/a/p", Value: value})
	pod = commit(store.Op{Key: "/registry/pods/a/p", Value: []byte("y"), Expect: pod})
	conflict(pod, store.Op{Key: "/registry/pods/a/p", Value: value, Expect: pod - 1})
	conflict(0, store.Op{Key: "/registry/namespaces/b", Expect: ns, Check: true}, store.Op{Key: "/registry/pods/b/p", Value: value})

	// What cannot be written whole is taken back.
	conflict(pod, store.Op{Key: "/registry/ipaddresses/10.0.0.1", Value: value}, store.Op{Key: "/registry/pods/a/p", Value: value})
	if e, err := s.Get(ctx, "/registry/ipaddresses/10.0.0.1", 0); err != nil || e.Revision != 0 {
		t.Errorf("the address stayed: %+v %v", e, err)
	}
	newest := commit(store.Op{Key: "/registry/pods/a/p", Expect: pod}, store.Op{Key: "/registry/pods/a/q", Value: value, Expect: store.Any})
	entries, at, err := s.List(ctx, "/registry/pods/", store.Page{})
	if err != nil || len(entries) != 1 || entries[0].Key != "/registry/pods/a/q" || at < newest {
		t.Errorf("list at %d: %v %v", at, entries, err)
	}
	if old, err := s.Get(ctx, "/registry/pods/a/p", pod); err != nil || string(old.Value) != "y" {
		t.Errorf("as of %d: %+v %v", pod, old, err)
	}
	seen := map[string]string{}
	for e, err := range s.Watch(ctx, "/registry/", begin) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != "" {
			seen[e.Key] = string(e.Value)
		}
		if e.Revision >= newest {
			break
		}
	}
	if len(seen) != 4 || seen["/registry/pods/a/p"] != "" || seen["/registry/pods/a/q"] != "x" {
		t.Errorf("watched %v", seen)
	}
	if err := s.Compact(ctx, newest); err != nil {
		t.Errorf("compact: %v", err)
	}
}
