package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
)

func metamorphic(t *testing.T, r *rig) {
	if _, ok := r.Store.(*memory.Store); ok {
		t.Skip("memory is what the others are compared with")
	}
	p := newPair(t, r.Store)
	for range 400 {
		p.step()
	}
	p.compare("at the end", func(s store.Store, shift store.Revision) string { return p.listed(s, shift, "", store.Page{}) })
}

func metamorphicRestarts(t *testing.T, open func() store.Store) {
	p := newPair(t, open())
	for range 8 {
		for range 60 {
			p.step()
		}
		if err := p.engine.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		p.engine = open()
		p.compare("after a restart", func(s store.Store, shift store.Revision) string { return p.listed(s, shift, "", store.Page{}) })
	}
	if err := p.engine.Close(); err != nil {
		t.Fatal(err)
	}
}

// pair is an engine and the memory store that it must answer like.
type pair struct {
	t      *testing.T
	rand   *rand.Rand
	engine store.Store
	memory store.Store
	shift  store.Revision // the engine's revisions are so much greater
	newest store.Revision // in memory
	steps  int
}

func newPair(t *testing.T, engine store.Store) *pair {
	shift, err := engine.Revision(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &pair{t: t, rand: Seed(t), engine: engine, memory: memory.New(), shift: shift}
}

// compare asks both the same and wants the same answer.
func (p *pair) compare(what string, ask func(s store.Store, shift store.Revision) string) {
	p.t.Helper()
	want, got := ask(p.memory, 0), ask(p.engine, p.shift)
	if got != want {
		p.t.Fatalf("step %d: %s:\n got %s\nwant %s", p.steps, what, got, want)
	}
}

func (p *pair) step() {
	p.steps++
	ctx := context.Background()
	at := store.Revision(p.rand.Int64N(int64(p.newest) + 2)) // 0: newest; newest+1: the future
	move := func(at, shift store.Revision) store.Revision {
		if at == 0 {
			return 0
		}
		return at + shift
	}
	switch n := p.rand.IntN(20); {
	case n < 12:
		p.commit()
	case n < 14:
		key := p.key()
		p.compare(fmt.Sprintf("get %s at %d", key, at), func(s store.Store, shift store.Revision) string {
			e, err := s.Get(ctx, key, move(at, shift))
			return p.entry(e, shift) + " " + Words(err)
		})
	case n < 16:
		prefix := []string{"", "/k/", "/k/1", "/none"}[p.rand.IntN(4)]
		page := store.Page{At: at, Limit: p.rand.IntN(5)}
		if p.rand.IntN(2) == 0 {
			page.After = p.key()
		}
		p.compare(fmt.Sprintf("list %s %+v", prefix, page), func(s store.Store, shift store.Revision) string {
			page := page
			page.At = move(at, shift)
			return p.listed(s, shift, prefix, page)
		})
	case n < 18:
		p.watch(at)
	case n < 19 && p.rand.IntN(3) == 0:
		p.compare(fmt.Sprintf("compact before %d", at), func(s store.Store, shift store.Revision) string {
			if at == 0 {
				return ""
			}
			return Words(s.Compact(ctx, at+shift))
		})
	default:
		p.compare("backup", func(s store.Store, shift store.Revision) string { return p.backup(s, shift) })
	}
}

func (p *pair) key() string { return fmt.Sprint("/k/", p.rand.IntN(12)) }

func (p *pair) commit() {
	var ops []store.Op
	for _, i := range p.rand.Perm(12)[:1+p.rand.IntN(4)] {
		op := store.Op{Key: fmt.Sprint("/k/", i), Expect: store.Any, Check: p.rand.IntN(8) == 0}
		if p.rand.IntN(3) > 0 {
			op.Value = bytes.Repeat([]byte{byte('a' + p.rand.IntN(26))}, p.rand.IntN(40))
		}
		e, err := p.memory.Get(context.Background(), op.Key, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		switch p.rand.IntN(12) {
		case 0:
			op.Expect = 0
		case 1:
			op.Expect = max(1, p.newest-1)
		case 2, 3, 4, 5, 6:
			op.Expect = e.Revision
		}
		ops = append(ops, op)
	}
	class := store.Class(p.rand.IntN(2))
	p.compare(fmt.Sprintf("commit %+v", ops), func(s store.Store, shift store.Revision) string {
		moved := append([]store.Op(nil), ops...)
		for i := range moved {
			if moved[i].Expect > 0 {
				moved[i].Expect += shift
			}
		}
		at, err := s.Commit(context.Background(), store.Txn{Ops: moved, Class: class})
		var c *store.Conflict
		if errors.As(err, &c) {
			return fmt.Sprintf("conflict at %s with %d", c.Key, max(0, c.Actual-shift))
		}
		if shift == 0 && err == nil {
			p.newest = at
		}
		return fmt.Sprint(at-shift, Words(err))
	})
}

// watch compares the events later than after, up to one that is made for it.
func (p *pair) watch(after store.Revision) {
	const end = "/k/zz"
	prefix := []string{"", "/k/", "/k/z"}[p.rand.IntN(3)]
	last := p.newest + 1
	p.compare("commit", func(s store.Store, shift store.Revision) string {
		at, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{put(end, fmt.Sprint(p.steps))}})
		return fmt.Sprint(at-shift, err)
	})
	p.newest = last
	if after > 0 && after == last {
		after-- // what was the future is not any more
	}
	p.compare(fmt.Sprintf("watch %s after %d", prefix, after), func(s store.Store, shift store.Revision) string {
		got := ""
		for e, err := range watched(context.Background(), s, prefix, after+shift) {
			if err != nil {
				return got + Words(err)
			}
			got += fmt.Sprint(p.entry(e.Entry, shift), e.Last, " ")
			if e.Revision == last+shift {
				break
			}
		}
		return got
	})
}

func (p *pair) entry(e store.Entry, shift store.Revision) string {
	if e.Revision == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s=%q/%v@%d", e.Key, e.Value, e.Value == nil, e.Revision-shift)
}

func (p *pair) listed(s store.Store, shift store.Revision, prefix string, page store.Page) string {
	entries, at, err := s.List(context.Background(), prefix, page)
	if err != nil {
		return Words(err)
	}
	text := fmt.Sprint(at-shift, ": ")
	for _, e := range entries {
		text += p.entry(e, shift) + " "
	}
	return text
}

func (p *pair) backup(s store.Store, shift store.Revision) string {
	data, at := backup(p.t, s)
	text := fmt.Sprint(at-shift, ": ")
	for _, e := range readBackup(p.t, data) {
		text += p.entry(e, shift) + " "
	}
	return text
}
