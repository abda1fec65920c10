package watch_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// slice is the small size, or with PROVE set the whole one.
func slice(small, whole int) int {
	if os.Getenv("PROVE") != "" {
		return whole
	}
	return small
}

// held is what is on the heap once all garbage is gone.
func held() int64 {
	for range 3 { // weak pointers and pools take more than one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestAPodInBytes: pods of 3 KB with labels and nodes, half of them written while the state follows, everybody's
// indexes made, all of them looked at as typed objects once.
func TestAPodInBytes(t *testing.T) {
	n := slice(5000, 100000)
	db := memory.New()
	text := strings.Repeat("x", 2700)
	put := func(k int) (uint64, *corev1.Pod) {
		p := pod(fmt.Sprint("ns", k%10), fmt.Sprintf("pod-%06d", k), fmt.Sprint("node-", k/100), fmt.Sprint("app-", k%100))
		p.Annotations = map[string]string{"text": text}
		p.UID = "0123456789-0123456789-0123456789-0123"
		value, err := api.EncodeStored(core.Pod, p)
		if err != nil {
			t.Fatal(err)
		}
		if k == 0 {
			t.Logf("a pod is stored in %d bytes", len(value))
		}
		at, err := db.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.Pod, p.Namespace, p.Name), Value: value, Expect: store.Any}}})
		if err != nil {
			t.Fatal(err)
		}
		return uint64(at), p
	}
	for k := range n {
		put(k)
	}
	before := held() // the store in memory, with as many pods
	state := watch.New(db, slog.New(slog.DiscardHandler), time.Now, []*api.Info{core.Pod})
	if err := state.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- state.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var last uint64
	for k := range n / 2 {
		at, p := put(k)
		state.Offer(watch.Key(core.Pod, p.Namespace, p.Name), at, p)
		last = at
	}
	if err := state.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(t.Context(), store.Revision(last)); err != nil { // or it keeps what was overwritten
		t.Fatal(err)
	}
	f := watch.Filter{Labels: labels.SelectorFromSet(labels.Set{"app": "app-7"})}
	for range 4 {
		if items, _ := state.List(core.Pod, f); len(items) != n/100 {
			t.Fatalf("%d pods are selected, want %d", len(items), n/100)
		}
	}
	all, _ := state.List(core.Pod, watch.Filter{})
	for _, i := range all {
		if _, err := i.Object(); err != nil {
			t.Fatal(err)
		}
	}
	all = nil
	each := (held() - before) / int64(n)
	t.Logf("%d pods: %d bytes each beside the store's", n, each)
	if each > 8<<10 {
		t.Errorf("a pod of 3 KB takes %d bytes, at most 8 KiB are promised", each)
	}
	runtime.KeepAlive(state)
	runtime.KeepAlive(db)
}

// TestLabelsInBytes: a pod whose labels no other pod has takes little more than one that shares them.
func TestLabelsInBytes(t *testing.T) {
	const n = 10000
	each := func(set func(k int) map[string]string) int64 {
		db := memory.New()
		for k := range n {
			p := pod("a", fmt.Sprintf("web-%05d", k), "n1", "")
			p.Labels = set(k)
			value, err := api.EncodeStored(core.Pod, p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.Pod, p.Namespace, p.Name), Value: value, Expect: store.Any}}}); err != nil {
				t.Fatal(err)
			}
		}
		before := held()
		state := watch.New(db, slog.New(slog.DiscardHandler), time.Now, []*api.Info{core.Pod})
		if err := state.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer runtime.KeepAlive(state)
		defer runtime.KeepAlive(db)
		return (held() - before) / n
	}
	shared := each(func(k int) map[string]string {
		return map[string]string{"app": "web", "pod-name": fmt.Sprintf("web-%05d", k/100), "hash": "web-7d4b9c6f5d"}
	})
	own := each(func(k int) map[string]string {
		return map[string]string{"app": "web", "pod-name": fmt.Sprintf("web-%05d", k), "hash": "web-7d4b9c6f5d"}
	})
	t.Logf("a pod with its labels takes %d bytes where a hundred share them, %d where each has its own", shared, own)
	if own-shared > 400 {
		t.Errorf("labels of its own take %d bytes", own-shared)
	}
}

// TestObjectIsShared: whoever holds an item's typed object is given the same one, and nobody keeps it from going.
func TestObjectIsShared(t *testing.T) {
	r := start(t)
	r.put("a", "p", pod("a", "p", "n1", "x"))
	item := r.state.Get(core.Pod, "a", "p")
	one, err := item.Object()
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 { // push it out of those that are held a while
		for k := range 4 {
			p := pod("b", fmt.Sprint("q", k), "", "x")
			p.Annotations = map[string]string{"big": strings.Repeat("x", 500)}
			r.put("b", p.Name, p)
			if _, err := r.state.Get(core.Pod, "b", p.Name).Object(); err != nil {
				t.Fatal(err)
			}
		}
	}
	runtime.GC()
	again, err := item.Object()
	if err != nil || again != one {
		t.Errorf("a held object was made anew (%v)", err)
	}
	gone := make(chan bool, 1)
	runtime.AddCleanup(one.(*corev1.Pod), func(c chan bool) { c <- true }, gone)
	one, again = nil, nil
	for range 5 {
		runtime.GC()
		select {
		case <-gone:
			if o, err := item.Object(); err != nil || o.GetName() != "p" {
				t.Errorf("after it went: %v, %v", o, err)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Error("nobody holds the object, and it stays")
}

// BenchmarkSelect is what a list pays for finding its items.
func BenchmarkSelect(b *testing.B) {
	r := start(b)
	const n = 50000
	for k := range n {
		r.put(fmt.Sprint("ns", k%10), fmt.Sprint("p", k), pod(fmt.Sprint("ns", k%10), fmt.Sprint("p", k), fmt.Sprint("n", k/100), fmt.Sprint("app", k%100)))
	}
	for name, f := range map[string]watch.Filter{"label": {Labels: labels.SelectorFromSet(labels.Set{"app": "app7"})},
		"node": {Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", "n7"))}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.state.List(core.Pod, f)
			}
		})
	}
}

// BenchmarkEvent is what an event for one node costs, with so many watchers of other nodes.
func BenchmarkEvent(b *testing.B) {
	for _, n := range []int{10, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := start(b)
			for k := range n {
				w, err := r.state.Watch(b.Context(), core.Pod, watch.Filter{Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", fmt.Sprint("n", k)))}, 0)
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
			}
			b.ReportAllocs()
			for k := 0; b.Loop(); k++ {
				r.put("a", "p", pod("a", "p", "n1", fmt.Sprint(k)))
			}
		})
	}
}
