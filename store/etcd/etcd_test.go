package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/store/storetest"
)

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func connect(t *testing.T, c etcd.Config) *etcd.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := etcd.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	endpoint := storetest.Etcd(t)
	n := 0
	storetest.Run(t, func(t *testing.T) store.Store {
		n++
		return connect(t, etcd.Config{Endpoints: []string{endpoint}, Prefix: fmt.Sprintf("/test-%d", n)})
	})
}

func TestWithoutPrefix(t *testing.T) {
	endpoint := storetest.Etcd(t)
	s := connect(t, etcd.Config{Endpoints: []string{endpoint}})
	defer s.Close()
	ctx := t.Context()
	var ops []store.Op
	for i := range etcd.MaxOps + 1 {
		ops = append(ops, store.Op{Key: fmt.Sprintf("/k/%03d", i), Value: []byte("x")})
	}
	if _, err := s.Commit(ctx, store.Txn{Ops: ops}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("too many ops: got %v", err)
	}
	at, err := s.Commit(ctx, store.Txn{Ops: ops[1:]})
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", "/", "/k/"} {
		entries, shown, err := s.List(ctx, prefix, store.Page{})
		if err != nil || len(entries) != etcd.MaxOps || shown != at || entries[0].Key != "/k/001" {
			t.Errorf("list %q: %d entries at %d (%v), want %d at %d", prefix, len(entries), shown, err, etcd.MaxOps, at)
		}
	}
	page, _, err := s.List(ctx, "", store.Page{After: "/k/126"})
	if err != nil || len(page) != 2 {
		t.Errorf("list after: %d entries (%v), want 2", len(page), err)
	}
	var seen int
	for e, err := range s.Watch(ctx, "", at-1) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; e.Last {
			break
		}
	}
	if seen != etcd.MaxOps {
		t.Errorf("%d events have the revision, want %d", seen, etcd.MaxOps)
	}
	huge := store.Op{Key: "/huge", Value: make([]byte, 3<<20)}
	if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{huge}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a value above etcd's limit: got %v", err)
	}
}

func TestOpenWithoutServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{"http://" + freePort(t)}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Others write to the same etcd, outside what is watched: whoever waits for their revision gets there all the same.
func TestMarks(t *testing.T) {
	endpoint := storetest.Etcd(t)
	ours := connect(t, etcd.Config{Endpoints: []string{endpoint}, Prefix: "/ours"})
	defer ours.Close()
	theirs := connect(t, etcd.Config{Endpoints: []string{endpoint}, Prefix: "/theirs"})
	defer theirs.Close()
	put := func(s *etcd.Store, key string) store.Revision {
		t.Helper()
		at, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte("x"), Expect: store.Any}}})
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	begin := put(ours, "/a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	at := put(theirs, "/b")
	if newest, err := ours.Revision(ctx); err != nil || newest != at {
		t.Fatalf("newest is %d (%v), want %d", newest, err, at)
	}
	var own store.Revision
	for e, err := range ours.Watch(ctx, "/", begin) {
		switch {
		case err != nil:
			t.Fatalf("no mark of %d: %v", at, err)
		case e.Key == "" && e.Revision >= at && own == 0:
			if !e.Last || e.Value != nil {
				t.Errorf("a mark that is more: %+v", e)
			}
			own = put(ours, "/c")
			continue
		case own != 0 && e.Key == "/c" && e.Revision == own:
		default:
			t.Errorf("unexpected event %+v", e)
		}
		break
	}
}
