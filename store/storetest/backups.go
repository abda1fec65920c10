package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
)

func readBackup(t testing.TB, data []byte) (entries []store.Entry) {
	t.Helper()
	b, err := store.NewBackupReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := b.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
}

// values is what a restore must keep: keys and values, not revisions.
func values(entries []store.Entry) (text []string) {
	for _, e := range entries {
		text = append(text, fmt.Sprintf("%s=%s", e.Key, e.Value))
	}
	return text
}

// backups goes from this engine to memory and from memory to this engine.
func backups(t *testing.T, r *rig) {
	r.commit(put("/gone", "x"), put("/a", "0"))
	r.commit(del("/gone"), put("/a", "1"))
	for i := range 300 {
		r.commit(put(fmt.Sprintf("/many/%03d", i), fmt.Sprint(i)))
	}
	r.commit(store.Op{Key: "/empty", Value: []byte{}})
	data, at := backup(t, r)
	r.same("revision of the backup", at, r.newest())
	entries, _ := r.list("", store.Page{})
	r.same("its entries", readBackup(t, data), entries)

	_, err := r.Restore(r.ctx, bytes.NewReader(data), 0)
	r.is("restore over content", err, store.ErrNotEmpty)

	other := memory.New()
	entries = restored(t, r, other, data, at, entries)
	data, at = backup(t, other)
	restored(t, r, r.open(t), data, at, entries)
}

// restored restores data into an empty store, looks at what is there, changes it
// and returns what is there then.
func restored(t *testing.T, r *rig, s store.Store, data []byte, above store.Revision, want []store.Entry) []store.Entry {
	t.Helper()
	atLeast := above + 700
	at, err := s.Restore(r.ctx, bytes.NewReader(data), atLeast)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if at <= atLeast {
		t.Errorf("revision %d is not above %d", at, atLeast)
	}
	n := &rig{s, t, r.ctx, r.open}
	entries, shown := n.list("", store.Page{})
	n.same("restored", values(entries), values(want))
	n.same("its revision", shown, at)
	for _, e := range entries {
		if e.Revision <= atLeast {
			t.Errorf("%s is at revision %d, not above %d", e.Key, e.Revision, atLeast)
		}
	}
	n.same("the past", n.get("/a", above), store.ErrCompacted.Error())
	for _, err := range watched(r.ctx, s, "", above) {
		n.is("a watch from the past", err, store.ErrCompacted)
	}
	next := n.commit(put("/a", "next"))
	if next <= at {
		t.Errorf("revision %d follows %d", next, at)
	}
	n.same("a watch from the restore on", n.watch("", at, "/a"), []store.Event{event("/a", "next", next, true)})
	entries, _ = n.list("", store.Page{})
	return entries
}

func damagedBackup(t *testing.T, r *rig) {
	source := memory.New()
	for i := range 20 {
		_, err := source.Commit(r.ctx, store.Txn{Ops: []store.Op{put(fmt.Sprint("/d/", i), fmt.Sprint("value ", i))}})
		if err != nil {
			t.Fatal(err)
		}
	}
	data, _ := backup(t, source)
	seed := Seed(t)
	tests := map[string]func([]byte) []byte{
		"nothing":        func([]byte) []byte { return nil },
		"cut short":      func(b []byte) []byte { return b[:1+seed.IntN(len(b)-1)] },
		"too long":       func(b []byte) []byte { return append(b, 0) },
		"a flipped bit":  func(b []byte) []byte { b[seed.IntN(len(b))] ^= 1 << seed.IntN(8); return b },
		"a zeroed block": func(b []byte) []byte { clear(b[len(b)/2 : len(b)/2+64]); return b },
		"another file":   func([]byte) []byte { return bytes.Repeat([]byte("kind: Pod\n"), 20) },
	}
	for name, damage := range tests {
		for range 3 {
			_, err := r.Restore(r.ctx, bytes.NewReader(damage(bytes.Clone(data))), 0)
			r.is(name, err, store.ErrCorrupt)
		}
	}
	entries, _ := r.list("", store.Page{})
	r.same("nothing is restored", entries, []store.Entry(nil))
	if _, err := r.Restore(r.ctx, bytes.NewReader(data), 0); err != nil {
		t.Errorf("the whole one: %v", err)
	}
}

func restoreRestarts(t *testing.T, open func() store.Store) {
	ctx := context.Background()
	source := memory.New()
	for i := range 50 {
		if _, err := source.Commit(ctx, store.Txn{Ops: []store.Op{put(fmt.Sprintf("/r/%02d", i), fmt.Sprint(i))}}); err != nil {
			t.Fatal(err)
		}
	}
	data, _ := backup(t, source)
	s := open()
	at, err := s.Restore(ctx, bytes.NewReader(data), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		entries, shown, err := s.List(ctx, "", store.Page{})
		if err != nil || shown < at || len(entries) != 50 {
			t.Fatalf("got %d entries at %d (%v), want 50 at %d", len(entries), shown, err, at)
		}
		if _, err := s.Get(ctx, "/r/01", at-2); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("read before the restore: %v", err)
		}
		if at, err = s.Commit(ctx, store.Txn{Ops: []store.Op{put("/r/00", "again")}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
