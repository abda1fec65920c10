package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// A resource that is added while others write to it has every object once and every event since, and none twice; when it is
// removed, who watches it is told what happened before and then that it ended.
func TestAddLive(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := memory.New()
	st := watch.New(s, slog.New(slog.DiscardHandler), time.Now, nil)
	if err := st.Load(ctx); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error)
	go func() { ran <- st.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	info := core.ConfigMap
	put := func(n int) store.Revision {
		value, err := api.EncodeStored(info, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprint("m", n%7)}, Data: map[string]string{"n": fmt.Sprint(n)}})
		if err != nil {
			t.Error(err)
		}
		op := store.Op{Key: watch.Key(info, "a", fmt.Sprint("m", n%7)), Value: value}
		e, err := s.Get(ctx, op.Key, 0)
		if err == nil {
			op.Expect = e.Revision
		}
		at, err := s.Commit(ctx, store.Txn{Ops: []store.Op{op}})
		if err != nil {
			t.Error(err)
		}
		return at
	}
	const writes = 2000
	var last store.Revision
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range writes {
			last = put(n)
		}
	}()
	for round := 0; ; round++ {
		if err := st.AddLive(ctx, info); err != nil {
			t.Fatal(err)
		}
		items, w := st.ListWatch(info, watch.Filter{})
		has := map[string]uint64{}
		for _, i := range items {
			has[i.Name] = i.Revision
		}
		over := false
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond):
		}
		if over {
			if err := st.Wait(ctx, uint64(last)); err != nil {
				t.Fatal(err)
			}
		}
		st.Remove(info)
		for {
			events, _, err := w.Next(ctx, nil)
			for _, e := range events {
				if before := has[e.New.Name]; e.Revision <= before || (e.Old == nil) != (before == 0) || e.Old != nil && e.Old.Revision != before {
					t.Fatalf("round %d: event %d of %s came after %d", round, e.Revision, e.New.Name, before)
				}
				has[e.New.Name] = e.Revision
			}
			if errors.Is(err, watch.ErrEnded) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		if st.Get(info, "a", "m0") != nil {
			t.Fatal("what was removed is still there")
		}
		if !over {
			continue
		}
		for n := range 7 {
			e, err := s.Get(ctx, watch.Key(info, "a", fmt.Sprint("m", n)), 0)
			if err != nil || uint64(e.Revision) != has[fmt.Sprint("m", n)] {
				t.Errorf("m%d is of %d in the store, %d in memory (%v)", n, e.Revision, has[fmt.Sprint("m", n)], err)
			}
		}
		return
	}
}

// A watch that is ended has had what happened before.
func TestEndWatches(t *testing.T) {
	st := watch.New(memory.New(), slog.New(slog.DiscardHandler), time.Now, []*api.Info{core.ConfigMap})
	_, w := st.ListWatch(core.ConfigMap, watch.Filter{Name: "x"})
	defer w.Close()
	st.EndWatches(core.ConfigMap)
	if _, _, err := w.Next(t.Context(), nil); !errors.Is(err, watch.ErrEnded) {
		t.Error(err)
	}
	_, next := st.ListWatch(core.ConfigMap, watch.Filter{Name: "x"})
	defer next.Close()
	if _, _, err := next.Take(nil); err != nil {
		t.Errorf("one that began after: %v", err)
	}
}
