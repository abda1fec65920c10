package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// rig is a state that follows a store in memory.
type rig struct {
	t     testing.TB
	store store.Store
	state *watch.State
}

func start(t testing.TB) *rig { return startOn(t, memory.New(), time.Now) }

// startOn is a state that begins with what is there, and remembers nothing of how it came to be.
func startOn(t testing.TB, s store.Store, now func() time.Time) *rig {
	r := &rig{t: t, store: s}
	r.state = watch.New(r.store, slog.New(slog.DiscardHandler), now, []*api.Info{core.Pod, core.ConfigMap})
	ctx, stop := context.WithCancel(context.Background())
	if err := r.state.Load(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.state.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func pod(namespace, name, node, app string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{NodeName: node}}
}

// put writes a pod, or deletes it when it is nil, and waits until the state shows it.
func (r *rig) put(namespace, name string, p *corev1.Pod) uint64 {
	r.t.Helper()
	op := store.Op{Key: watch.Key(core.Pod, namespace, name), Expect: store.Any}
	if p != nil {
		value, err := api.EncodeStored(core.Pod, p)
		if err != nil {
			r.t.Fatal(err)
		}
		op.Value = value
	}
	at, err := r.store.Commit(context.Background(), store.Txn{Ops: []store.Op{op}})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.state.Wait(context.Background(), uint64(at)); err != nil {
		r.t.Fatal(err)
	}
	return uint64(at)
}

// told is what a watcher with the filter was told by the events that it can take now.
func told(t testing.TB, w *watch.Watcher, f *watch.Filter) (out []string, upTo uint64) {
	t.Helper()
	var events []*watch.Event
	for more := true; more; {
		before := len(events)
		var err error
		if events, upTo, err = w.Take(events); err != nil {
			t.Fatal(err)
		}
		more = len(events) > before // a Take gives some only
	}
	for _, e := range events {
		if kind, item := e.For(f); item != nil {
			o, err := item.Object()
			if err != nil {
				t.Fatal(err)
			}
			if o.GetResourceVersion() != strconv.FormatUint(e.Revision, 10) {
				t.Errorf("event at %d carries resourceVersion %s", e.Revision, o.GetResourceVersion())
			}
			out = append(out, fmt.Sprintf("%s %s/%s@%d", kind, item.Namespace, item.Name, e.Revision))
		}
	}
	return out, upTo
}

func TestSelectorsEnterAndLeave(t *testing.T) {
	r := start(t)
	f := watch.Filter{Labels: labels.SelectorFromSet(labels.Set{"app": "web"})}
	_, w := r.state.ListWatch(core.Pod, f)
	defer w.Close()
	a := r.put("x", "p", pod("x", "p", "", "db"))
	b := r.put("x", "p", pod("x", "p", "", "web"))
	c := r.put("x", "p", pod("x", "p", "n1", "web"))
	d := r.put("x", "p", pod("x", "p", "n1", "db"))
	e := r.put("x", "p", pod("x", "p", "n1", "web"))
	g := r.put("x", "p", nil)
	got, upTo := told(t, w, &f)
	want := []string{fmt.Sprint("ADDED x/p@", b), fmt.Sprint("MODIFIED x/p@", c), fmt.Sprint("DELETED x/p@", d), fmt.Sprint("ADDED x/p@", e), fmt.Sprint("DELETED x/p@", g)}
	if strings.Join(got, ", ") != strings.Join(want, ", ") || upTo != g {
		t.Errorf("after a write at %d: got %v up to %d, want %v", a, got, upTo, want)
	}
}

// story is what was written, and what each watch of it has to say.
type story struct {
	log   []write
	world map[string]*corev1.Pod
}

type write struct {
	at       uint64
	name     string
	was, now *corev1.Pod
}

var storyFilters = []watch.Filter{
	{}, {Namespace: "a"}, {Namespace: "b", Name: "p1"}, {Name: "p2"},
	{Labels: labels.SelectorFromSet(labels.Set{"app": "x"})},
	{Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", "n1"))},
	{Namespace: "a", Labels: labels.SelectorFromSet(labels.Set{"app": "y"}), Fields: fields.OneTermNotEqualSelector("spec.nodeName", "n2")},
}

func matches(f watch.Filter, p *corev1.Pod) bool {
	return p != nil && (f.Namespace == "" || f.Namespace == p.Namespace) && (f.Name == "" || f.Name == p.Name) &&
		(f.Labels == nil || f.Labels.Matches(labels.Set(p.Labels))) && (f.Fields == nil || f.Fields.Matches(fields.Set{"spec.nodeName": p.Spec.NodeName}))
}

// next makes a random write; false: it would have been none.
func (s *story) next(r *rig, random *rand.Rand) bool {
	namespace, name := []string{"a", "b", "a-b"}[random.IntN(3)], fmt.Sprintf("p%d", random.IntN(4))
	key := namespace + "/" + name
	var p *corev1.Pod
	if random.IntN(4) > 0 {
		p = pod(namespace, name, []string{"", "n1", "n2"}[random.IntN(3)], []string{"x", "y"}[random.IntN(2)])
	} else if s.world[key] == nil {
		return false
	}
	s.log = append(s.log, write{r.put(namespace, name, p), key, s.world[key], p})
	if s.world[key] = p; p == nil {
		delete(s.world, key)
	}
	return true
}

// after is what a watch says that begins after a revision.
func (s *story) after(f watch.Filter, at uint64) (want []string) {
	for _, e := range s.log {
		switch now, was := matches(f, e.now), matches(f, e.was); {
		case e.at <= at:
		case now && was:
			want = append(want, fmt.Sprintf("MODIFIED %s@%d", e.name, e.at))
		case now:
			want = append(want, fmt.Sprintf("ADDED %s@%d", e.name, e.at))
		case was:
			want = append(want, fmt.Sprintf("DELETED %s@%d", e.name, e.at))
		}
	}
	return want
}

func (s *story) end() uint64 { return s.log[len(s.log)-1].at }

func seeded(t testing.TB, stream uint64) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("LIGHTER_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, stream))
}

// TestAgainstTheWriteLog makes random writes and compares lists and watches, begun and resumed anywhere, with
// what the log of writes says.
func TestAgainstTheWriteLog(t *testing.T) {
	random := seeded(t, 1)
	r := start(t)
	s := &story{world: map[string]*corev1.Pod{}}
	for range 400 {
		if !s.next(r, random) {
			continue
		}
		f := storyFilters[random.IntN(len(storyFilters))]
		items, at := r.state.List(core.Pod, f)
		if at != s.end() {
			t.Fatalf("list is of %d, last write was %d", at, s.end())
		}
		n := 0
		for _, p := range s.world {
			if matches(f, p) {
				n++
			}
		}
		if n != len(items) {
			t.Fatalf("at %d filter %+v lists %d, the log says %d", at, f, len(items), n)
		}
	}
	for range 200 {
		from := s.log[random.IntN(len(s.log))].at
		f := storyFilters[random.IntN(len(storyFilters))]
		w, err := r.state.Watch(t.Context(), core.Pod, f, from)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := told(t, w, &f)
		w.Close()
		if want := s.after(f, from); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("from %d filter %+v:\n got %v\nwant %v", from, f, got, want)
		}
	}
}

func TestTooOld(t *testing.T) {
	r := start(t)
	first := r.put("a", "p0", pod("a", "p0", "", "x"))
	_, slow := r.state.ListWatch(core.Pod, watch.Filter{})
	defer slow.Close()
	big := strings.Repeat("x", 256<<10)
	for n := range 64 {
		p := pod("a", fmt.Sprint("p", n%3), "", "x")
		p.Annotations = map[string]string{"big": big}
		r.put("a", p.Name, p)
	}
	if err := r.store.Compact(t.Context(), store.Revision(first+2)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.state.Watch(t.Context(), core.Pod, watch.Filter{}, first); !errors.Is(err, watch.ErrExpired) {
		t.Errorf("watch from a revision whose events are gone: %v", err)
	}
	if _, _, err := slow.Take(nil); !errors.Is(err, watch.ErrExpired) {
		t.Errorf("a watcher who fell behind: %v", err)
	}
	w, err := r.state.Watch(t.Context(), core.Pod, watch.Filter{}, r.state.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at := r.put("a", "p1", nil)
	if got, _ := told(t, w, &watch.Filter{}); fmt.Sprint(got) != fmt.Sprintf("[DELETED a/p1@%d]", at) {
		t.Errorf("got %v", got)
	}
}

func TestIndexes(t *testing.T) {
	r := start(t)
	yes := true
	owned := pod("a", "owned", "n1", "x")
	owned.OwnerReferences = []metav1.OwnerReference{{UID: "u1", Controller: &yes}, {UID: "u2"}}
	r.put("a", "owned", owned)
	r.put("a", "free", pod("a", "free", "n1", "x"))
	names := func(index, value string) string {
		var out []string
		for _, i := range r.state.By(core.Pod, index, value) {
			out = append(out, i.Name)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct{ index, value, want string }{{"owner", "u1", "owned"}, {"owner", "u2", ""}, {"node", "n1", "free owned"}, {"node", "", ""}} {
		if got := names(tt.index, tt.value); got != tt.want {
			t.Errorf("by %s %q: %q, want %q", tt.index, tt.value, got, tt.want)
		}
	}
	r.put("a", "free", pod("a", "free", "n2", "x"))
	r.put("a", "owned", nil)
	if got := names("node", "n1") + names("owner", "u1"); got != "" {
		t.Errorf("left in the indexes: %q", got)
	}
}

func BenchmarkApplyTo1000Watchers(b *testing.B) {
	r := start(b)
	for n := range 1000 {
		_, w := r.state.ListWatch(core.Pod, watch.Filter{Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", fmt.Sprint("n", n)))})
		defer w.Close()
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		r.put("a", "p", pod("a", "p", fmt.Sprint("n", n%1000), "x"))
	}
}

func BenchmarkList10000(b *testing.B) {
	r := start(b)
	for n := range 10000 {
		r.put(fmt.Sprint("ns", n%10), fmt.Sprint("p", n), pod(fmt.Sprint("ns", n%10), fmt.Sprint("p", n), fmt.Sprint("n", n%100), fmt.Sprint("app", n%100)))
	}
	for name, f := range map[string]watch.Filter{"all": {}, "namespace": {Namespace: "ns1"}, "label": {Labels: labels.SelectorFromSet(labels.Set{"app": "app7"})},
		"node": {Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", "n7"))}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.state.List(core.Pod, f)
			}
		})
	}
}
